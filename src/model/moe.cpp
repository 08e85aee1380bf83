#include "model/moe.h"

#include <ATen/autocast_mode.h>

#include "model/init.h"

namespace m3vit {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// The (token, slot) pairs in expert order. Pair p = token·k + slot.
struct Groups {
  Tensor token;                 ///< [pairs] token of each sorted row
  Tensor pair;                  ///< [pairs] pair of each sorted row
  Tensor row;                   ///< [tokens, k] sorted row of each pair
  std::vector<int64_t> counts;  ///< rows of expert 0 … E−1, then of skipped pairs
};

Groups group_by_expert(const Tensor& indices, int64_t num_experts) {
  const int64_t k = indices.size(1);
  const Tensor flat = indices.reshape({-1});
  Groups g;
  g.pair = std::get<1>(flat.sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
  g.token = torch::div(g.pair, k, "floor");
  g.row = torch::empty_like(g.pair).scatter_(0, g.pair, torch::arange(g.pair.numel(), g.pair.options()));
  g.row = g.row.view({-1, k});
  // The only synchronisation with an accelerator: group sizes decide the shapes of the products below.
  const Tensor counts = flat.bincount(/*weights=*/{}, /*minlength=*/num_experts + 1).to(torch::kCPU);
  g.counts.assign(counts.data_ptr<int64_t>(), counts.data_ptr<int64_t>() + counts.numel());
  return g;
}

/// x [tokens, D] → rows in expert order [pairs, D]. Its own backward because autograd's for index_select is an
/// index_add, which is serial on CPU and unordered on CUDA; the inverse permutation turns it into k plain gathers.
struct GatherTokens : torch::autograd::Function<GatherTokens> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& token, const Tensor& row) {
    ctx->save_for_backward({row});
    return x.index_select(0, token);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const Tensor row = ctx->get_saved_variables()[0];
    Tensor dx = grads[0].index_select(0, row.select(1, 0));
    for (int64_t j = 1; j < row.size(1); ++j) dx += grads[0].index_select(0, row.select(1, j));
    return {dx, Variable(), Variable()};
  }
};

/// rows [pairs, D] in expert order, weights [tokens, k] → y_t = Σ_j weights[t,j] · rows[row[t,j]].
struct CombineRows : torch::autograd::Function<CombineRows> {
  static Tensor forward(AutogradContext* ctx, const Tensor& rows, const Tensor& weights, const Groups& g) {
    ctx->save_for_backward({rows, weights, g.token, g.pair, g.row});
    Tensor y = torch::zeros({weights.size(0), rows.size(1)},
                            rows.options().dtype(torch::promote_types(rows.scalar_type(), weights.scalar_type())));
    for (int64_t j = 0; j < weights.size(1); ++j) {
      y.addcmul_(rows.index_select(0, g.row.select(1, j)).to(y.scalar_type()),
                 weights.narrow(1, j, 1).to(y.scalar_type()));
    }
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &rows = saved[0], &weights = saved[1], &token = saved[2], &pair = saved[3], &row = saved[4];
    const Tensor& dy = grads[0];
    const Tensor d_rows = dy.index_select(0, token) * weights.reshape({-1, 1}).index_select(0, pair).to(dy.dtype());
    std::vector<Tensor> d_weights;
    for (int64_t j = 0; j < weights.size(1); ++j) {
      d_weights.push_back((rows.index_select(0, row.select(1, j)).to(dy.scalar_type()) * dy).sum(1, true));
    }
    return {d_rows.to(rows.dtype()), torch::cat(d_weights, 1).to(weights.dtype()), Variable()};
  }
};

}  // namespace

ExpertLinearImpl::ExpertLinearImpl(int64_t num_experts, int64_t in, int64_t out) {
  weight = register_parameter("weight", trunc_normal({num_experts, out, in}));
  bias = register_parameter("bias", torch::zeros({num_experts, out}));
}

ExpertsImpl::ExpertsImpl(int64_t num_experts, int64_t embed_dim, int64_t hidden) : num_experts_(num_experts) {
  htoh4_ = register_module("htoh4", ExpertLinear(num_experts, /*in=*/embed_dim, /*out=*/hidden));
  h4toh_ = register_module("h4toh", ExpertLinear(num_experts, /*in=*/hidden, /*out=*/embed_dim));
}

