#pragma once
/// Learning rate as a function of the step alone, so that resuming needs no schedule state.
#include <cstdint>

#include "core/config.h"

namespace m3vit {

/// Rate for optimizer step `step` (from 0) of `epochs · steps_per_epoch`:
///   poly      lr·(1 − epoch/epochs)^poly_power, constant within an epoch, as the authors step it
///   cosine    from lr after the warm-up to `min_lr` at the last step, per step
///   constant  lr
/// times the linear warm-up (step + 1)/warmup steps while step < warmup_epochs · steps_per_epoch.
double learning_rate(const TrainConfig& config, std::int64_t step, std::int64_t steps_per_epoch);

}  // namespace m3vit
