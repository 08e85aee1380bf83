#pragma once
/// Dilated ResNet-18 / -50, the encoder of the convolutional rivals (He et al. 2016; dilation as in Yu, Koltun,
/// Funkhouser 2017 and the survey's code: strides 4, 8, 8, 8). Tensor names are torchvision's, so that its weights
/// could be loaded.
#include <torch/torch.h>

#include <utility>
#include <vector>

#include "core/config.h"

namespace m3vit {

/// 3×3, 3×3 (depth 18) or 1×1, 3×3, 1×1 with four times the width (depth 50), and the identity or its 1×1 projection.
class ResidualBlockImpl : public torch::nn::Module {
 public:
  ResidualBlockImpl(const ResnetConfig& config, int64_t in, int64_t width, int64_t stride, int64_t dilation);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  std::vector<torch::nn::Conv2d> conv_;
  std::vector<torch::nn::BatchNorm2d> bn_;
  torch::nn::Sequential downsample_{nullptr};
};
TORCH_MODULE(ResidualBlock);

class ResnetImpl : public torch::nn::Module {
 public:
  explicit ResnetImpl(const ResnetConfig& config);
  torch::Tensor stem(const torch::Tensor& images);         ///< [B, 3, H, W] → [B, width, H/4, W/4]
  torch::Tensor stage(int stage, const torch::Tensor& x);  ///< 0 … 3; [B, C_s, H/8, W/8] from stage 1 on
  /// The stage's output, and before it what enters its last block (MTAN attends with the first to the second).
  std::pair<torch::Tensor, torch::Tensor> stage_in_two(int stage, const torch::Tensor& x);
  torch::Tensor forward(const torch::Tensor& images);

 private:
  torch::nn::Conv2d conv1_{nullptr};
  torch::nn::BatchNorm2d bn1_{nullptr};
  std::vector<std::vector<ResidualBlock>> layers_;
};
TORCH_MODULE(Resnet);

/// A convolution without bias, He-initialised by fan-out; padding keeps the size at stride 1.
torch::nn::Conv2d plain_conv(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t dilation = 1);

}  // namespace m3vit
