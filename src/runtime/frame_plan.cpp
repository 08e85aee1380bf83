#include "runtime/frame_plan.h"

#include <algorithm>
#include <string>

#include "runtime/kernels/kernels.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

constexpr int kInput = 0;
constexpr int kEmbed = 1;
constexpr int kFirstBlock = 2;
// Steps of a block: 0 norm1 and qkv, 1 attention, 2 proj, 3 norm2 and router, 4 MLP or experts.
constexpr int kStepsPerBlock = 5;

std::size_t floats(std::size_t rows, std::size_t columns) { return rows * row_stride(columns) * sizeof(float); }

}  // namespace

FramePlan::FramePlan(const Config& config, const Packing& packing, int threads, bool share_prefix,
                     HeadOptions head_options) {
  const ModelConfig& m = config.model;
  const std::size_t tokens = size(m.tokens());
  const std::size_t dim = size(m.embed_dim);
  const std::size_t head_dim = dim / size(m.num_heads);
  std::map<Precision, std::size_t> outputs;  // by precision of a head: most of its tasks' outputs
  for (const int t : packing.tasks) {
    std::size_t& most = outputs[packing.of(head_name(config, t))];
    most = std::max(most, size(task_outputs(config.tasks[size(t)], "memory plan")));
  }
  const int first_head = kFirstBlock + kStepsPerBlock * m.depth;
  const int end = first_head + static_cast<int>(outputs.size()) - 1;

  planes = planner.add("input", 3 * size(m.height()) * size(m.width()) * sizeof(float), kInput, kEmbed);
  const int shared = first_task_block(config);
  x = planner.add("x", floats(tokens, dim), kEmbed, end);
  if (share_prefix && shared < m.depth) {
    kept =
        planner.add("x before the first router", floats(tokens, dim), kFirstBlock + kStepsPerBlock * shared + 2, end);
  }

  std::size_t window = 0;
  if (m.moe) {
    for (const int t : packing.tasks) window = std::max(window, size(expert_window(config, t).count));
  }
  for (int i = 0; i < m.depth; ++i) {
    const std::string name = "blocks." + std::to_string(i) + ".";
    const int step = kFirstBlock + kStepsPerBlock * i;
    Block b;
    b.normed = planner.add(name + "norm1", floats(tokens, dim), step, step);
    b.qkv = planner.add(name + "qkv", floats(tokens, 3 * dim), step, step + 1);
    const std::size_t heads = size(m.num_heads);
    b.keys = planner.add(name + "keys", packed_bytes(head_dim, tokens, Precision::kF32) * heads, step + 1, step + 1);
    b.values =
        planner.add(name + "values", packed_bytes(tokens, head_dim, Precision::kF32) * heads, step + 1, step + 1);
    b.scratch =
        planner.add(name + "scores", attention_scratch(head_dim) * sizeof(float) * size(threads), step + 1, step + 1);
    b.attended = planner.add(name + "attended", floats(tokens, dim), step + 1, step + 2);
    b.mlp_in = planner.add(name + "norm2", floats(tokens, dim), step + 3, step + 4);
    const bool moe = m.is_moe(i);
    const int hidden = moe ? m.expert_hidden() : m.mlp_hidden();
    b.hidden = planner.add(name + "hidden", floats(tokens, size(hidden)), step + 4, step + 4);
    if (moe) {
      const std::size_t entries = tokens * size(m.moe->top_k);
      b.logits = planner.add(name + "logits", floats(tokens, window), step + 3, step + 3);
      b.chosen = planner.add(name + "chosen", entries * sizeof(std::int32_t), step + 3, step + 4);
      b.weights = planner.add(name + "weights", entries * sizeof(float), step + 3, step + 4);
      b.queue_tokens = planner.add(name + "queue", entries * sizeof(std::int32_t), step + 4, step + 4);
      b.queue_weights = planner.add(name + "queue_weights", entries * sizeof(float), step + 4, step + 4);
      b.offsets = planner.add(name + "offsets", (window + 1) * sizeof(std::int32_t), step + 4, step + 4);
    }
    blocks.push_back(b);
  }

  HeadShape shape;
  shape.grid_h = m.grid_h();
  shape.grid_w = m.grid_w();
  shape.dim = dim;
  shape.channels = size(m.head.channels);
  shape.stages = m.head.stages;
  shape.height = m.height();
  shape.width = m.width();
  int step = first_head;  // a task has one head: each kind takes a step of its own
  for (const auto& [precision, most] : outputs) {
    head_options.precision = precision;
    shape.outputs = most;
    head_plans.emplace(precision, HeadPlan(shape, head_options, threads, planner, step, step));
    ++step;
  }
  planner.finish();
}

}  // namespace m3vit
