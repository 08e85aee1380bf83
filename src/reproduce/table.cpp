#include "reproduce/table.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config_yaml.h"
#include "core/error.h"
#include "core/mapped_file.h"
#include "core/yaml_tree.h"

namespace m3vit {
namespace {

using nlohmann::json;

/// Reads one mapping and complains about what it was not asked for.
class Reader {
 public:
  Reader(const json& object, const SourceMap& source, std::string pointer)
      : object_(object), source_(source), pointer_(std::move(pointer)) {
    if (!object.is_object()) fail("", "a mapping", object.dump());
  }

  std::string text(const char* key, const std::string& otherwise) {
    const json* v = find(key);
    if (v == nullptr) return otherwise;
    if (!v->is_string()) fail(key, "text", v->dump());
    return v->get<std::string>();
  }
  std::string required(const char* key) {
    if (find(key) == nullptr) fail(key, "text", "nothing");
    return text(key, "");
  }
  bool flag(const char* key) {
    const json* v = find(key);
    if (v != nullptr && !v->is_boolean()) fail(key, "true or false", v->dump());
    return v != nullptr && v->get<bool>();
  }
  int count(const char* key, int otherwise) {
    const json* v = find(key);
    if (v == nullptr) return otherwise;
    if (!v->is_number_integer() || v->get<std::int64_t>() < 1 || v->get<std::int64_t>() > 1000) {
      fail(key, "1 … 1000", v->dump());
    }
    return v->get<int>();
  }
  std::vector<std::string> texts(const char* key) {
    const json* v = find(key);
    if (v == nullptr) return {};
    const bool fits =
        v->is_array() && std::all_of(v->begin(), v->end(), [](const json& item) { return item.is_string(); });
    if (!fits) fail(key, "a list of overrides such as train.epochs=5", v->dump());
    return v->get<std::vector<std::string>>();
  }
  const json* find(const char* key) {
    known_.insert(key);
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  /// Last: every key must have been asked for.
  void finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (known_.contains(key)) continue;
      std::string all;
      for (const std::string& k : known_) all += (all.empty() ? "" : ", ") + k;
      fail(key.c_str(), "one of the keys " + all, "'" + key + "'");
    }
  }
  [[noreturn]] void fail(const std::string& key, const std::string& wanted, const std::string& found) const {
    const std::string pointer = key.empty() ? pointer_ : pointer_ + "/" + key;
    throw Error{{.where = source_.at(pointer),
                 .field = pointer.empty() ? "" : pointer.substr(1),
                 .wanted = wanted,
                 .found = found}};
  }

