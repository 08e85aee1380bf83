#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace m3vit {

double learning_rate(const TrainConfig& config, std::int64_t step, std::int64_t steps_per_epoch) {
  const double total = static_cast<double>(config.epochs) * static_cast<double>(steps_per_epoch);
  const double warmup = std::round(config.warmup_epochs * static_cast<double>(steps_per_epoch));
  const auto at = static_cast<double>(step);
  double lr = config.lr;
  switch (config.schedule) {
    case Schedule::kPoly: {
      const std::int64_t whole_epochs = step / steps_per_epoch;
      const auto epoch = static_cast<double>(whole_epochs);
      lr *= std::pow(std::max(0.0, 1.0 - epoch / config.epochs), config.poly_power);
      break;
    }
    case Schedule::kCosine: {
      const double t = std::clamp((at - warmup) / std::max(1.0, total - 1 - warmup), 0.0, 1.0);
      lr = config.min_lr + (config.lr - config.min_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * t));
      break;
    }
    case Schedule::kConstant:
      break;
  }
  if (at < warmup) lr *= (at + 1.0) / warmup;
  return lr;
}

}  // namespace m3vit