Tensor ExpertsImpl::forward(const Tensor& x, const Tensor& indices, const Tensor& weights) {
  TORCH_CHECK(x.dim() == 2 && indices.dim() == 2 && indices.sizes() == weights.sizes() && indices.size(0) == x.size(0),
              "Experts: want x [tokens, D], indices and weights [tokens, k], got ", x.sizes(), indices.sizes(),
              weights.sizes());
  const Groups g = group_by_expert(indices, num_experts_);
  const std::vector<Tensor> groups = GatherTokens::apply(x, g.token, g.row).split_with_sizes(g.counts);
  // unbind, not select: its backward is one stack, while that of select fills a whole [E, out, in] an expert.
  const std::vector<Tensor> w1 = htoh4_->weight.unbind(), b1 = htoh4_->bias.unbind();
  const std::vector<Tensor> w2 = h4toh_->weight.unbind(), b2 = h4toh_->bias.unbind();
  std::vector<Tensor> outputs;
  for (std::size_t e = 0; e < static_cast<std::size_t>(num_experts_); ++e) {
    if (g.counts[e] == 0) continue;
    outputs.push_back(torch::linear(torch::gelu(torch::linear(groups[e], w1[e], b1[e])), w2[e], b2[e]));
  }
  if (g.counts.back() > 0) outputs.push_back(torch::zeros_like(groups.back()));
  return CombineRows::apply(torch::cat(outputs, 0), weights, g);
}

RouterImpl::RouterImpl(int64_t in, int64_t width) { w_gate = register_parameter("w_gate", trunc_normal({in, width})); }

int64_t router_width(const MoeConfig& moe) { return moe.experts_per_task > 0 ? moe.experts_per_task : moe.num_experts; }

MoeMlpImpl::MoeMlpImpl(const ModelConfig& config, int num_tasks)
    : config_(*config.moe), width_(router_width(*config.moe)) {
  TORCH_CHECK(config_.top_k >= 1 && config_.top_k <= width_, "MoeMlp: want top_k 1 … ", width_, ", got ",
              config_.top_k);
  experts_ = register_module("experts", Experts(config_.num_experts, config.embed_dim, config.expert_hidden()));
  if (config_.gate == Gate::kMulti) {
    torch::nn::ModuleList list;
    for (int t = 0; t < num_tasks; ++t) {
      routers_.emplace_back(config.embed_dim, width_);
      list->push_back(routers_.back());
    }
    register_module("gate", list);
  } else {
    const int extra = config_.gate == Gate::kTaskConditioned ? config_.gate_task_dim : 0;
    routers_.emplace_back(config.embed_dim + extra, width_);
    register_module("gate", routers_.back());
  }
}

Tensor MoeMlpImpl::logits(const Tensor& tokens, int task, const Tensor& task_feature) const {
  // Routing stays in f32 under autocast: half-precision logits would route differently from inference.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto wide = [](const Tensor& t) { return t.scalar_type() == torch::kDouble ? t : t.to(torch::kFloat); };
  const std::size_t router = config_.gate == Gate::kMulti ? static_cast<std::size_t>(task) : 0;
  const Tensor& w = routers_[router]->w_gate;
  if (config_.gate != Gate::kTaskConditioned) return wide(tokens).matmul(w);
  // [x, f]·W = x·W_x + f·W_f: the same product without copying every token beside the feature.
  const int64_t dim = tokens.size(1);
  const Tensor shift = wide(task_feature).unsqueeze(0).matmul(w.narrow(0, dim, w.size(0) - dim));
  return wide(tokens).matmul(w.narrow(0, 0, dim)) + shift;
}

MoeOutput MoeMlpImpl::forward(const Tensor& x, int task, const Tensor& task_feature) {
  TORCH_CHECK(x.dim() == 3, "MoeMlp: want [batch, tokens, embed_dim], got ", x.sizes());
  const Tensor tokens = x.reshape({-1, x.size(2)});
  MoeOutput out;
  Routing& r = out.routing;
  r = route(logits(tokens, task, task_feature), config_.top_k, is_training() ? config_.noise_std : 0.0);
  if (width_ != config_.num_experts) {
    const int64_t first = task * width_;
    r.indices = r.indices + first;
    for (Tensor* stat : {&r.load, &r.importance}) {
      const Tensor window = *stat;
      *stat = torch::zeros({config_.num_experts}, window.options());
      stat->narrow(0, first, width_).copy_(window);
    }
  }
  Tensor sent = r.indices;
  if (!is_training() && config_.prune_below > 0.0) {
    const Tensor dropped = r.weights < config_.prune_below;
    sent = r.indices.masked_fill(dropped, config_.num_experts);
    r.weights = r.weights.masked_fill(dropped, 0.0);
    const Tensor kept = sent.reshape({-1});
    r.load = kept.bincount({}, config_.num_experts + 1).narrow(0, 0, config_.num_experts).to(torch::kFloat);
    r.importance = kept.bincount(r.weights.detach().reshape({-1}), config_.num_experts + 1)
                       .narrow(0, 0, config_.num_experts)
                       .to(torch::kFloat);
  }
  out.y = experts_->forward(tokens, sent, r.weights).view(x.sizes());
  return out;
}

}  // namespace m3vit
