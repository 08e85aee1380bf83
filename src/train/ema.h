#pragma once
/// Exponential moving average of a network's weights: what is evaluated and exported when `train.ema` > 0.
#include <torch/torch.h>

#include <map>
#include <string>

namespace m3vit {

class Ema {
 public:
  /// Starts at the network's weights. `decay` in (0, 1).
  Ema(const torch::nn::Module& network, double decay);

  /// average ← d·average + (1 − d)·weight with d = min(decay, (1 + step)/(10 + step)), so that a short run's average is
  /// not its initialisation. BN statistics are running averages already and are left to the network. `step` from 0.
  void update(const torch::nn::Module& network, std::int64_t step);

  /// Exchanges the averages with the network's weights; a second call undoes it.
  void swap(torch::nn::Module& network);

  const std::map<std::string, torch::Tensor>& averages() const { return averages_; }
  /// Throws Error naming `where` when a parameter is missing or misshapen.
  void load(const std::map<std::string, torch::Tensor>& averages, const std::string& where);

 private:
  double decay_;
  std::map<std::string, torch::Tensor> averages_;  ///< by parameter name
};

/// Swaps for a scope; a null average does nothing.
class EmaScope {
 public:
  EmaScope(Ema* ema, torch::nn::Module& network) : ema_(ema), network_(network) {
    if (ema_ != nullptr) ema_->swap(network_);
  }
  ~EmaScope() {
    if (ema_ != nullptr) ema_->swap(network_);
  }
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  Ema* ema_;
  torch::nn::Module& network_;
};

}  // namespace m3vit
