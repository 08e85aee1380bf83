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

FramePlan::FramePlan(const Config& config, const Packing& packing, int threads, bool share_prefix) {
  const ModelConfig& m = config.model;
  const std::size_t tokens = size(m.tokens());
  const std::size_t dim = size(m.embed_dim);
  const std::size_t head_dim = dim / size(m.num_heads);
  const int head = kFirstBlock + kStepsPerBlock * m.depth;

  planes = planner.add("input", 3 * size(m.height()) * size(m.width()) * sizeof(float), kInput, kEmbed);
  const int end = head + 1 + 2 * m.head.stages + 2;
  const int shared = first_task_block(config);
  x = planner.add("x", floats(tokens, dim), kEmbed, share_prefix && shared == m.depth ? end : head);
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

  // Head steps: norm, then for each stage conv and ×2, at last 1×1 and the resize.
  int step = head;
  const std::size_t channels = size(m.head.channels);
  int outputs = 0;
  for (const int t : packing.tasks) outputs = std::max(outputs, task_outputs(config.tasks[size(t)], "memory plan"));
  features = planner.add("head.norm", floats(size(m.grid_h() * m.grid_w()), dim), step, step + 1);
  zeros = planner.add("head.border", std::max(dim, channels) * sizeof(float), step, end);
  ++step;
  int height = m.grid_h();
  int width = m.grid_w();
  for (int s = 0; s < m.head.stages; ++s) {
    const std::string name = "head.conv" + std::to_string(s);
    const bool final_stage = s + 1 == m.head.stages;
    const std::size_t pixels = size(height) * size(width);
    Stage stage{height, width, kNone, kNone};
    stage.conv = planner.add(name, floats(pixels, channels), step, step + 1);
    if (!final_stage) {
      stage.up = planner.add(name + ".up", floats(4 * pixels, channels), step + 1, step + 2);
      height *= 2;
      width *= 2;
    }
    stages.push_back(stage);
    step += 2;
  }
  // After the loop `step` − 1 is the last convolution's consumer: the 1×1.
  last = planner.add("head.last", floats(size(height) * size(width), size(outputs)), step - 1, end);
  const bool fits = 2 * height == m.height() && 2 * width == m.width();
  if (!fits) {
    doubled = planner.add("head.doubled", size(outputs) * 4 * size(height) * size(width) * sizeof(float), step, end);
  }
  lines = planner.add("head.lines", size(std::max(2 * width, 1)) * sizeof(float) * size(threads), step, end);
  planner.finish();
}

}  // namespace m3vit
