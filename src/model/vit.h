#pragma once
/// The backbone: a pre-norm ViT whose MoE blocks take a task.
#include <torch/torch.h>

#include <vector>

#include "core/config.h"
#include "model/attention.h"
#include "model/moe.h"
#include "model/network.h"

namespace m3vit {

/// x += attn(norm1(x)); x += mlp(norm2(x)), the second with a dense or an MoE MLP.
class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(const ModelConfig& config, int index, int num_tasks);
  bool is_moe() const { return !moe_.is_empty(); }
  /// First half; x [B, N, D].
  torch::Tensor attend(const torch::Tensor& x);
  /// Second half of a dense block.
  torch::Tensor dense(const torch::Tensor& x);
  /// Second half of an MoE block; `routing` receives what the router decided.
  torch::Tensor sparse(const torch::Tensor& x, int task, const torch::Tensor& task_feature, Routing& routing);

 private:
  double drop_path_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  Attention attn_{nullptr};
  Mlp mlp_{nullptr};
  MoeMlp moe_{nullptr};
};
TORCH_MODULE(Block);

/// patch_size × patch_size convolution: [B, 3, H, W] → [B, H/p · W/p, D], row-major patches.
class PatchEmbedImpl : public torch::nn::Module {
 public:
  explicit PatchEmbedImpl(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& images);

 private:
  torch::nn::Conv2d proj_{nullptr};
};
TORCH_MODULE(PatchEmbed);

/// One-hot task → Linear, GELU, Linear, LayerNorm → [gate_task_dim] (gate task_conditioned).
class TaskRepresentationImpl : public torch::nn::Module {
 public:
  TaskRepresentationImpl(int64_t num_tasks, int64_t dim);
  torch::Tensor forward(int task);

 private:
  torch::nn::Linear fc1_{nullptr}, fc2_{nullptr};
  torch::nn::LayerNorm norm_{nullptr};
};
TORCH_MODULE(TaskRepresentation);

class VisionTransformerImpl : public torch::nn::Module {
 public:
  VisionTransformerImpl(const ModelConfig& config, int num_tasks);
  /// Everything before the first router: embedding, dense blocks, the first MoE block's attention. [B, tokens, D]
  torch::Tensor prefix(const torch::Tensor& images);
  /// The rest for one task → [B, tokens, D]; fills `output`'s balance loss and routing.
  torch::Tensor task_pass(const torch::Tensor& prefix, int task, bool keep_routing, TaskOutput& output);

 private:
  ModelConfig config_;
  PatchEmbed patch_embed_{nullptr};
  torch::Tensor cls_token_, pos_embed_;
  std::vector<Block> blocks_;
  TaskRepresentation task_represent_{nullptr};
};
TORCH_MODULE(VisionTransformer);

}  // namespace m3vit
