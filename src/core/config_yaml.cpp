#include "core/config_yaml.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "core/config_codec.h"
#include "core/error.h"
#include "core/json_text.h"
#include "core/yaml_tree.h"

namespace m3vit {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

[[noreturn]] void fail(std::string where, std::string field, std::string wanted, std::string found) {
  throw Error{{.where = std::move(where),
               .field = std::move(field),
               .wanted = std::move(wanted),
               .found = std::move(found),
               .hint = {}}};
}

std::string child(const std::string& pointer, std::string_view key) {
  std::string out = pointer + "/";
  for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

/// "/tasks/0/name" → "tasks.0.name", as errors name a key.
std::string dotted(const std::string& pointer) {
  std::string field = pointer.empty() ? "" : pointer.substr(1);
  std::replace(field.begin(), field.end(), '/', '.');
  return printable(field);
}

/// Forgets where the values at and below `pointer` came from.
void erase_places(SourceMap& source, const std::string& pointer) {
  source.places.erase(pointer);
  const auto first = source.places.lower_bound(pointer + "/");
  auto last = first;
  while (last != source.places.end() && last->first.starts_with(pointer + "/")) ++last;
  source.places.erase(first, last);
}

/// Maps merge, everything else is replaced; `into` takes the positions of what it takes over.
void merge(YamlTree& into, json& target, YamlTree& from, json& value, const std::string& pointer) {
  if (target.is_object() && value.is_object()) {
    for (auto& [key, item] : value.items()) {
      const std::string p = child(pointer, key);
      if (!target.contains(key)) target[key] = nullptr;
      merge(into, target[key], from, item, p);
      if (const auto place = from.source.places.find(p); place != from.source.places.end()) {
        into.source.places[p] = place->second;
      }
    }
    return;
  }
  target = std::move(value);
  erase_places(into.source, pointer);
  for (auto it = from.source.places.lower_bound(pointer);
       it != from.source.places.end() && it->first.starts_with(pointer); ++it) {
    into.source.places.insert(*it);
  }
}

std::string read_text(const fs::path& path, const std::string& asked_at) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) fail(asked_at, "", "a YAML file", "the directory '" + path.string() + "'");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(asked_at, "", "a readable YAML file", "no '" + path.string() + "'");
  std::string text;
  constexpr std::size_t kMost = (1U << 20U) + 1;  // parse_yaml refuses more; no need to read it
  text.resize(kMost);
  in.read(text.data(), static_cast<std::streamsize>(kMost));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

YamlTree read_tree(const fs::path& path, const std::string& asked_at, std::vector<fs::path>& chain) {
  std::error_code error;
  fs::path canonical = fs::weakly_canonical(path, error);
  if (error) canonical = path;
  if (std::find(chain.begin(), chain.end(), canonical) != chain.end()) {
    std::string cycle;
    for (const fs::path& p : chain) cycle += p.filename().string() + " → ";
    fail(asked_at, "extends", "a chain of files that ends", cycle + canonical.filename().string());
  }
  constexpr std::size_t kLongestChain = 16;
  if (chain.size() >= kLongestChain) {
    fail(asked_at, "extends", "at most " + std::to_string(kLongestChain) + " files in a chain", "more");
  }
  chain.push_back(canonical);
  YamlTree tree = parse_yaml(read_text(path, asked_at), path.string());
  if (tree.json.is_object() && tree.json.contains("extends")) {
    const json parent = tree.json["extends"];
    const std::string place = tree.source.at("/extends");
    if (!parent.is_string() || parent.get_ref<const std::string&>().empty())
      fail(place, "extends", "the path of a YAML file", shown(parent));
    tree.json.erase("extends");
    erase_places(tree.source, "/extends");
    YamlTree base = read_tree(path.parent_path() / parent.get<std::string>(), place, chain);
    if (!base.json.is_object()) base.json = json::object();
    base.source.file = tree.source.file;
    merge(base, base.json, tree, tree.json, "");
    tree = std::move(base);
  }
  chain.pop_back();
  return tree;
}

/// "train.epochs=5": the value is YAML; an empty value is the empty string.
void apply_override(YamlTree& tree, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    fail("--set", "", "KEY=VALUE, for example train.epochs=5", shown(json(text)));
  }
  const std::string path = text.substr(0, equals);
  const std::string where = "--set " + printable(path);
  if (equals > 1000) fail("--set", "", "a key of the configuration", shown(json(path)));
  YamlTree value = parse_yaml(text.substr(equals + 1), where);
  if (equals + 1 == text.size()) value.json = "";

