#include "model/baselines/resnet.h"

#include <array>
#include <string>

namespace m3vit {

namespace nn = torch::nn;
using torch::Tensor;

nn::Conv2d plain_conv(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation) {
  nn::Conv2d conv(nn::Conv2dOptions(in, out, kernel)
                      .stride(stride)
                      .dilation(dilation)
                      .padding(dilation * (kernel - 1) / 2)
                      .bias(false));
  nn::init::kaiming_normal_(conv->weight, 0.0, torch::kFanOut, torch::kReLU);
  return conv;
}

ResidualBlockImpl::ResidualBlockImpl(const ResnetConfig& config, int64_t in, int64_t width, int64_t stride,
                                     int64_t dilation) {
  const bool bottleneck = config.depth == 50;
  const int64_t out = width * config.expansion();
  if (bottleneck) {
    conv_ = {plain_conv(in, width, 1), plain_conv(width, width, 3, stride, dilation), plain_conv(width, out, 1)};
    bn_ = {nn::BatchNorm2d(width), nn::BatchNorm2d(width), nn::BatchNorm2d(out)};
  } else {
    conv_ = {plain_conv(in, width, 3, stride, dilation), plain_conv(width, width, 3, 1, dilation)};
    bn_ = {nn::BatchNorm2d(width), nn::BatchNorm2d(width)};
  }
  for (std::size_t i = 0; i < conv_.size(); ++i) {
    register_module("conv" + std::to_string(i + 1), conv_[i]);
    register_module("bn" + std::to_string(i + 1), bn_[i]);
  }
  if (stride != 1 || in != out) {
    downsample_ = register_module("downsample", nn::Sequential(plain_conv(in, out, 1, stride), nn::BatchNorm2d(out)));
  }
}

Tensor ResidualBlockImpl::forward(const Tensor& x) {
  Tensor y = x;
  for (std::size_t i = 0; i < conv_.size(); ++i) {
    y = bn_[i](conv_[i](y));
    if (i + 1 < conv_.size()) y = y.relu_();
  }
  return (y + (downsample_.is_empty() ? x : downsample_->forward(x))).relu_();
}

ResnetImpl::ResnetImpl(const ResnetConfig& config) {
  conv1_ = register_module("conv1", plain_conv(3, config.width, 7, 2));
  bn1_ = register_module("bn1", nn::BatchNorm2d(config.width));
  int64_t in = config.width;
  for (int s = 0; s < kResnetStages; ++s) {
    nn::ModuleList list;
    layers_.emplace_back();
    for (int b = 0; b < config.blocks(s); ++b) {
      // Stage 2 halves the size; stages 3 and 4 look twice and four times as far instead (output stride 8).
      const int64_t stride = s == 1 && b == 0 ? 2 : 1;
      const int64_t dilation = s < 2 ? 1 : (s == 2 ? 2 : 4);
      layers_.back().emplace_back(config, in, config.stage_width(s), stride, dilation);
      list->push_back(layers_.back().back());
      in = config.stage_channels(s);
    }
    register_module("layer" + std::to_string(s + 1), list);
  }
}

Tensor ResnetImpl::stem(const Tensor& images) {
  return torch::max_pool2d(bn1_(conv1_(images)).relu_(), /*kernel_size=*/3, /*stride=*/2, /*padding=*/1);
}

std::pair<Tensor, Tensor> ResnetImpl::stage_in_two(int stage, const Tensor& x) {
  std::vector<ResidualBlock>& blocks = layers_[static_cast<std::size_t>(stage)];
  Tensor y = x;
  for (std::size_t b = 0; b + 1 < blocks.size(); ++b) y = blocks[b](y);
  return {blocks.back()(y), y};
}

Tensor ResnetImpl::stage(int stage, const Tensor& x) { return stage_in_two(stage, x).first; }

Tensor ResnetImpl::forward(const Tensor& images) {
  Tensor x = stem(images);
  for (int s = 0; s < kResnetStages; ++s) x = stage(s, x);
  return x;
}

}  // namespace m3vit
