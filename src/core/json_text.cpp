#include "core/json_text.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include "core/error.h"

namespace m3vit {

using nlohmann::json;

json parse_json(std::string_view text, const std::string& where, const std::string& field, const JsonLimits& limits) {
  const auto fail = [&](std::string wanted, std::string found) {
    throw Error{{.where = where, .field = field, .wanted = std::move(wanted), .found = std::move(found), .hint = {}}};
  };
  std::vector<std::set<std::string, std::less<>>> keys;
  std::size_t nodes = 0;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > limits.depth) fail("at most " + std::to_string(limits.depth) + " levels of nesting", "more");
    if (++nodes > limits.nodes) fail("at most " + std::to_string(limits.nodes) + " JSON values", "more");
    switch (event) {
      case json::parse_event_t::object_start:
        keys.emplace_back();
        break;
      case json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto& key = value.get_ref<const std::string&>();
        if (!keys.back().insert(key).second) fail("each key once", shown(value) + " twice");
        break;
      }
      default:
        break;
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the bracket is the library's business.
    std::string message = e.what();
    if (const std::size_t end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    fail("JSON", message);
  }
  return {};
}

std::string shown(const json& value) {
  std::string text;
  try {
    text = value.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  } catch (const json::exception&) {
    text = value.type_name();
  }
  constexpr std::size_t kLongest = 80;
  if (text.size() <= kLongest) return text;
  std::size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // not inside a code point
  return text.substr(0, end) + "…";
}

std::string printable(std::string_view name) {
  const bool plain = std::none_of(name.begin(), name.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u < 0x20U || u == 0x7FU;
  });
  return plain && !name.empty() && name.size() <= 200 ? std::string(name) : shown(json(name));
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& names) {
  if (name.size() > 64) return {};
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : names) {
    // Levenshtein, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < name.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i + 1;
      for (std::size_t j = 0; j < candidate.size(); ++j) {
        const std::size_t substituted = diagonal + (name[i] == candidate[j] ? 0 : 1);
        diagonal = row[j + 1];
        row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
      }
    }
    if (row.back() < best_distance && row.back() < candidate.size()) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace m3vit
