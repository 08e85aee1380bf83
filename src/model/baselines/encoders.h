#pragma once
/// The encoder-focused rivals: how several tasks share a ResNet. Each gives every task its own final feature map.
#include <torch/torch.h>

#include <memory>
#include <vector>

#include "core/config.h"
#include "model/baselines/resnet.h"

namespace m3vit {

class MultiTaskEncoderImpl : public torch::nn::Module {
 public:
  /// images [B, 3, H, W] → [T or 1, B, C, H/8, W/8]; 1 where all tasks share one map.
  virtual torch::Tensor forward(const torch::Tensor& images) = 0;
};

/// One ResNet for all tasks (hard parameter sharing, "MTL-B"; with one task: the single-task network).
class SharedEncoderImpl final : public MultiTaskEncoderImpl {
 public:
  explicit SharedEncoderImpl(const ResnetConfig& config);
  torch::Tensor forward(const torch::Tensor& images) override;

 private:
  Resnet resnet_{nullptr};
};

/// A ResNet a task, mixed after each stage: channel-wise linear combinations (Misra et al. 2016, Cross-Stitch) or a 1×1
/// convolution of all tasks' maps with BN and ReLU (Gao et al. 2019, NDDR-CNN).
class MixedEncodersImpl final : public MultiTaskEncoderImpl {
 public:
  MixedEncodersImpl(const ResnetConfig& config, int num_tasks);
  torch::Tensor forward(const torch::Tensor& images) override;

 private:
  std::vector<torch::Tensor> cross_stitch(int stage, const std::vector<torch::Tensor>& maps);
  std::vector<torch::Tensor> nddr(int stage, const std::vector<torch::Tensor>& maps);

  bool nddr_;
  std::vector<Resnet> encoders_;
  std::vector<torch::Tensor> alpha_;                       ///< [T, T, C] a stage
  std::vector<std::vector<torch::nn::Conv2d>> fuse_;       ///< [stage][task]
  std::vector<std::vector<torch::nn::BatchNorm2d>> norm_;  ///< [stage][task]
};

/// One ResNet and a soft-attention branch a task, stage by stage (Liu, Johns, Davison 2019, MTAN).
class AttendedEncoderImpl final : public MultiTaskEncoderImpl {
 public:
  AttendedEncoderImpl(const ResnetConfig& config, int num_tasks);
  torch::Tensor forward(const torch::Tensor& images) override;

 private:
  Resnet resnet_{nullptr};
  std::vector<std::vector<torch::nn::Sequential>>
      attend_;  ///< [stage][task]: a mask from the map and the branch so far
  std::vector<std::vector<torch::nn::Sequential>> refine_;  ///< [stage 0 … 2][task]: the branch, for the next stage
};

std::shared_ptr<MultiTaskEncoderImpl> make_encoder(const ResnetConfig& config, int num_tasks);

}  // namespace m3vit
