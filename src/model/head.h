#pragma once
/// The progressive up-sampling head, one a task (the authors' VisionTransformerUpHead).
#include <torch/torch.h>

#include <vector>

#include "core/config.h"

namespace m3vit {

struct HeadOutput {
  torch::Tensor raw;                    ///< [B, outputs, H, W] at image size
  std::vector<torch::Tensor> features;  ///< after stages 1 and 2 where the head has them, [B, channels, h, w]
};

/// Drop CLS → LayerNorm → grid → `stages` × (conv 3×3, BN, ReLU) with ×2 between → conv 1×1 → ×2 → image size.
/// Every resampling is bilinear with align_corners false.
class UpHeadImpl : public torch::nn::Module {
 public:
  UpHeadImpl(const ModelConfig& config, int64_t outputs);
  HeadOutput forward(const torch::Tensor& tokens);  ///< [B, 1 + grid_h·grid_w, D]
  HeadOutput decode(const torch::Tensor& map);      ///< [B, D, grid_h, grid_w], of an encoder without CLS

 private:
  HeadOutput decode_rows(const torch::Tensor& rows);  ///< [B, grid_h·grid_w, D]

  ModelConfig config_;
  torch::nn::LayerNorm norm_{nullptr};
  std::vector<torch::nn::Conv2d> conv_;
  std::vector<torch::nn::BatchNorm2d> bn_;
};
TORCH_MODULE(UpHead);

/// One head a task, registered in `network` as "decoders.{task}".
std::vector<UpHead> make_decoders(torch::nn::Module& network, const Config& config);

/// Bilinear, align_corners false; returns `x` itself when it already has that size.
torch::Tensor resize_bilinear(const torch::Tensor& x, int64_t height, int64_t width);

}  // namespace m3vit
