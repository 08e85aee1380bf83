#pragma once
/// The two dense parts of a pre-norm ViT block.
#include <torch/torch.h>

namespace m3vit {

/// Multi-head self-attention with fused `qkv`: x [B, N, D] → [B, N, D], scale head_dim^−½.
class AttentionImpl : public torch::nn::Module {
 public:
  AttentionImpl(int64_t embed_dim, int64_t num_heads);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  int64_t num_heads_;
  torch::nn::Linear qkv_{nullptr}, proj_{nullptr};
};
TORCH_MODULE(Attention);

/// fc2(gelu(fc1(x))) with the exact (erf) GELU; x [..., in] → [..., out].
class MlpImpl : public torch::nn::Module {
 public:
  MlpImpl(int64_t in, int64_t hidden, int64_t out);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  torch::nn::Linear fc1_{nullptr}, fc2_{nullptr};
};
TORCH_MODULE(Mlp);

/// Stochastic depth: in training each sample of `branch` [B, …] is zeroed with probability `rate` and the others are
/// divided by 1 − rate; draws from torch's global generator. Identity in eval mode or at rate 0.
torch::Tensor drop_path(const torch::Tensor& branch, double rate, bool training);

}  // namespace m3vit
