#include "data/folder_spec.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/json_text.h"

namespace m3vit {
namespace {

constexpr std::size_t kMaxIdBytes = 200;  // file names end at 255 bytes; room for _N.png

/// Names go into JSON reports, where other bytes are an error long after the mistake.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U; };
    const unsigned first = byte(i);
    const std::size_t length = first < 0x80   ? 1
                               : first < 0xC2 ? 0
                               : first < 0xE0 ? 2
                               : first < 0xF0 ? 3
                               : first < 0xF5 ? 4
                                              : 0;
    if (length == 0) return false;
    unsigned point = length == 1 ? first : first & (0x7FU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0U) != 0x80U) return false;
      point = point << 6U | (byte(i + k) & 0x3FU);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    if (overlong || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return false;
    i += length;
  }
  return true;
}

bool is_control(unsigned char c) { return c < 0x20 || c == 0x7F; }

/// Cut and made printable for a message.
std::string shown_text(std::string_view text) {
  std::string out(text.substr(0, 60));
  if (!is_utf8(out))
    std::replace_if(
        out.begin(), out.end(), [](unsigned char c) { return c >= 0x80; }, '?');
  std::replace_if(out.begin(), out.end(), is_control, '?');
  return out;
}

/// What classes and data sets may be called.
bool is_name(const YAML::Node& node) {
  return node.IsScalar() && !node.Scalar().empty() && is_utf8(node.Scalar()) &&
         std::none_of(node.Scalar().begin(), node.Scalar().end(), is_control);
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& names) {
  const std::string nearest = nearest_name(name, names);
  return nearest.empty() ? "" : "did you mean '" + nearest + "'?";
}

/// A node's text for a message, short and on one line.
std::string describe(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list of " + std::to_string(node.size());
  if (!node.IsScalar()) return "nothing";
  return "'" + shown_text(node.Scalar()) + "'";
}

class SpecParser {
 public:
  SpecParser(std::string where, Problems& problems) : where_(std::move(where)), problems_(problems) {}

  FolderSpec parse(std::string_view yaml) {
    try {
      const YAML::Node root = YAML::Load(std::string(yaml));
      parse_root(root);
    } catch (const YAML::Exception& e) {
      problems_.add({.where = at(e.mark), .wanted = "YAML", .found = e.msg});
    }
    return std::move(spec_);
  }

 private:
  std::string at(const YAML::Mark& mark) const {
    if (mark.is_null()) return where_;
    return where_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
  }

  void wrong(const YAML::Node& node, const std::string& field, const std::string& wanted) {
    problems_.add({.where = at(node.Mark()), .field = field, .wanted = wanted, .found = describe(node)});
  }

  /// Calls `take(key, value)` for each key of a map; `take` returns false for a key it does not know.
  template <class Take>
  void each_key(const YAML::Node& map, const std::string& path, const std::vector<std::string>& known, Take&& take) {
    std::string keys;
    for (const std::string& k : known) keys.append(keys.empty() ? "" : ", ").append(k);
    if (!map.IsMap()) return wrong(map, path, "a map with " + keys);
    std::set<std::string> seen;
    for (const auto& pair : map) {
      const std::string key = pair.first.IsScalar() ? shown_text(pair.first.Scalar()) : describe(pair.first);
      std::string field = path.empty() ? path : path + ".";
      field += key;
      if (!seen.insert(key).second) {
        problems_.add({.where = at(pair.first.Mark()), .field = field, .wanted = "each key once", .found = "it again"});
      } else if (!take(key, pair.second)) {
        problems_.add({.where = at(pair.first.Mark()),
                       .field = field,
                       .wanted = keys,
                       .found = "an unknown key",
                       .hint = did_you_mean(key, known)});
      }
    }
  }

  void parse_root(const YAML::Node& root) {
    bool tasks_given = false;
    each_key(root, "", {"name", "tasks", "semseg", "human_parts", "depth"},
             [&](const std::string& key, const YAML::Node& value) {
               if (key == "name") {
                 parse_name(value);
               } else if (key == "tasks") {
                 tasks_given = true;
                 parse_tasks(value);
               } else if (key == "semseg") {
                 parse_semseg(value);
               } else if (key == "human_parts") {
                 parse_human_parts(value);
               } else if (key == "depth") {
                 parse_depth(value);
               } else {
                 return false;
               }
               return true;
             });
    if (!root.IsMap()) return;
    if (!tasks_given) {
      problems_.add({.where = where_, .field = "tasks", .wanted = "a list of " + task_names(), .found = "nothing"});
    }
    auto& parts = spec_.info.classes[static_cast<std::size_t>(TaskId::kHumanParts)];
    for (const TaskId t : spec_.info.tasks) {
      if (t == TaskId::kSemseg && !semseg_given_) {
        problems_.add({.where = where_, .field = "semseg.classes", .wanted = "the class names", .found = "nothing"});
      }
      if (t == TaskId::kHumanParts) parts.assign(kHumanParts.begin(), kHumanParts.end());
    }
  }

