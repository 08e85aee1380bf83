#pragma once
/// A convolutional rival: one of the encoders of encoders.h and M³ViT's head a task.
#include <vector>

#include "model/baselines/encoders.h"
#include "model/head.h"
#include "model/network.h"

namespace m3vit {

/// Its prefix is the whole encoder, since all but MTAN's branches serve every task: [T or 1, B, C, H/8, W/8].
class RivalImpl final : public NetworkImpl {
 public:
  explicit RivalImpl(const Config& config);
  torch::Tensor prefix(const torch::Tensor& images) override;
  TaskOutput task_pass(const torch::Tensor& prefix, int task) override;
  void keep_routing(bool) override {}

 private:
  std::shared_ptr<MultiTaskEncoderImpl> backbone_;
  std::vector<UpHead> decoders_;
};

}  // namespace m3vit
