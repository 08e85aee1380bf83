#pragma once
/// Initial values that several modules share (docs/model.md, "Initialisation").
#include <torch/torch.h>

namespace m3vit {

/// N(0, 0.02²) cut at ±2 as in timm and the authors' code, from torch's global generator.
torch::Tensor trunc_normal(torch::IntArrayRef shape);
/// The same in place, bias zero: every linear layer.
void init_linear(torch::nn::Linear& linear);
/// LayerNorm over the last dimension with the backbone's eps 1e-6.
torch::nn::LayerNorm layer_norm(int64_t dim);

}  // namespace m3vit
