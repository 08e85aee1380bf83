#pragma once
/// Means over a window of steps, and the dynamic loss scale of half precision.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "train/step.h"
#include "train/world.h"

namespace m3vit {

/// Sums over the running epoch or log window; `mean` divides by its steps.
struct StepMeans {
  std::vector<double> tasks, weights;  ///< by task
  double loss = 0, balance = 0, grad_norm = 0;
  std::int64_t count = 0;

  double mean(double sum) const;  ///< NaN before the first step
};
nlohmann::json to_json(const StepMeans& means);
/// Throws nlohmann's exceptions.
StepMeans step_means_from_json(const nlohmann::json& json);

/// What a whole step says, of its micro-batches and of all ranks.
struct StepSum {
  std::vector<double> tasks, weights;
  double loss = 0, balance = 0;

  /// The first task whose loss is NaN or infinite, or −1.
  int first_bad_task() const;
  void add_to(StepMeans& means, double grad_norm) const;
};
/// Adds up `parts`, each times `share`, over the ranks; `flag` becomes true when it is on any rank.
StepSum sum_step(const std::vector<StepLosses>& parts, double share, World& world, bool& flag);

/// Halved when float16 gradients overflow, doubled after 2000 clean steps (as torch.cuda.amp.GradScaler). 1 and fixed
/// without AMP.
struct LossScale {
  bool on = false;
  double value = 1;
  std::int64_t clean = 0;

  void good() {
    if (on && ++clean % 2000 == 0) value *= 2;
  }
  void overflow() {
    value = std::max(1.0, value / 2);
    clean = 0;
  }
};

}  // namespace m3vit
