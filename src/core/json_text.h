#pragma once
/// JSON from a file nobody vouches for: duplicate keys, deep nesting and node bombs are errors, not surprises.
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace m3vit {

struct JsonLimits {
  int depth = 64;
  std::size_t nodes = 4'000'000;
};

/// Throws Error{where, field, …} for bad syntax (with line and column), a duplicate key, or more than `limits`.
nlohmann::json parse_json(std::string_view text, const std::string& where, const std::string& field,
                          const JsonLimits& limits = {});

/// For messages: the value as JSON, cut to a readable length; control characters are escaped.
std::string shown(const nlohmann::json& value);
/// A name from a file, safe to print: as it is, or as a JSON string when it holds control characters.
std::string printable(std::string_view name);

/// The nearest of `names` by edit distance, or "" when none is near (distance > max(2, length / 3)).
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);

}  // namespace m3vit
