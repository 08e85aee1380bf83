#pragma once
/// What a run decides before its first step.
#include <torch/torch.h>

#include "core/config.h"
#include "train/trainer.h"
#include "train/world.h"

namespace m3vit {

/// train.device, or the best there is. Throws Error for one that is not there.
torch::Device choose_device(const std::string& wanted);

/// Who trains with this process. Throws Error for a recipe that cannot be shared out among several.
Rank training_rank(const Config& config);

/// train.threads; with several processes on this machine and no such key, each one's share of the cores. 0: all.
int training_threads(const Config& config);

/// The network's part of it.
RunInfo run_info(const Config& config);

}  // namespace m3vit
