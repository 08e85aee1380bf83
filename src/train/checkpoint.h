#pragma once
/// The training state `last.optim`: everything a run needs to go on bit for bit, in one file.
///
/// `last.safetensors` beside it is for use (EMA weights when there are any) and is never read to resume, so the two
/// files need no common commit: the state is renamed into place first, `last.safetensors` second, and a resume that
/// finds the second one older rewrites it. A kill at any moment leaves one whole state, the new or the one before.
/// Container: safetensors (docs/formats.md) with tensors "param/…", "buffer/…", "ema/…", "optim/…".
#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/config.h"
#include "train/ema.h"

namespace m3vit {

/// `ema` may be null. `progress`: the trainer's counters. Atomic.
void save_train_state(const std::filesystem::path& path, const torch::nn::Module& network,
                      const torch::optim::Optimizer& optimizer, const Ema* ema, const Config& config,
                      const nlohmann::json& progress);

struct TrainState {
  std::string where;
  nlohmann::json config;  ///< as it was saved
  nlohmann::json progress;
  std::map<std::string, torch::Tensor> tensors;  ///< CPU copies by full name
};

/// Throws Error (missing, damaged, not a training state, a newer version).
TrainState load_train_state(const std::filesystem::path& path);

/// Copies the state into objects built from the same config; throws Error naming the first tensor that does not fit.
void restore(const TrainState& state, torch::nn::Module& network, torch::optim::Optimizer& optimizer, Ema* ema);

/// Compares two resolved configs key by key. Throws Error naming the first key that would change what is trained;
/// returns a warning for each harmless difference that still breaks bit-exactness or the schedule (train.epochs,
/// train.threads, train.device). Logging, evaluation and loader-thread keys may differ silently.
std::vector<std::string> check_resumable(const nlohmann::json& saved, const nlohmann::json& now,
                                         const std::string& where);

}  // namespace m3vit
