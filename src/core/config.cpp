#include "core/config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/config_codec.h"
#include "core/error.h"
#include "core/json_text.h"

namespace m3vit {
namespace {

using nlohmann::json;

std::string escape_pointer(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

/// One value of the tree under decoding: where it stands, in the file and in the configuration.
struct Place {
  const SourceMap& source;
  std::string pointer;  ///< "/model/moe/top_k"
  std::string field;    ///< "model.moe.top_k"

  Place child(const std::string& key) const {
    return {source, pointer + "/" + escape_pointer(key), (field.empty() ? "" : field + ".") + printable(key)};
  }
  [[noreturn]] void fail(std::string wanted, std::string found, std::string hint = "") const {
    throw Error{{.where = source.at(pointer),
                 .field = field,
                 .wanted = std::move(wanted),
                 .found = std::move(found),
                 .hint = std::move(hint)}};
  }
};

std::string listed(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& names) {
  const std::string nearest = nearest_name(name, names);
  return nearest.empty() ? "" : "did you mean '" + nearest + "'?";
}

template <class T>
void decode(const json& in, T& out, const Place& place);

template <class T>
void decode_integer(const json& in, T& out, const Place& place) {
  if (!in.is_number_integer()) place.fail("an integer", shown(in));
  const bool fits = in.is_number_unsigned()
                        ? in.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<T>::max())
                        : in.get<std::int64_t>() >= std::numeric_limits<T>::min() &&
                              in.get<std::int64_t>() <= std::numeric_limits<T>::max();
  if (!fits) {
    place.fail("an integer in " + std::to_string(std::numeric_limits<T>::min()) + " … " +
                   std::to_string(std::numeric_limits<T>::max()),
               shown(in));
  }
  out = in.get<T>();
}

template <class E>
void decode_enum(const json& in, E& out, const Place& place) {
  std::vector<std::string> names(kEnumNames<E>.begin(), kEnumNames<E>.end());
  if (in.is_string()) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (in == names[i]) {
        out = static_cast<E>(i);
        return;
      }
    }
  }
  const std::string hint = in.is_string() ? did_you_mean(in.get_ref<const std::string&>(), names) : "";
  place.fail("one of " + listed(names), shown(in), hint);
}

void start_from_preset(const json& in, ModelConfig& out, const Place& place) {
  const auto preset = in.find("preset");
  if (preset == in.end() || !preset->is_string()) return;  // a wrong type is found when it is decoded
  const auto& name = preset->get_ref<const std::string&>();
  if (name.empty()) return;
  if (!apply_preset(name, out)) {
    place.child("preset").fail("one of " + listed(preset_names()), shown(*preset), did_you_mean(name, preset_names()));
  }
}

template <class S>
void decode_struct(const json& in, S& out, const Place& place) {
  std::vector<std::string> keys;
  S::visit(out, [&](const char* key, auto&) { keys.emplace_back(key); });
  if (!in.is_object()) place.fail("a map with the keys " + listed(keys), shown(in));
  for (const auto& [key, value] : in.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      place.child(key).fail("one of the keys " + listed(keys), "an unknown key", did_you_mean(key, keys));
    }
  }
  if constexpr (std::is_same_v<S, ModelConfig>) start_from_preset(in, out, place);
  S::visit(out, [&](const char* key, auto& field) {
    if (const auto value = in.find(key); value != in.end()) decode(*value, field, place.child(key));
  });
}

template <class T>
void decode(const json& in, T& out, const Place& place) {
  if constexpr (std::is_enum_v<T>) {
    decode_enum(in, out, place);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!in.is_boolean()) place.fail("true or false", shown(in));
    out = in.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    decode_integer(in, out, place);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!in.is_number()) place.fail("a number", shown(in));
    if (!std::isfinite(in.get<double>())) {
      place.fail("a finite number", std::isnan(in.get<double>()) ? "nan" : "infinity");
    }
    out = in.get<double>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!in.is_string()) place.fail("a string", shown(in), in.is_number() || in.is_boolean() ? "quote it" : "");
    out = in.get<std::string>();
  } else if constexpr (kIsOptional<T>) {
    if (in.is_null()) {
      out.reset();
    } else {
      if (!out) out.emplace();
      decode(in, *out, place);
    }
  } else if constexpr (kIsVector<T>) {
    if (!in.is_array()) place.fail("a list", shown(in));
    constexpr std::size_t kMostItems = 10'000;
    if (in.size() > kMostItems) {
      place.fail("at most " + std::to_string(kMostItems) + " items", std::to_string(in.size()));
    }
    out.clear();
    for (std::size_t i = 0; i < in.size(); ++i) {
      decode(in[i], out.emplace_back(), place.child(std::to_string(i)));
    }
  } else {
    decode_struct(in, out, place);
  }
}

}  // namespace

std::optional<int> Config::task_index(std::string_view name) const {
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].name == name) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::string SourceMap::at(const std::string& pointer) const {
  for (std::string p = pointer; !p.empty(); p.erase(p.rfind('/'))) {
    if (const auto place = places.find(p); place != places.end()) return place->second;
  }
  return file;
}

Config config_from_json(const json& tree, const SourceMap& source) {
  Config config;
  decode(tree, config, Place{source, "", ""});
  validate(config, source);
  return config;
}

Config config_from_text(std::string_view json_text, const std::string& where) {
  return config_from_json(parse_json(json_text, where, "config", {.depth = 32, .nodes = 100'000}),
                          SourceMap{.file = where, .places = {}});
}

json to_json(const Config& config) { return encode<json>(config); }

}  // namespace m3vit
