#pragma once
/// YAML text → JSON tree that knows where each value stood.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/config.h"

namespace m3vit {

struct YamlTree {
  nlohmann::json json;
  SourceMap source;
};

/// One document of YAML 1.2 (core schema: true/false, null/~, integers, floats; quoted scalars are strings). Throws
/// Error with "WHERE:LINE:COL" for bad syntax, a duplicate key, a key that is not a scalar, a foreign tag, a second
/// document, nesting beyond 64 levels and more than 100 000 values (aliases count as the values they stand for).
/// An empty document is null.
YamlTree parse_yaml(std::string_view text, const std::string& where);

/// One plain scalar as the core schema reads it.
nlohmann::json yaml_scalar(const std::string& text);

}  // namespace m3vit
