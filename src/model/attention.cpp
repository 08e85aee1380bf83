#include "model/attention.h"

#include <cmath>

#include "model/init.h"

namespace m3vit {

torch::Tensor trunc_normal(torch::IntArrayRef shape) {
  // The cut lies at 100 standard deviations, so that clamping equals redrawing.
  return torch::empty(shape).normal_(0.0, 0.02).clamp_(-2.0, 2.0);
}

void init_linear(torch::nn::Linear& linear) {
  const torch::NoGradGuard no_grad;
  linear->weight.copy_(trunc_normal(linear->weight.sizes()));
  if (linear->bias.defined()) linear->bias.zero_();
}

torch::nn::LayerNorm layer_norm(int64_t dim) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({dim}).eps(1e-6));
}

AttentionImpl::AttentionImpl(int64_t embed_dim, int64_t num_heads) : num_heads_(num_heads) {
  TORCH_CHECK(embed_dim % num_heads == 0, "Attention: want num_heads dividing embed_dim ", embed_dim, ", got ",
              num_heads);
  qkv_ = register_module("qkv", torch::nn::Linear(embed_dim, 3 * embed_dim));
  proj_ = register_module("proj", torch::nn::Linear(embed_dim, embed_dim));
  init_linear(qkv_);
  init_linear(proj_);
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& x) {
  TORCH_CHECK(x.dim() == 3, "Attention: want [batch, tokens, embed_dim], got ", x.sizes());
  const int64_t batch = x.size(0), tokens = x.size(1), dim = x.size(2), head_dim = dim / num_heads_;
  const torch::Tensor qkv = qkv_(x).view({batch, tokens, 3, num_heads_, head_dim}).permute({2, 0, 3, 1, 4});
  // Scaling q instead of the scores touches head_dim instead of `tokens` values a row.
  const torch::Tensor q = qkv.select(0, 0) * (1.0 / std::sqrt(static_cast<double>(head_dim)));
  const torch::Tensor scores = torch::matmul(q, qkv.select(0, 1).transpose(-2, -1));
  const torch::Tensor mixed = torch::matmul(scores.softmax(-1), qkv.select(0, 2));
  return proj_(mixed.transpose(1, 2).reshape({batch, tokens, dim}));
}

MlpImpl::MlpImpl(int64_t in, int64_t hidden, int64_t out) {
  fc1_ = register_module("fc1", torch::nn::Linear(in, hidden));
  fc2_ = register_module("fc2", torch::nn::Linear(hidden, out));
  init_linear(fc1_);
  init_linear(fc2_);
}

torch::Tensor MlpImpl::forward(const torch::Tensor& x) { return fc2_(torch::gelu(fc1_(x))); }

torch::Tensor drop_path(const torch::Tensor& branch, double rate, bool training) {
  if (!training || rate <= 0.0) return branch;
  const double keep = 1.0 - rate;
  std::vector<int64_t> shape(static_cast<std::size_t>(branch.dim()), 1);
  shape[0] = branch.size(0);
  return branch * torch::rand(shape, branch.options().requires_grad(false)).lt(keep).to(branch.dtype()).div(keep);
}

}  // namespace m3vit
