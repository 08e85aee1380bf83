#pragma once
/// The mixture-of-experts MLP: routers, dropless experts.
#include <torch/torch.h>

#include <vector>

#include "core/config.h"
#include "model/routing.h"

namespace m3vit {

/// One linear layer an expert, stored together: weight [E, out, in], bias [E, out].
class ExpertLinearImpl : public torch::nn::Module {
 public:
  ExpertLinearImpl(int64_t num_experts, int64_t in, int64_t out);
  torch::Tensor weight, bias;
};
TORCH_MODULE(ExpertLinear);

/// All experts of a layer, y_t = Σ_k weights[t,k] · h4toh(gelu(htoh4(x_t))) with the expert indices[t,k].
/// No token is dropped: tokens are sorted into one contiguous group an expert, each group is one pair of matrix
/// products, an expert without tokens costs nothing. Non-goal: capacity limits, which would make a token's result
/// depend on the rest of the batch.
class ExpertsImpl : public torch::nn::Module {
 public:
  ExpertsImpl(int64_t num_experts, int64_t embed_dim, int64_t hidden);
  /// x [tokens, D], indices [tokens, k] int64 in 0 … E−1 (E itself: skip this pair), weights [tokens, k] → [tokens, D].
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& indices, const torch::Tensor& weights);

 private:
  int64_t num_experts_;
  ExpertLinear htoh4_{nullptr}, h4toh_{nullptr};
};
TORCH_MODULE(Experts);

/// A router's only parameter, w_gate [in, width], no bias.
class RouterImpl : public torch::nn::Module {
 public:
  RouterImpl(int64_t in, int64_t width);
  torch::Tensor w_gate;
};
TORCH_MODULE(Router);

struct MoeOutput {
  torch::Tensor y;  ///< [B, N, D]
  Routing routing;  ///< indices, load and importance over all num_experts (a task's window already shifted)
};

/// What replaces a block's MLP. Named "experts.…" and "gate.{t}.w_gate" (one router a task) or "gate.w_gate".
class MoeMlpImpl : public torch::nn::Module {
 public:
  MoeMlpImpl(const ModelConfig& config, int num_tasks);
  /// x [B, N, D] = norm2(…); `task_feature` [gate_task_dim] for gate task_conditioned, else undefined.
  MoeOutput forward(const torch::Tensor& x, int task, const torch::Tensor& task_feature);

 private:
  torch::Tensor logits(const torch::Tensor& tokens, int task, const torch::Tensor& task_feature) const;

  MoeConfig config_;
  int64_t width_;  ///< experts one router sees
  Experts experts_{nullptr};
  std::vector<Router> routers_;
};
TORCH_MODULE(MoeMlp);

/// Experts one router chooses among: num_experts, or experts_per_task when that is set.
int64_t router_width(const MoeConfig& moe);

}  // namespace m3vit
