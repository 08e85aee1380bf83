#pragma once
/// From a checkpoint's tensors to a `.m3v`: matrices into panels, batch normalisation folded into its convolution, the
/// task vector of a task_conditioned gate folded into a router bias, the class token added to its position. Folding is
/// done in double precision; rounding to bf16 or int8 comes last. int8 is symmetric, a scale for each output column.
#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "core/config.h"
#include "runtime/precision.h"

namespace m3vit {

/// Values of one tensor by published name (docs/formats.md), row-major. Asked for each name of expected_tensors that is
/// needed, block by block, so that a source may read lazily.
using TensorSource = std::function<std::vector<float>(const std::string& name)>;

struct PackOptions {
  std::vector<std::string> tasks{};  ///< keep only these tasks' routers, experts and heads; empty: all
  std::string producer = "m3vit";
  Precision dtype = Precision::kF32;
  std::map<std::string, Precision> layers{};  ///< other precisions, by layer (layout.h); in int8 "embed" is bf16
  std::map<int, std::vector<int>> pruned{};   ///< by MoE block: experts to leave out, ascending
};

/// Writes a whole `.m3v` to a seekable stream. `where` names the destination in errors. Throws Error for an unknown
/// task, layer or expert, a tensor of the wrong size, or a failed write.
void pack_model(const Config& config, const TensorSource& source, const PackOptions& options, std::ostream& out,
                const std::string& where);
/// The same into memory.
std::vector<std::byte> pack_model(const Config& config, const TensorSource& source, const PackOptions& options,
                                  const std::string& where);

}  // namespace m3vit
