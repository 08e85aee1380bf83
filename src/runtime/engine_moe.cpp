// The MoE layer of the engine: router, queues, and three ways to walk the experts (MoeSchedule). All add the experts
// of a token in ascending expert order onto the residual stream, so that they agree bit for bit.
#include <algorithm>
#include <limits>

#include "runtime/engine.h"

namespace m3vit {

void Engine::moe(std::size_t block, int task) {
  {
    const Timed timed(timer(&PhaseTimes::router));
    store_.step(FramePlan::block_step(block, FramePlan::kNorm2));
    route(block, task);
  }
  if (!routing_.empty()) keep_routing(block);
  const Timed timed(timer(&PhaseTimes::experts));
  store_.step(FramePlan::block_step(block, FramePlan::kMlp));
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

// The router reads norm2(x) in f32 whatever the experts do, so that every precision routes alike except near ties.
void Engine::route(std::size_t block, int task) {
  const WeightStore::Held norm2 = store_.hold(sections_.blocks[block].mlp);
  const WeightStore::Held w = store_.hold(sections_.blocks[block].router[static_cast<std::size_t>(task)]);
  const FramePlan::Block& plan = plan_.blocks[block];
  const ExpertWindow window = expert_window(config_, task);
  const auto experts = static_cast<std::size_t>(window.count);
  const auto k = static_cast<std::size_t>(model_.moe->top_k);
  const Linear gate = linear(w, "gate");
  const RowBuffer mlp_in(at<std::byte>(plan.mlp_in), plan_.tokens, dim_, plan.mlp);
  const std::size_t widest = plan_.window;
  auto* chosen = at<std::int32_t>(plan.chosen);
  float* weights = at<float>(plan.weights);
  const auto prune = static_cast<float>(model_.moe->prune_below);
  const Remaining remaining = remaining_experts(block, window);

  rows_each(rows_, kRouteRows, [&](std::size_t begin, std::size_t end, std::size_t worker) {
    const RouteScratch scratch(own(plan.route, RouteScratch::bytes(dim_, widest), worker), dim_, widest);
    const bool exact = plan.mlp == Precision::kF32;
    LayerNorm norm = norm_of(norm2, begin);
    norm.precision = plan.mlp;
    norm.y = mlp_in.row(begin);
    norm.y_stride = mlp_in.pitch();
    norm.y_scale = mlp_in.scale(begin);
    if (!exact) {
      norm.copy = scratch.normed.row<float>(0);
      norm.copy_stride = scratch.normed.pitch();
    }
    kernels_.layer_norm(norm, 0, end - begin);
    Gemm g = product(gate, end - begin, experts, exact ? mlp_in.source(begin) : scratch.normed.source());
    g.out.c = scratch.logits.row(0);
    g.out.stride = scratch.logits.pitch();
    kernels_.gemm(g, 0, g.m, 0, panels(experts));
    for (std::size_t t = begin; t < end; ++t) {
      float* p = scratch.logits.row<float>(t - begin);
      kernels_.softmax(p, experts);
      std::int32_t* const to = chosen + t * k;
      if (remaining.experts == nullptr) {
        top_k(p, experts, k, to);
      } else {
        for (std::size_t i = 0; i < remaining.count; ++i) p[i] = p[remaining.experts[i] - window.first];
        top_k(p, remaining.count, k, to);
      }
      for (std::size_t i = 0; i < k; ++i) {
        const float gate_weight = p[to[i]];
        weights[t * k + i] = gate_weight < prune ? 0.0F : gate_weight;  // not renormalised (model.md)
        to[i] = remaining.experts == nullptr ? window.first + to[i] : remaining.experts[to[i]];
      }
    }
  });
}

Engine::Remaining Engine::remaining_experts(std::size_t block, ExpertWindow window) const {
  const std::vector<std::int32_t>& left = left_[block];
  if (left.empty()) return {};
  const auto begin = std::lower_bound(left.begin(), left.end(), window.first);
  const auto end = std::lower_bound(begin, left.end(), window.first + window.count);
  return {&*begin, static_cast<std::size_t>(end - begin)};
}

// Of a batch's last frame.
void Engine::keep_routing(std::size_t block) {
  const FramePlan::Block& plan = plan_.blocks[block];
  const std::size_t first = (rows_ - tokens_) * static_cast<std::size_t>(model_.moe->top_k);
  for (RoutingMap& map : routing_) {
    if (map.block != static_cast<int>(block)) continue;
    std::copy_n(at<std::int32_t>(plan.chosen) + first, map.experts.size(), map.experts.begin());
    std::copy_n(at<float>(plan.weights) + first, map.weights.size(), map.weights.begin());
  }
}

std::size_t Engine::list_items(std::size_t block, const TokenQueues& queues, ExpertWindow window) {
  auto* items = at<ExpertItem>(plan_.blocks[block].items);
  std::size_t count = 0;
  std::int32_t place = 0;
  for (int e = 0; e < window.count; ++e) {
    const std::int32_t begin = queues.offsets[e];
    const std::int32_t end = queues.offsets[e + 1];
    if (begin == end) continue;  // nobody chose it: its weights are not touched
    const RowSplit split = split_rows(static_cast<std::size_t>(end - begin), plan_.blocks[block].item_rows,
                                      static_cast<std::size_t>(team_.threads()));
    const auto each = static_cast<std::int32_t>(split.rows_each);
    for (std::int32_t at = begin; at < end; at += each) {
      items[count++] = {window.first + e, place, at, std::min(at + each, end)};
    }
    turns_.expect(static_cast<std::size_t>(place++), static_cast<std::int32_t>(split.count));
  }
  turns_.start();
  return count;
}

void Engine::run_items(std::size_t block, const TokenQueues& queues, std::size_t items) {
  const std::vector<std::size_t>& experts = sections_.blocks[block].expert;
  const FramePlan::Block& plan = plan_.blocks[block];
  const auto* list = at<ExpertItem>(plan.items);
  const auto hidden = static_cast<std::size_t>(model_.expert_hidden());
  const std::size_t scratch_bytes = MlpScratch::bytes(plan.item_rows, hidden, plan.mlp);
  const RowBuffer mlp_in(at<std::byte>(plan.mlp_in), plan_.tokens, dim_, plan.mlp);
  const auto hold = [&](std::int32_t expert) { return store_.hold(experts[static_cast<std::size_t>(expert)]); };
  const auto run = [&](const ExpertItem& item, const WeightStore::Held& w, std::size_t worker) {
    RowSource in = mlp_in.source();
    in.kind = RowSource::Kind::kIndexed;
    in.index = queues.tokens + item.begin;
    Epilogue out = onto_x(0);
    out.store = Epilogue::Store::kScatterAdd;
    out.index = in.index;
    out.scale = queues.weights + item.begin;
    const MlpScratch scratch(own(plan.hidden, scratch_bytes, worker), plan.item_rows, hidden, plan.mlp);
    const auto place = static_cast<std::uint32_t>(item.place);
    mlp(mlp_part(w, model_.expert_hidden()), static_cast<std::size_t>(item.end - item.begin), in, scratch, out,
        [&] { turns_.wait(place); });
    turns_.done(place);
  };
  if (!store_.streams_experts(block)) {
    team_.run(items, [&](std::size_t i, std::size_t worker) { run(list[i], hold(list[i].expert), worker); });
    return;
  }
  for (std::size_t begin = 0; begin < items;) {  // an expert at a time: its buffer is the next one's
    std::size_t end = begin + 1;
    while (end < items && list[end].place == list[begin].place) ++end;
    const WeightStore::Held w = hold(list[begin].expert);
    team_.run(end - begin, [&](std::size_t i, std::size_t worker) { run(list[begin + i], w, worker); });
    begin = end;
  }
}

void Engine::experts_in_order(std::size_t block, int task) {
  const FramePlan::Block& plan = plan_.blocks[block];
  const ExpertWindow window = expert_window(config_, task);
  const TokenQueues queues{at<std::int32_t>(plan.queue_tokens), at<float>(plan.queue_weights),
                           at<std::int32_t>(plan.offsets)};
  fill_queues(at<std::int32_t>(plan.chosen), at<float>(plan.weights), rows_,
              static_cast<std::size_t>(model_.moe->top_k), window.first, static_cast<std::size_t>(window.count),
              queues);
  const std::size_t items = list_items(block, queues, window);
  if (store_.streams_experts(block)) {
    const auto* list = at<ExpertItem>(plan.items);
    auto* used = at<std::int32_t>(plan.experts);
    std::size_t count = 0;
    for (std::size_t i = 0; i < items; ++i) {
      if (i == 0 || list[i].place != list[i - 1].place) used[count++] = list[i].expert;
    }
    store_.expect_experts(block, {used, count});
  }
  run_items(block, queues, items);
}

void Engine::tokens_in_order(std::size_t block) {
  const std::vector<std::size_t>& experts = sections_.blocks[block].expert;
  const FramePlan::Block& plan = plan_.blocks[block];
  const auto k = static_cast<std::size_t>(model_.moe->top_k);
  const auto hidden = static_cast<std::size_t>(model_.expert_hidden());
  const std::size_t scratch_bytes = MlpScratch::bytes(plan.item_rows, hidden, plan.mlp);
  const RowBuffer mlp_in(at<std::byte>(plan.mlp_in), plan_.tokens, dim_, plan.mlp);
  const auto* chosen = at<std::int32_t>(plan.chosen);
  const float* weights = at<float>(plan.weights);
  // Calls with the indices of the token's experts in ascending order, without the pruned.
  const auto ascending = [&](std::size_t t, const auto& call) {
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
      if (weights[next] != 0.0F) call(next);
    }
  };
  const auto run = [&](std::size_t t, std::size_t worker) {
    static constexpr std::int32_t kSelf = 0;
    const MlpScratch scratch(own(plan.hidden, scratch_bytes, worker), plan.item_rows, hidden, plan.mlp);
    ascending(t, [&](std::size_t next) {
      const WeightStore::Held w = store_.hold(experts[static_cast<std::size_t>(chosen[next])]);
      Epilogue out = onto_x(t);
      out.store = Epilogue::Store::kScatterAdd;
      out.index = &kSelf;
      out.scale = &weights[next];
      mlp(mlp_part(w, model_.expert_hidden()), 1, mlp_in.source(t), scratch, out, [] {});
    });
  };
  if (!store_.streams_experts(block)) {
    team_.run(rows_, run);
    return;
  }
  // The buffers serve one thread: this order is here for comparison, and reading takes its time anyway.
  auto* queue = at<std::int32_t>(plan.queue_tokens);
  std::size_t count = 0;
  for (std::size_t t = 0; t < rows_; ++t) ascending(t, [&](std::size_t next) { queue[count++] = chosen[next]; });
  store_.expect_experts(block, {queue, count});
  for (std::size_t t = 0; t < rows_; ++t) run(t, 0);
}

void Engine::experts_dense(std::size_t block, int task) {
  const FramePlan::Block& plan = plan_.blocks[block];
  const ExpertWindow window = expert_window(config_, task);
  const auto k = static_cast<std::size_t>(model_.moe->top_k);
  const auto* chosen = at<std::int32_t>(plan.chosen);
  const float* weights = at<float>(plan.weights);
  auto* every = at<std::int32_t>(plan.queue_tokens);
  float* scale = at<float>(plan.queue_weights);
  auto* offsets = at<std::int32_t>(plan.offsets);
  for (std::size_t t = 0; t < rows_; ++t) every[t] = static_cast<std::int32_t>(t);
  offsets[0] = 0;
  offsets[1] = static_cast<std::int32_t>(rows_);
  const std::vector<std::size_t>& experts = sections_.blocks[block].expert;
  auto* left = at<std::int32_t>(plan.experts);
  std::size_t count = 0;
  for (int e = window.first; e < window.first + window.count; ++e) {
    if (experts[static_cast<std::size_t>(e)] != SectionTable::kNone) left[count++] = e;  // not pruned
  }
  if (store_.streams_experts(block)) store_.expect_experts(block, {left, count});
  for (std::size_t n = 0; n < count; ++n) {
    const int e = left[n];
    std::fill_n(scale, rows_, 0.0F);
    for (std::size_t i = 0; i < rows_ * k; ++i) {
      if (chosen[i] == e) scale[i / k] = weights[i];
    }
    const TokenQueues queue{every, scale, offsets};
    run_items(block, queue, list_items(block, queue, {e, 1}));
  }
}

}  // namespace m3vit