 private:
  const json& object_;
  const SourceMap& source_;
  std::string pointer_;
  std::set<std::string> known_;
};

bool is_folder_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(),
                                      [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

/// Overrides by scale.
std::map<std::string, std::vector<std::string>> read_scales(const json& value, const SourceMap& source,
                                                            const std::string& pointer) {
  Reader reader(value, source, pointer);
  std::map<std::string, std::vector<std::string>> scales;
  for (const auto& [name, overrides] : value.items()) scales[name] = reader.texts(name.c_str());
  return scales;
}

TableRow read_row(const json& value, const SourceMap& source, const std::string& pointer) {
  Reader reader(value, source, pointer);
  TableRow row;
  row.name = reader.required("name");
  if (!is_folder_name(row.name)) reader.fail("name", "letters, digits, _ and -", row.name);
  row.label = reader.text("label", row.name);
  row.against = reader.text("against", "");
  row.single_task = reader.flag("single_task");
  row.overrides = reader.texts("set");
  if (const json* at = reader.find("at"); at != nullptr) row.at = read_scales(*at, source, pointer + "/at");
  reader.finish();
  return row;
}

std::string one_task(const TaskConfig& task) {
  return "tasks=[" + json{{"name", task.name}, {"outputs", task.outputs}, {"loss_weight", task.loss_weight}}.dump() +
         "]";
}

}  // namespace

const TableRow* Table::find(const std::string& row) const {
  const auto it = std::find_if(rows.begin(), rows.end(), [&](const TableRow& r) { return r.name == row; });
  return it == rows.end() ? nullptr : &*it;
}

Table read_table(const std::filesystem::path& path) {
  const MappedFile file(path);
  const YamlTree tree =
      parse_yaml({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
  Reader reader(tree.json, tree.source, "");
  Table table;
  table.name = path.stem().string();
  table.title = reader.text("title", table.name);
  table.recipe = path.parent_path() / reader.required("recipe");
  table.seeds = reader.count("seeds", 3);
  table.macs_against = reader.text("macs_against", "");
  const json* scales = reader.find("scales");
  if (scales == nullptr || !scales->is_object() || scales->empty()) {
    reader.fail("scales", "a list of overrides by scale: {smoke: [train.epochs=1], rooms: []}",
                scales == nullptr ? "nothing" : scales->dump());
  }
  table.scales = read_scales(*scales, tree.source, "/scales");
  const json* rows = reader.find("rows");
  if (rows == nullptr || !rows->is_array() || rows->empty()) reader.fail("rows", "a list of rows", "none");
  for (std::size_t i = 0; i < rows->size(); ++i) {
    TableRow row = read_row((*rows)[i], tree.source, "/rows/" + std::to_string(i));
    if (table.find(row.name) != nullptr) reader.fail("rows/" + std::to_string(i) + "/name", "each row once", row.name);
    table.rows.push_back(std::move(row));
  }
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    for (const auto& [scale, overrides] : table.rows[i].at) {
      if (!table.scales.contains(scale)) {
        reader.fail("rows/" + std::to_string(i) + "/at/" + scale, "a scale of this table", scale);
      }
    }
    const std::string& against = table.rows[i].against;
    if (against.empty() || table.find(against) != nullptr) continue;
    reader.fail("rows/" + std::to_string(i) + "/against", "a row of this table", against);
  }
  if (!table.macs_against.empty() && table.find(table.macs_against) == nullptr) {
    reader.fail("macs_against", "a row of this table", table.macs_against);
  }
  if (const json* published = reader.find("published"); published != nullptr) {
    if (!published->is_array()) reader.fail("published", "a list", published->dump());
    for (std::size_t i = 0; i < published->size(); ++i) {
      Reader entry((*published)[i], tree.source, "/published/" + std::to_string(i));
      table.published.push_back(
          {entry.text("row", ""), entry.required("what"), entry.required("value"), entry.required("source")});
      entry.finish();
    }
  }
  reader.finish();
  return table;
}

std::vector<Job> plan(const Table& table, const PlanOptions& options) {
  const auto scale = table.scales.find(options.scale);
  if (scale == table.scales.end()) {
    std::string all;
    for (const auto& [name, overrides] : table.scales) all += (all.empty() ? "" : ", ") + name;
    throw Error{{.where = table.name, .field = "--scale", .wanted = "one of " + all, .found = options.scale}};
  }
  std::set<std::string> wanted;
  for (const std::string& name : options.rows) {
    const TableRow* row = table.find(name);
    if (row == nullptr) {
      std::string all;
      for (const TableRow& r : table.rows) all += (all.empty() ? "" : ", ") + r.name;
      throw Error{{.where = table.name, .field = "--rows", .wanted = "rows of " + all, .found = name}};
    }
    wanted.insert(name);
    if (!row->against.empty()) wanted.insert(row->against);
  }
  std::vector<Job> jobs;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const TableRow& row = table.rows[r];
    if (!wanted.empty() && !wanted.contains(row.name)) continue;
    for (int seed = 1; seed <= (options.seeds > 0 ? options.seeds : table.seeds); ++seed) {
      std::vector<std::string> overrides = scale->second;
      overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
      overrides.insert(overrides.end(), row.overrides.begin(), row.overrides.end());
      if (const auto at = row.at.find(options.scale); at != row.at.end()) {
        overrides.insert(overrides.end(), at->second.begin(), at->second.end());
      }
      overrides.push_back("train.seed=" + std::to_string(seed));
      const std::string folder = row.name + "/seed_" + std::to_string(seed);
      const Config all = load_config(table.recipe, overrides);
      if (!row.single_task) {
        jobs.push_back({r, seed, "", folder, all});
        continue;
      }
      for (const TaskConfig& task : all.tasks) {
        std::vector<std::string> own = overrides;
        own.push_back(one_task(task));
        jobs.push_back({r, seed, task.name, folder + "/" + task.name, load_config(table.recipe, own)});
      }
    }
  }
  return jobs;
}

}  // namespace m3vit
