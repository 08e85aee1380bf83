#pragma once
/// M³ViT: the MoE backbone with one head a task.
#include <vector>

#include "model/head.h"
#include "model/network.h"
#include "model/tam.h"
#include "model/vit.h"

namespace m3vit {

/// Registered names are the published ones: "backbone.…", "decoders.{task}.…"; the training-only "tam.{level}.…".
class M3vitImpl final : public NetworkImpl {
 public:
  explicit M3vitImpl(const Config& config);
  torch::Tensor prefix(const torch::Tensor& images) override;
  TaskOutput task_pass(const torch::Tensor& prefix, int task) override;
  std::vector<std::vector<torch::Tensor>> auxiliary(const std::vector<TaskOutput>& outputs) override;
  void keep_routing(bool keep) override { keep_routing_ = keep; }

 private:
  ModelConfig config_;
  bool keep_routing_ = false;
  VisionTransformer backbone_{nullptr};
  std::vector<UpHead> decoders_;
  std::vector<Tam> tams_;
};

}  // namespace m3vit
