#pragma once
/// Who goes where: from router logits to chosen experts, their weights and the balance loss (docs/model.md, "MoE").
#include <torch/torch.h>

namespace m3vit {

/// One layer's routing of `tokens` = B·N tokens over `width` experts (all of them, or one task's window).
struct Routing {
  torch::Tensor indices;       ///< [tokens, top_k] int64, 0 … width−1, by falling weight
  torch::Tensor weights;       ///< [tokens, top_k]: softmax over all `width`, not renormalised; differentiable
  torch::Tensor balance_loss;  ///< scalar cv²(importance) + cv²(load); differentiable
  torch::Tensor load;          ///< [width] f32: tokens that chose each expert; detached
  torch::Tensor importance;    ///< [width] f32: summed weights of those tokens; detached
  torch::Tensor entropy;       ///< scalar f32: mean over tokens of −Σ p log p in nats; detached
};

/// The `k` largest of every row of `values` [rows, n], largest first, as int64 [rows, k]; equal values in rising column
/// order (torch::topk promises no order among ties). Not differentiable.
torch::Tensor top_k_first(const torch::Tensor& values, int64_t k);

/// cv² = unbiased variance / (mean² + 1e-10) of a vector; 0 for a single value.
torch::Tensor cv_squared(const torch::Tensor& x);

/// Routes by `clean` logits [tokens, width]. `noise_std` > 0 adds N(0, (noise_std/width)²) from torch's global
/// generator and makes the load the smooth probability of being in the top_k (Shazeer et al. 2017, eq. 9–10, on logits:
/// the authors' code compares logits with probabilities there, which we do not copy).
Routing route(const torch::Tensor& clean, int64_t top_k, double noise_std);

}  // namespace m3vit