  void parse_name(const YAML::Node& node) {
    if (!is_name(node)) return wrong(node, "name", "a name");
    spec_.info.name = node.Scalar();
  }

  void parse_tasks(const YAML::Node& node) {
    if (!node.IsSequence() || node.size() == 0) return wrong(node, "tasks", "a list of " + task_names());
    for (const auto& item : node) {
      const std::optional<TaskId> id = item.IsScalar() ? find_task(item.Scalar()) : std::nullopt;
      auto& tasks = spec_.info.tasks;
      if (!id) {
        wrong(item, "tasks", "one of " + task_names());
      } else if (std::find(tasks.begin(), tasks.end(), *id) != tasks.end()) {
        wrong(item, "tasks", "each task once");
      } else {
        tasks.push_back(*id);
      }
    }
  }

  std::vector<std::string> parse_classes(const YAML::Node& node, const std::string& field) {
    std::vector<std::string> names;
    if (!node.IsSequence() || node.size() == 0 || node.size() > kMaxClasses) {
      wrong(node, field, "a list of 1 to " + std::to_string(kMaxClasses) + " names");
      return names;
    }
    std::set<std::string> seen;
    for (const auto& item : node) {
      if (!is_name(item)) {
        wrong(item, field, "a name");
      } else if (!seen.insert(item.Scalar()).second) {
        wrong(item, field, "each name once");
      }
      names.push_back(item.IsScalar() ? item.Scalar() : "");
    }
    return names;
  }

  void parse_semseg(const YAML::Node& node) {
    std::optional<YAML::Node> colors;
    each_key(node, "semseg", {"classes", "colors"}, [&](const std::string& key, const YAML::Node& value) {
      if (key == "classes") {
        semseg_given_ = true;
        spec_.info.classes[static_cast<std::size_t>(TaskId::kSemseg)] = parse_classes(value, "semseg.classes");
      } else if (key == "colors") {
        colors.emplace(value);
      } else {
        return false;
      }
      return true;
    });
    if (colors) parse_colors(*colors);
  }

  void parse_colors(const YAML::Node& node) {
    const std::size_t classes = spec_.info.classes[static_cast<std::size_t>(TaskId::kSemseg)].size();
    if (!node.IsSequence() || node.size() != classes) {
      return wrong(node, "semseg.colors", "a list of one [r, g, b] per class (" + std::to_string(classes) + ")");
    }
    for (const auto& item : node) {
      std::array<std::uint8_t, 3> color{};
      bool good = item.IsSequence() && item.size() == 3;
      for (std::size_t c = 0; good && c < 3; ++c) {
        int value = -1;
        const YAML::Node part = item[c];
        const std::string text = part.IsScalar() ? part.Scalar() : "";
        const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
        good = result.ec == std::errc() && result.ptr == text.data() + text.size() && value >= 0 && value <= 255;
        color[c] = static_cast<std::uint8_t>(value);
      }
      if (!good) wrong(item, "semseg.colors", "[r, g, b], each 0 to 255");
      spec_.info.semseg_colors.push_back(color);
    }
  }

  void parse_human_parts(const YAML::Node& node) {
    each_key(node, "human_parts", {"classes"}, [&](const std::string& key, const YAML::Node& value) {
      if (key != "classes") return false;
      const std::vector<std::string> names = parse_classes(value, "human_parts.classes");
      if (!names.empty() && !std::equal(names.begin(), names.end(), kHumanParts.begin(), kHumanParts.end())) {
        std::string wanted = "exactly [";
        for (const std::string_view part : kHumanParts)
          wanted += (wanted.back() == '[' ? "" : ", ") + std::string(part);
        wrong(value, "human_parts.classes", wanted + "]");
      }
      return true;
    });
  }

  void parse_depth(const YAML::Node& node) {
    each_key(node, "depth", {"scale"}, [&](const std::string& key, const YAML::Node& value) {
      if (key != "scale") return false;
      double scale = 0;
      if (!value.IsScalar() || !YAML::convert<double>::decode(value, scale) || !std::isfinite(scale) || scale <= 0) {
        wrong(value, "depth.scale", "metres per stored unit, > 0");
      } else {
        spec_.depth_scale = scale;
      }
      return true;
    });
  }

