#include "cli/expert_usage.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "runtime/layout.h"

namespace m3vit::cli {
namespace {

using nlohmann::json;

/// The list of blocks in a document of either kind.
const json& blocks_of(const json& document, const std::string& where) {
  const json* at = &document;
  if (at->is_object() && at->contains("routing")) at = &at->at("routing");
  if (at->is_object() && at->contains("blocks")) at = &at->at("blocks");
  if (!at->is_array()) {
    throw Error{{.where = where,
                 .field = "blocks",
                 .wanted = "a list of MoE blocks",
                 .found = "none",
                 .hint = "training's routing.json, or `m3vit eval MODEL --engine runtime --out FILE`"}};
  }
  return *at;
}

}  // namespace

void ExpertUsage::add(const std::string& task, const std::vector<RoutingMap>& routing) {
  for (const RoutingMap& map : routing) {
    std::vector<std::int64_t>& counts = counts_[map.block][task];
    counts.resize(static_cast<std::size_t>(num_experts_));
    for (std::size_t i = 0; i < map.experts.size(); ++i) {
      if (map.weights[i] != 0.0F) ++counts[static_cast<std::size_t>(map.experts[i])];
    }
  }
}

json ExpertUsage::blocks() const {
  json list = json::array();
  for (const auto& [block, tasks] : counts_) {
    json entry{{"block", block}, {"tasks", json::object()}};
    for (const auto& [task, counts] : tasks) {
      double total = 0.0;
      for (const std::int64_t n : counts) total += static_cast<double>(n);
      std::vector<double> load;
      for (const std::int64_t n : counts) load.push_back(total > 0.0 ? static_cast<double>(n) / total : 0.0);
      entry["tasks"][task] = {{"load", load}, {"unused", std::count(counts.begin(), counts.end(), 0)}};
    }
    list.push_back(std::move(entry));
  }
  return list;
}

std::map<int, std::vector<int>> unused_experts(const std::filesystem::path& path, const Config& config,
                                               const std::vector<std::string>& tasks) {
  const std::string where = path.string();
  std::ifstream in(path);
  if (!in) throw Error{{.where = where, .field = {}, .wanted = "a readable file", .found = "none"}};
  const json document = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) throw Error{{.where = where, .field = {}, .wanted = "JSON", .found = "other text"}};
  if (!config.model.moe) {
    throw Error{{.where = "--prune-unused", .field = {}, .wanted = "a model with experts", .found = "a dense one"}};
  }
  const MoeConfig& moe = *config.model.moe;
  const auto experts = static_cast<std::size_t>(moe.num_experts);

  std::map<int, std::map<std::string, std::vector<double>>> loads;
  for (const json& block : blocks_of(document, where)) {
    if (!block.is_object() || !block.contains("block") || !block["block"].is_number_integer() ||
        !block.contains("tasks") || !block["tasks"].is_object()) {
      throw Error{{.where = where, .field = "blocks", .wanted = "\"block\" and \"tasks\" in each", .found = "others"}};
    }
    for (const auto& [task, entry] : block["tasks"].items()) {
      const std::string field = "blocks." + block["block"].dump() + ".tasks." + task + ".load";
      const bool numbers =
          entry.is_object() && entry.contains("load") && entry["load"].is_array() &&
          std::all_of(entry["load"].begin(), entry["load"].end(), [](const json& v) { return v.is_number(); });
      if (!numbers || entry["load"].size() != experts) {
        throw Error{{.where = where,
                     .field = field,
                     .wanted = std::to_string(experts) + " shares",
                     .found = numbers ? std::to_string(entry["load"].size()) : "something else"}};
      }
      loads[block["block"].get<int>()][task] = entry["load"].get<std::vector<double>>();
    }
  }

  std::map<int, std::vector<int>> pruned;
  for (int b = 0; b < config.model.depth; ++b) {
    if (!config.model.is_moe(b)) continue;
    std::set<int> kept;
    for (const std::string& task : tasks) {
      const auto& of_block = loads[b];
      const auto load = of_block.find(task);
      if (load == of_block.end()) {
        throw Error{{.where = where,
                     .field = "blocks",
                     .wanted = "the load of " + task + " in block " + std::to_string(b),
                     .found = "none"}};
      }
      for (std::size_t e = 0; e < experts; ++e) {
        if (load->second[e] > 0.0) kept.insert(static_cast<int>(e));
      }
    }
    for (const std::string& task : tasks) {
      const ExpertWindow window = expert_window(config, *config.task_index(task));
      const auto left = [&] {
        return std::distance(kept.lower_bound(window.first), kept.lower_bound(window.first + window.count));
      };
      for (int e = window.first; e < window.first + window.count && left() < moe.top_k; ++e) kept.insert(e);
    }
    for (int e = 0; e < moe.num_experts; ++e) {
      if (!kept.contains(e)) pruned[b].push_back(e);
    }
  }
  return pruned;
}

}  // namespace m3vit::cli
