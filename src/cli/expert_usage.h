#pragma once
/// How often each expert is chosen, by MoE block and task: gathered from the runtime, written as training writes it
/// (docs/training.md, routing.json), and read to leave out what nobody chooses.
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/config.h"
#include "m3vit/m3vit.hpp"

namespace m3vit::cli {

class ExpertUsage {
 public:
  /// `num_experts`: of the model. Choices of weight 0 (prune_below) do not count.
  explicit ExpertUsage(int num_experts) : num_experts_(num_experts) {}
  void add(const std::string& task, const std::vector<RoutingMap>& routing);
  /// [{"block", "tasks": {T: {"load": [share of choices, by expert], "unused"}}}], blocks ascending.
  nlohmann::json blocks() const;

 private:
  int num_experts_;
  std::map<int, std::map<std::string, std::vector<std::int64_t>>> counts_;  ///< block, task, expert
};

/// Experts to leave out by MoE block, ascending: those that none of `tasks` chose according to `path`: training's
/// routing.json, or a document of `m3vit eval` with "routing". Where fewer than top_k experts of a task would be left,
/// the lowest of the unused stay. Throws Error naming the field when the file does not fit `config` or lacks a block or
/// a task.
std::map<int, std::vector<int>> unused_experts(const std::filesystem::path& path, const Config& config,
                                               const std::vector<std::string>& tasks);

}  // namespace m3vit::cli
