#include "reference/random_model.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string_view>

#include "core/model_cost.h"
#include "core/rng.h"

namespace m3vit::naive {

namespace {

/// lo … hi, both included.
int between(Rng& rng, int lo, int hi) {
  const auto values = static_cast<std::uint64_t>(hi) - static_cast<std::uint64_t>(lo) + 1;
  return lo + static_cast<int>(rng.below(values));
}

bool ends_with(std::string_view s, std::string_view tail) {
  return s.size() >= tail.size() && s.substr(s.size() - tail.size()) == tail;
}

}  // namespace

Config random_config(std::uint64_t seed) {
  Rng rng{seed, 0xC0F1C};
  Config c;
  ModelConfig& m = c.model;
  m.head.stages = between(rng, 1, 4);
  m.patch_size = 1 << m.head.stages;
  if (rng.coin(0.2)) m.head.stages = between(rng, 1, 4);  // then the last resize is not the identity
  const int largest = m.patch_size >= 8 ? 3 : 6;
  m.image_size = {m.patch_size * between(rng, 1, largest), m.patch_size * between(rng, 1, largest)};
  m.num_heads = between(rng, 1, 3);
  m.embed_dim = m.num_heads * between(rng, 3, 8);
  m.depth = between(rng, 1, 4);
  m.mlp_ratio = between(rng, 1, 4);
  m.head.channels = between(rng, 3, 9);

  std::vector<TaskId> order{TaskId::kSemseg, TaskId::kDepth, TaskId::kNormals,
                            TaskId::kEdge,   TaskId::kSal,   TaskId::kHumanParts};
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  const int tasks = between(rng, 1, static_cast<int>(order.size()));
  for (int t = 0; t < tasks; ++t) {
    const TaskSpec& spec = task_spec(order[t]);
    TaskConfig task;
    task.name = std::string(spec.name);
    task.outputs = spec.default_outputs > 0 ? spec.default_outputs : between(rng, 2, 14);
    c.tasks.push_back(task);
  }

  if (rng.coin(0.12)) {
    m.moe.reset();
    return c;
  }
  MoeConfig moe;
  moe.every = between(rng, 1, std::min(2, m.depth));
  moe.gate = static_cast<Gate>(between(rng, 0, 2));
  moe.gate_task_dim = between(rng, 2, 8);
  int seen = between(rng, 1, 9);  // experts one router sees
  moe.num_experts = seen;
  if (moe.gate == Gate::kMulti && rng.coin(0.3)) {
    moe.experts_per_task = seen;
    moe.num_experts = seen * tasks + between(rng, 0, 2);
  }
  moe.top_k = between(rng, 1, std::min(seen, 4));
  if (rng.coin(0.5)) moe.expert_hidden = between(rng, 1, 20);
  if (rng.coin(0.25)) moe.prune_below = 0.1;
  m.moe = moe;
  return c;
}

Weights random_weights(const Config& config, std::uint64_t seed) {
  Weights w;
  std::uint64_t index = 0;
  for (const TensorSpec& spec : expected_tensors(config)) {
    Rng rng{seed, 0x3E16, index++};
    std::int64_t numel = 1;
    for (const std::int64_t n : spec.shape) numel *= n;
    const auto dims = spec.shape.size();
    double mean = 0.0;
    double std = 0.1;  // biases, running_mean
    if (ends_with(spec.name, "w_gate")) {
      std = 2.0 / std::sqrt(static_cast<double>(spec.shape[0]));
    } else if (ends_with(spec.name, "cls_token") || ends_with(spec.name, "pos_embed")) {
      std = 0.5;
    } else if (ends_with(spec.name, ".weight") && dims == 1) {
      mean = 1.0;  // LayerNorm, BatchNorm
    } else if (ends_with(spec.name, ".bias") && spec.name.find("syncbn_fc") != std::string::npos) {
      mean = 0.5;  // so that no ReLU map dies whole and hides what came before it
    } else if (ends_with(spec.name, ".weight")) {
      const bool experts = spec.name.find(".experts.") != std::string::npos;  // [E, out, in]
      std::int64_t fan_in = 1;
      for (std::size_t i = experts ? 2 : 1; i < dims; ++i) fan_in *= spec.shape[i];
      std = 1.0 / std::sqrt(static_cast<double>(fan_in));
    }
    Tensor t;
    t.shape = spec.shape;
    for (std::int64_t i = 0; i < numel; ++i) {
      t.data.push_back(ends_with(spec.name, "running_var") ? rng.uniform(0.5, 1.5) : mean + std * rng.normal());
    }
    // As float32, so that every implementation starts from the very same values.
    for (double& v : t.data) v = static_cast<double>(static_cast<float>(v));
    w.tensors.emplace(spec.name, std::move(t));
  }
  return w;
}

std::vector<double> random_image(const Config& config, std::uint64_t seed) {
  Rng rng{seed, 0x1A6E};
  std::vector<double> image(static_cast<std::size_t>(3) * config.model.height() * config.model.width());
  for (double& v : image) v = static_cast<double>(static_cast<float>(rng.normal()));
  return image;
}

RandomCase random_case(std::uint64_t seed, double margin) { return random_case(random_config(seed), seed, margin); }

RandomCase random_case(const Config& config, std::uint64_t seed, double margin) {
  for (std::uint64_t attempt = 0; attempt < 200; ++attempt) {
    const std::uint64_t s = seed + attempt * 1'000'003;
    RandomCase c{config, random_weights(config, s), random_image(config, s), {}};
    bool clear = true;
    for (int t = 0; t < static_cast<int>(config.tasks.size()) && clear; ++t) {
      c.results.push_back(forward(config, c.weights, c.image, t));
      clear = c.results.back().margin >= margin;
    }
    if (clear) return c;
  }
  throw std::runtime_error("random_case: no draw with this routing margin; ask for less");
}

}  // namespace m3vit::naive
