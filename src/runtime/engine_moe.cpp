// The MoE layer of the engine: router, queues, and three ways to walk the experts (MoeSchedule). All add the experts
// of a token in ascending expert order onto the residual stream, so that they agree bit for bit.
#include <algorithm>
#include <limits>

#include "runtime/engine.h"

namespace m3vit {
namespace {

constexpr std::size_t kRouterRows = 64;  // tokens of one work item

}  // namespace

void Engine::moe(std::size_t block, int task) {
  {
    const Timed timed(timer(&PhaseTimes::router));
    {
      const WeightStore::Held w = store_.hold(sections_.blocks[block].mlp);
      layer_norm(at<float>(plan_.x), tokens_, w["norm_weight"], w["norm_bias"], at<float>(plan_.blocks[block].mlp_in));
    }
    route(block, task);
  }
  if (!routing_.empty()) keep_routing(block);
  const Timed timed(timer(&PhaseTimes::experts));
  switch (schedule_) {
    case MoeSchedule::kExpertOrder:
      experts_in_order(block, task);
      break;
    case MoeSchedule::kTokenOrder:
      tokens_in_order(block);
      break;
    case MoeSchedule::kDense:
      experts_dense(block, task);
      break;
  }
}

void Engine::route(std::size_t block, int task) {
  const WeightStore::Held w = store_.hold(sections_.blocks[block].router[static_cast<std::size_t>(task)]);
  const FramePlan::Block& plan = plan_.blocks[block];
  const ExpertWindow window = expert_window(config_, task);
  const auto experts = static_cast<std::size_t>(window.count);
  const auto k = static_cast<std::size_t>(model_.moe->top_k);
  float* logits = at<float>(plan.logits);
  const std::size_t stride = row_stride(experts);

  Gemm g;
  g.m = tokens_;
  g.n = experts;
  g.a.base = at<float>(plan.mlp_in);
  g.a.stride = stride_ * sizeof(float);
  g.a.segment_k = dim_;
  g.b.panels = w["gate"];
  g.out.bias = w["gate_bias"];
  g.out.c = logits;
  g.out.stride = stride * sizeof(float);
  gemm(g);

  auto* chosen = at<std::int32_t>(plan.chosen);
  float* weights = at<float>(plan.weights);
  const auto prune = static_cast<float>(model_.moe->prune_below);
  team_.run((tokens_ + kRouterRows - 1) / kRouterRows, [&](std::size_t item, std::size_t) {
    const std::size_t end = std::min((item + 1) * kRouterRows, tokens_);
    for (std::size_t t = item * kRouterRows; t < end; ++t) {
      float* p = logits + t * stride;
      kernels_.softmax(p, experts);
      top_k(p, experts, k, chosen + t * k);
      for (std::size_t i = t * k; i < (t + 1) * k; ++i) {
        const float gate = p[chosen[i]];
        weights[i] = gate < prune ? 0.0F : gate;  // not renormalised (model.md)
        chosen[i] += window.first;
      }
    }
  });
}

void Engine::keep_routing(std::size_t block) {
  const FramePlan::Block& plan = plan_.blocks[block];
  for (RoutingMap& map : routing_) {
    if (map.block != static_cast<int>(block)) continue;
    std::copy_n(at<std::int32_t>(plan.chosen), map.experts.size(), map.experts.begin());
    std::copy_n(at<float>(plan.weights), map.weights.size(), map.weights.begin());
  }
}

void Engine::experts_in_order(std::size_t block, int task) {
  const std::vector<std::size_t>& experts = sections_.blocks[block].expert;
  const FramePlan::Block& plan = plan_.blocks[block];
  const ExpertWindow window = expert_window(config_, task);
  const TokenQueues queues{at<std::int32_t>(plan.queue_tokens), at<float>(plan.queue_weights),
                           at<std::int32_t>(plan.offsets)};
  fill_queues(at<std::int32_t>(plan.chosen), at<float>(plan.weights), tokens_,
              static_cast<std::size_t>(model_.moe->top_k), window.first, static_cast<std::size_t>(window.count),
              queues);
  for (int e = 0; e < window.count; ++e) {
    const std::int32_t begin = queues.offsets[e];
    const auto rows = static_cast<std::size_t>(queues.offsets[e + 1] - begin);
    if (rows == 0) continue;  // nobody chose it: its weights are not touched
    RowSource in;
    in.kind = RowSource::Kind::kIndexed;
    in.base = at<float>(plan.mlp_in);
    in.stride = stride_ * sizeof(float);
    in.segment_k = dim_;
    in.index = queues.tokens + begin;
    Epilogue out;
    out.store = Epilogue::Store::kScatterAdd;
    out.c = at<float>(plan_.x);
    out.stride = stride_ * sizeof(float);
    out.index = queues.tokens + begin;
    out.scale = queues.weights + begin;
    const WeightStore::Held w = store_.hold(experts[static_cast<std::size_t>(window.first + e)]);
    mlp(mlp_part(w), rows, in, model_.expert_hidden(), at<float>(plan.hidden), out);
  }
}

void Engine::tokens_in_order(std::size_t block) {
  const std::vector<std::size_t>& experts = sections_.blocks[block].expert;
  const FramePlan::Block& plan = plan_.blocks[block];
  const auto k = static_cast<std::size_t>(model_.moe->top_k);
  const auto hidden = static_cast<std::size_t>(model_.expert_hidden());
  const auto* chosen = at<std::int32_t>(plan.chosen);
  const float* weights = at<float>(plan.weights);
  static constexpr std::int32_t kSelf = 0;
  team_.run(tokens_, [&](std::size_t t, std::size_t) {
    std::int32_t done = -1;
    for (std::size_t n = 0; n < k; ++n) {
      std::size_t next = t * k;  // the smallest expert above `done`
      std::int32_t expert = std::numeric_limits<std::int32_t>::max();
      for (std::size_t i = t * k; i < (t + 1) * k; ++i) {
        if (chosen[i] > done && chosen[i] < expert) {
          expert = chosen[i];
          next = i;
        }
      }
      done = expert;
      if (weights[next] == 0.0F) continue;
      const WeightStore::Held w = store_.hold(experts[static_cast<std::size_t>(expert)]);
      const Mlp mlp = mlp_part(w);
      Gemm fc1;
      fc1.m = 1;
      fc1.n = hidden;
      fc1.a.base = at<float>(plan.mlp_in) + t * stride_;
      fc1.a.segment_k = dim_;
      fc1.b.panels = mlp.fc1;
      fc1.out.bias = mlp.fc1_bias;
      fc1.out.activation = Epilogue::Activation::kGelu;
      fc1.out.c = at<float>(plan.hidden) + t * row_stride(hidden);
      kernels_.gemm(fc1, 0, 1, 0, panels(fc1.n));
      Gemm fc2;
      fc2.m = 1;
      fc2.n = dim_;
      fc2.a.base = fc1.out.c;
      fc2.a.segment_k = hidden;
      fc2.b.panels = mlp.fc2;
      fc2.out.bias = mlp.fc2_bias;
      fc2.out.store = Epilogue::Store::kScatterAdd;
      fc2.out.c = at<float>(plan_.x) + t * stride_;
      fc2.out.index = &kSelf;
      fc2.out.scale = &weights[next];
      kernels_.gemm(fc2, 0, 1, 0, panels(fc2.n));
    }
  });
}

void Engine::experts_dense(std::size_t block, int task) {
  const std::vector<std::size_t>& experts = sections_.blocks[block].expert;
  const FramePlan::Block& plan = plan_.blocks[block];
  const ExpertWindow window = expert_window(config_, task);
  const auto k = static_cast<std::size_t>(model_.moe->top_k);
  const auto* chosen = at<std::int32_t>(plan.chosen);
  const float* weights = at<float>(plan.weights);
  auto* every = at<std::int32_t>(plan.queue_tokens);
  float* scale = at<float>(plan.queue_weights);
  for (std::size_t t = 0; t < tokens_; ++t) every[t] = static_cast<std::int32_t>(t);
  for (int e = window.first; e < window.first + window.count; ++e) {
    std::fill_n(scale, tokens_, 0.0F);
    for (std::size_t i = 0; i < tokens_ * k; ++i) {
      if (chosen[i] == e) scale[i / k] = weights[i];
    }
    RowSource in;
    in.base = at<float>(plan.mlp_in);
    in.stride = stride_ * sizeof(float);
    in.segment_k = dim_;
    Epilogue out;
    out.store = Epilogue::Store::kScatterAdd;
    out.c = at<float>(plan_.x);
    out.stride = stride_ * sizeof(float);
    out.index = every;
    out.scale = scale;
    const WeightStore::Held w = store_.hold(experts[static_cast<std::size_t>(e)]);
    mlp(mlp_part(w), tokens_, in, model_.expert_hidden(), at<float>(plan.hidden), out);
  }
}

}  // namespace m3vit
