#pragma once
/// Task-affinity module (the authors' TamModule): features of all tasks are mixed and predict every task once more.
/// Training only; nothing of it is stored in a model file or run at inference.
#include <torch/torch.h>

#include <vector>

#include "core/config.h"

namespace m3vit {

class TamImpl : public torch::nn::Module {
 public:
  TamImpl(int64_t channels, const std::vector<TaskConfig>& tasks);
  /// features[t] [B, channels, h, w] of every task → one prediction a task [B, outputs, h, w].
  std::vector<torch::Tensor> forward(const std::vector<torch::Tensor>& features);

 private:
  torch::nn::Conv2d conv(const std::string& name, int64_t in, int64_t out, int64_t stride);
  torch::nn::BatchNorm2d norm(const std::string& name, int64_t channels);

  torch::nn::Conv2d conv0_{nullptr}, conv1_{nullptr}, conv2_{nullptr}, down0_{nullptr}, down1_{nullptr};
  torch::nn::BatchNorm2d conv0_bn_{nullptr}, conv1_bn_{nullptr}, conv2_bn_{nullptr}, down0_bn_{nullptr},
      down1_bn_{nullptr}, up0_bn_{nullptr}, up1_bn_{nullptr};
  torch::nn::ConvTranspose2d up0_{nullptr}, up1_{nullptr};
  std::vector<torch::nn::Conv2d> task_conv_, task_out_;
  std::vector<torch::nn::BatchNorm2d> task_bn_;
};
TORCH_MODULE(Tam);

}  // namespace m3vit
