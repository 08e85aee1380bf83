#pragma once
/// YAML recipes: strict, with `extends:` (a path relative to the file; maps merge, lists and scalars replace; cycles
/// are an error) and command-line overrides.
#include <filesystem>
#include <string>
#include <vector>

#include "core/config.h"

namespace m3vit {

/// Reads, merges, applies `overrides` ("train.epochs=5", "tasks.0.loss_weight=2", the value parsed as YAML) and
/// decodes. Throws Error with file:line:column, key, expectation, found and nearest valid key.
Config load_config(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});
/// The same from text (tests, fuzzing); `extends` is refused.
Config parse_config(std::string_view yaml, const std::string& where, const std::vector<std::string>& overrides = {});
/// The resolved configuration as YAML.
std::string to_yaml(const Config& config);

}  // namespace m3vit
