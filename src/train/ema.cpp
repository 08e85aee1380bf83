#include "train/ema.h"

#include <algorithm>

#include "core/error.h"

namespace m3vit {

Ema::Ema(const torch::nn::Module& network, double decay) : decay_(decay) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : network.named_parameters()) averages_[item.key()] = item.value().detach().clone();
}

void Ema::update(const torch::nn::Module& network, std::int64_t step) {
  const torch::NoGradGuard no_grad;
  const double s = static_cast<double>(step);
  const double d = std::min(decay_, (1.0 + s) / (10.0 + s));
  for (const auto& item : network.named_parameters()) averages_.at(item.key()).lerp_(item.value(), 1.0 - d);
}

void Ema::swap(torch::nn::Module& network) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : network.named_parameters()) {
    torch::Tensor& average = averages_.at(item.key());
    const torch::Tensor weight = item.value().detach().clone();
    item.value().detach().copy_(average);
    average.copy_(weight);
  }
}

void Ema::load(const std::map<std::string, torch::Tensor>& averages, const std::string& where) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, average] : averages_) {
    const auto found = averages.find(name);
    if (found == averages.end() || found->second.sizes() != average.sizes()) {
      throw Error{{.where = where,
                   .field = "ema/" + name,
                   .wanted = "a tensor of the parameter's shape",
                   .found = found == averages.end() ? "none" : "another shape"}};
    }
    average.copy_(found->second);
  }
}

}  // namespace m3vit