  json* node = &tree.json;
  std::string pointer;
  std::string_view rest = path;
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string key(rest.substr(0, dot));
    if (key.empty()) fail(where, "", "keys joined by single dots", printable(path));
    if (node->is_array()) {
      std::size_t index = 0;
      const auto r = std::from_chars(key.data(), key.data() + key.size(), index);
      if (r.ec != std::errc{} || r.ptr != key.data() + key.size() || index >= node->size()) {
        fail(where, dotted(pointer),
             node->empty() ? "a list with items" : "an index 0 … " + std::to_string(node->size() - 1), printable(key));
      }
      node = &(*node)[index];
    } else {
      if (node->is_null()) *node = json::object();
      if (!node->is_object()) fail(where, dotted(pointer), "a map", shown(*node));
      node = &(*node)[key];
    }
    pointer = child(pointer, key);
    if (!tree.source.places.contains(pointer)) tree.source.places[pointer] = where;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  *node = std::move(value.json);
  erase_places(tree.source, pointer);
  tree.source.places[pointer] = where;
}

Config decode_tree(YamlTree tree, const std::vector<std::string>& overrides) {
  if (tree.json.is_null()) tree.json = json::object();
  for (const std::string& text : overrides) apply_override(tree, text);
  return config_from_json(tree.json, tree.source);
}

using Ordered = nlohmann::ordered_json;

bool is_flow(const Ordered& value) {
  return std::none_of(value.begin(), value.end(), [](const Ordered& item) { return item.is_structured(); });
}

/// Block style; lists of scalars inline. JSON's spelling of scalars is YAML's too.
void emit(const Ordered& value, int indent, std::string& out) {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  const auto item = [&](const Ordered& v) {
    if (!v.is_structured()) {
      out.append(" ").append(v.dump()).append("\n");
    } else if (v.is_array() && is_flow(v)) {
      out += " [";
      const char* before = "";
      for (const Ordered& element : v) {
        out.append(before).append(element.dump());
        before = ", ";
      }
      out += "]\n";
    } else {
      out += "\n";
      emit(v, indent + 2, out);
    }
  };
  if (value.is_object()) {
    for (const auto& [key, v] : value.items()) {
      out += margin + key + ":";
      item(v);
    }
  } else {
    for (const Ordered& v : value) {
      // "- " takes the place of the first key's margin.
      std::string block;
      emit(v, indent + 2, block);
      block[static_cast<std::size_t>(indent)] = '-';
      out += block;
    }
  }
}

}  // namespace

Config load_config(const fs::path& path, const std::vector<std::string>& overrides) {
  std::vector<fs::path> chain;
  return decode_tree(read_tree(path, path.string(), chain), overrides);
}

Config parse_config(std::string_view yaml, const std::string& where, const std::vector<std::string>& overrides) {
  YamlTree tree = parse_yaml(yaml, where);
  if (tree.json.is_object() && tree.json.contains("extends")) {
    fail(tree.source.at("/extends"), "extends", "none, as this text is no file", shown(tree.json["extends"]));
  }
  return decode_tree(std::move(tree), overrides);
}

std::string to_yaml(const Config& config) {
  std::string out;
  emit(encode<Ordered>(config), 0, out);
  return out;
}

}  // namespace m3vit
