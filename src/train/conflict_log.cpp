#include "train/conflict_log.h"

#include <algorithm>
#include <map>

#include "core/atomic_file.h"
#include "eval/plot.h"

namespace m3vit {
namespace {

using nlohmann::json;

bool is_conflict(const json& r) { return r.value("type", "") == "conflict"; }

struct Tally {
  std::int64_t count = 0, negative = 0;
  double sum = 0;

  void add(double cosine) {
    ++count;
    negative += cosine < 0 ? 1 : 0;
    sum += cosine;
  }
  double share() const { return count > 0 ? static_cast<double>(negative) / static_cast<double>(count) : 0.0; }
  void write(json& to) const {
    to["conflicting"] = share();
    to["mean_cosine"] = count > 0 ? sum / static_cast<double>(count) : 0.0;
  }
};

}  // namespace

json conflict_record(const std::vector<LayerConflict>& layers, const std::vector<std::string>& tasks) {
  json list = json::array();
  for (const LayerConflict& layer : layers) {
    json cosines = json::object();
    for (std::size_t s = 0; s < tasks.size(); ++s) {
      for (std::size_t t = s + 1; t < tasks.size(); ++t) {
        cosines[tasks[s] + "," + tasks[t]] = cosine(layer.gram, static_cast<int>(s), static_cast<int>(t));
      }
    }
    list.push_back({{"layer", layer.layer}, {"params", layer.params}, {"cosine", std::move(cosines)}});
  }
  return {{"layers", std::move(list)}};
}

json conflict_summary(const std::vector<json>& records) {
  struct Layer {
    std::string name;
    std::int64_t params;
    Tally all;
    std::map<std::string, Tally> pairs;
  };
  std::vector<Layer> layers;
  Tally all;
  std::int64_t measurements = 0;
  for (const json& record : records) {
    if (!is_conflict(record)) continue;
    ++measurements;
    for (const json& l : record["layers"]) {
      const std::string name = l["layer"];
      auto found = std::find_if(layers.begin(), layers.end(), [&](const Layer& x) { return x.name == name; });
      if (found == layers.end()) found = layers.insert(layers.end(), {name, l["params"], {}, {}});
      for (const auto& [pair, value] : l["cosine"].items()) {
        all.add(value);
        found->all.add(value);
        found->pairs[pair].add(value);
      }
    }
  }
  json result{{"measurements", measurements}, {"layers", json::array()}};
  all.write(result);
  for (const Layer& layer : layers) {
    json entry{{"layer", layer.name}, {"params", layer.params}, {"pairs", json::object()}};
    layer.all.write(entry);
    for (const auto& [pair, tally] : layer.pairs) tally.write(entry["pairs"][pair]);
    result["layers"].push_back(std::move(entry));
  }
  return result;
}

void write_conflict(const std::filesystem::path& run, const std::vector<json>& records) {
  Series conflicting{.name = "share of conflicting pairs", .x = {}, .y = {}};
  Series mean{.name = "mean cosine", .x = {}, .y = {}};
  for (const json& record : records) {
    if (!is_conflict(record)) continue;
    const json one = conflict_summary({record});
    for (Series* s : {&conflicting, &mean}) s->x.push_back(record["step"].get<double>());
    conflicting.y.push_back(one["conflicting"].get<double>());
    mean.y.push_back(one["mean_cosine"].get<double>());
  }
  if (mean.x.empty()) return;
  write_text_file(run / "conflict.json", conflict_summary(records).dump(1));
  PlotOptions options;
  options.title = "Do the tasks' gradients conflict? (over shared layers and pairs of tasks)";
  options.x_label = "step";
  options.y_label = "share, cosine";
  write_text_file(run / "conflict.svg", plot_svg({conflicting, mean}, options));
}

}  // namespace m3vit
