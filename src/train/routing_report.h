#pragma once
/// Which experts each task used: gathered over an epoch, per MoE layer and task.
#include <torch/torch.h>

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/config.h"
#include "model/network.h"
#include "train/world.h"

namespace m3vit {

class RoutingReport {
 public:
  explicit RoutingReport(const Config& config);
  void add(std::size_t task, const std::vector<RoutingStats>& layers);
  /// Adds `own` of every rank; collective. All ranks have seen as many micro-batches.
  void add_ranks(const RoutingReport& own, World& world);
  void clear() { sums_.clear(); }
  bool empty() const { return sums_.empty(); }

  /// [{"block", "tasks": {T: {"load": [share of choices per expert], "entropy" (nats, mean over tokens),
  ///   "max_over_mean", "unused"}}, "overlap": {"a,b": Σ_e min(load_a, load_b)}}], blocks ascending. Overlap is the
  /// histogram intersection of two tasks' loads: 1 = the same experts equally often, 0 = disjoint.
  nlohmann::json summary() const;

  /// Exact sums, for a resume in the middle of an epoch.
  nlohmann::json state() const;
  void load(const nlohmann::json& state);

 private:
  struct Sum {
    torch::Tensor load, importance;  ///< [num_experts] f64
    torch::Tensor entropy;           ///< scalar f64, summed over steps
    std::int64_t steps = 0;
  };
  std::vector<std::string> tasks_;
  std::map<int, std::vector<Sum>> sums_;  ///< by block, then task
};

}  // namespace m3vit