  std::string where_;
  Problems& problems_;
  FolderSpec spec_;
  bool semseg_given_ = false;
};

}  // namespace

FolderSpec parse_folder_spec(std::string_view yaml, const std::string& where, Problems& problems) {
  return SpecParser(where, problems).parse(yaml);
}

std::string folder_spec_yaml(const FolderSpec& spec) {
  YAML::Emitter out;
  // Names are quoted: a class called "no" or "3" stays a name for every YAML reader.
  const auto quoted = [&](const std::vector<std::string>& names) {
    out << YAML::Flow << YAML::BeginSeq;
    for (const std::string& name : names) out << YAML::DoubleQuoted << name;
    out << YAML::EndSeq;
  };
  out << YAML::BeginMap;
  if (!spec.info.name.empty()) out << YAML::Key << "name" << YAML::Value << YAML::DoubleQuoted << spec.info.name;
  out << YAML::Key << "tasks" << YAML::Value << YAML::Flow << YAML::BeginSeq;
  for (const TaskId t : spec.info.tasks) out << std::string(task_spec(t).name);
  out << YAML::EndSeq;
  for (const TaskId t : spec.info.tasks) {
    const std::string task(task_spec(t).name);
    if (task_spec(t).label == LabelKind::kDepth) {
      out << YAML::Key << task << YAML::Value << YAML::BeginMap;
      out << YAML::Key << "scale" << YAML::Value << spec.depth_scale << YAML::EndMap;
    } else if (task_spec(t).label == LabelKind::kClassIndex) {
      out << YAML::Key << task << YAML::Value << YAML::BeginMap << YAML::Key << "classes" << YAML::Value;
      quoted(spec.info.classes[static_cast<std::size_t>(t)]);
      if (t == TaskId::kSemseg && !spec.info.semseg_colors.empty()) {
        out << YAML::Key << "colors" << YAML::Value << YAML::Flow << YAML::BeginSeq;
        for (const auto& color : spec.info.semseg_colors) {
          out << YAML::Flow << YAML::BeginSeq << int{color[0]} << int{color[1]} << int{color[2]} << YAML::EndSeq;
        }
        out << YAML::EndSeq;
      }
      out << YAML::EndMap;
    }
  }
  out << YAML::EndMap;
  return std::string(out.c_str(), out.size()) + "\n";
}

bool is_safe_id(std::string_view id) {
  if (id.empty() || id.size() > kMaxIdBytes || id.front() == '.') return false;
  if (id.find("..") != std::string_view::npos || id.find_first_of("/\\:") != std::string_view::npos) return false;
  return std::none_of(id.begin(), id.end(), is_control) && is_utf8(id);
}

std::vector<SplitEntry> parse_split(std::string_view text, const std::string& where, Problems& problems) {
  std::vector<SplitEntry> entries;
  std::unordered_map<std::string_view, int> first_line;
  int line = 0;
  while (!text.empty()) {
    ++line;
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view id = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!id.empty() && (id.back() == '\r' || id.back() == ' ' || id.back() == '\t')) id.remove_suffix(1);
    if (id.empty()) continue;
    const std::string place = where + ":" + std::to_string(line);
    const auto [it, is_new] = first_line.try_emplace(id, line);
    if (!is_safe_id(id)) {
      problems.add({.where = place,
                    .field = "ID",
                    .wanted = "an ID of at most " + std::to_string(kMaxIdBytes) +
                              " bytes of UTF-8 without path separators, \"..\" or a leading dot",
                    .found = "'" + shown_text(id) + "'"});
    } else if (!is_new) {
      problems.add({.where = place,
                    .field = "ID",
                    .wanted = "each ID once",
                    .found = "'" + std::string(id) + "' again (first in line " + std::to_string(it->second) + ")"});
    } else {
      entries.push_back({std::string(id), line});
    }
  }
  return entries;
}

std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code ec;
  if (!std::filesystem::is_regular_file(path, ec)) {
    throw Error{{.where = path.string(), .wanted = "a text file", .found = "no such file"}};
  }
  const std::uintmax_t bytes = std::filesystem::file_size(path, ec);
  if (ec || bytes > max_bytes) {
    throw Error{{.where = path.string(),
                 .wanted = "at most " + std::to_string(max_bytes) + " bytes",
                 .found = ec ? ec.message() : std::to_string(bytes)}};
  }
  std::string text(static_cast<std::size_t>(bytes), '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    throw Error{{.where = path.string(), .wanted = "a readable text file", .found = "a read error"}};
  }
  return text;
}

}  // namespace m3vit
