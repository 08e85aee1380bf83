#include "model/head.h"

#include <string>

#include "model/init.h"

namespace m3vit {

torch::Tensor resize_bilinear(const torch::Tensor& x, int64_t height, int64_t width) {
  if (x.size(2) == height && x.size(3) == width) return x;
  return torch::nn::functional::interpolate(x, torch::nn::functional::InterpolateFuncOptions()
                                                   .size(std::vector<int64_t>{height, width})
                                                   .mode(torch::kBilinear)
                                                   .align_corners(false));
}

UpHeadImpl::UpHeadImpl(const ModelConfig& config, int64_t outputs) : config_(config) {
  const int64_t channels = config.head.channels;
  norm_ = register_module("norm", layer_norm(config.feature_dim()));
  for (int s = 0; s <= config.head.stages; ++s) {
    const bool last = s == config.head.stages;
    const int64_t in = s == 0 ? config.feature_dim() : channels;
    const auto options = torch::nn::Conv2dOptions(in, last ? outputs : channels, last ? 1 : 3).padding(last ? 0 : 1);
    conv_.push_back(register_module("conv_" + std::to_string(s), torch::nn::Conv2d(options)));
    if (!last) bn_.push_back(register_module("syncbn_fc_" + std::to_string(s), torch::nn::BatchNorm2d(channels)));
  }
}

HeadOutput UpHeadImpl::forward(const torch::Tensor& tokens) {
  return decode_rows(tokens.narrow(1, 1, tokens.size(1) - 1));
}

HeadOutput UpHeadImpl::decode(const torch::Tensor& map) { return decode_rows(map.flatten(2).transpose(1, 2)); }

HeadOutput UpHeadImpl::decode_rows(const torch::Tensor& rows) {
  HeadOutput out;
  torch::Tensor x = norm_(rows);
  x = x.transpose(1, 2).reshape({x.size(0), x.size(2), config_.grid_h(), config_.grid_w()});
  for (std::size_t s = 0; s < bn_.size(); ++s) {
    x = bn_[s](conv_[s](x)).relu_();
    if (s == 1 || s == 2) out.features.push_back(x);
    if (s + 1 < bn_.size()) x = resize_bilinear(x, 2 * x.size(2), 2 * x.size(3));
  }
  x = conv_.back()(x);
  x = resize_bilinear(x, 2 * x.size(2), 2 * x.size(3));
  out.raw = resize_bilinear(x, config_.height(), config_.width());
  return out;
}

std::vector<UpHead> make_decoders(torch::nn::Module& network, const Config& config) {
  const auto list = network.register_module("decoders", std::make_shared<torch::nn::ModuleDictImpl>());
  std::vector<UpHead> decoders;
  for (const TaskConfig& task : config.tasks) {
    decoders.emplace_back(config.model, task.outputs);
    list->update({{task.name, decoders.back().ptr()}});
  }
  return decoders;
}

}  // namespace m3vit
