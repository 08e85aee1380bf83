#pragma once
/// Do a file's tensors fit its configuration?
#include <string>
#include <vector>

#include "core/config.h"
#include "core/safetensors.h"

namespace m3vit {

/// One line a difference, empty when the file holds exactly what `config` demands: "missing NAME [shape]",
/// "NAME: want [shape], found [shape]", "unexpected NAME". What only training uses (`tam.…`, batch counters) may be
/// there.
std::vector<std::string> tensor_problems(const SafetensorsFile& file, const Config& config);

/// "[2, 3]".
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace m3vit
