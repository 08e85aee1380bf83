#include "runtime/frame_plan.h"

#include <algorithm>
#include <string>

#include "runtime/kernels/kernels.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

constexpr int kInput = FramePlan::kInputStep;
constexpr int kEmbed = FramePlan::kEmbedStep;
constexpr int kFirstBlock = FramePlan::block_step(0, FramePlan::kQkv);

std::size_t floats(std::size_t rows, std::size_t columns) { return rows * row_stride(columns) * sizeof(float); }

// Of a worker's share of the second-level cache, which also has the weights going through.
constexpr std::size_t kScratchBytes = std::size_t{512} << 10U;
constexpr std::size_t kMostTiles = 11;

}  // namespace

std::size_t item_rows(std::size_t rows, std::size_t bytes_a_row) {
  const std::size_t fit = kScratchBytes / (kTileRows * std::max<std::size_t>(bytes_a_row, 1));
  const std::size_t all = (rows + kTileRows - 1) / kTileRows;
  return kTileRows * std::min(all, std::clamp<std::size_t>(fit, 2, kMostTiles));
}

RowSplit split_rows(std::size_t rows, std::size_t most_each, std::size_t threads) {
  const std::size_t least = (rows + most_each - 1) / most_each;
  // Two tiles a piece at least: with fewer, reading the weights once more costs more than the other thread saves.
  std::size_t count = std::max(least, std::min(threads, rows / (2 * kTileRows)));
  if (count > 1) count = (count + threads - 1) / threads * threads;
  if (count == 0) return {};
  const std::size_t tiles = (rows + kTileRows - 1) / kTileRows;
  const std::size_t each = kTileRows * ((tiles + count - 1) / count);
  return {each, (rows + each - 1) / each};
}

FramePlan::FramePlan(const Config& config, const Packing& packing, int threads, bool share_prefix,
                     HeadOptions head_options, int frames) {
  const ModelConfig& m = config.model;
  const std::size_t frame_tokens = size(m.tokens());
  tokens = frame_tokens * size(frames);
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

  if (m.moe) {
    for (const int t : packing.tasks) window = std::max(window, size(expert_window(config, t).count));
  }
  const std::size_t workers = size(threads);
  const Precision embed = packing.of("embed");
  const std::size_t patch = 3 * size(m.patch_size) * size(m.patch_size);
  patch_rows = item_rows(frame_tokens, (sizeof(float) + element_bytes(embed)) * patch);
  if (embed != Precision::kF32) {
    const std::size_t bytes =
        RowBuffer::bytes(patch_rows, patch, Precision::kF32) + RowBuffer::bytes(patch_rows, patch, embed);
    patches = planner.add("patches", bytes * workers, kEmbed, kEmbed);
  }
  rows = item_rows(frame_tokens, dim * sizeof(float));
  for (int i = 0; i < m.depth; ++i) {
    const std::string name = "blocks." + std::to_string(i) + ".";
    const int step = kFirstBlock + kStepsPerBlock * i;
    const bool moe = m.is_moe(i);
    Block b;
    b.attention = packing.of(attention_name(i));
    b.mlp = packing.of(mlp_name(m, i));
    const Precision kept_as = stored(b.attention);
    // Frames of a batch take turns in these buffers: each goes through all three steps before the next one's first.
    const auto attention = [&](const char* what, std::size_t bytes, int first, int last) {
      return frames == 1 ? planner.add(name + what, bytes, step + first, step + last)
                         : planner.add(name + what, bytes, step + kQkv, step + kProj);
    };
    b.norm_rows = attention("norm1", RowBuffer::bytes(rows, dim, b.attention) * workers, kQkv, kQkv);
    b.qkv = attention("qkv", RowBuffer::bytes(frame_tokens, 3 * dim, kept_as), kQkv, kAttend);
    const std::size_t attention_heads = size(m.num_heads);
    b.keys = attention("keys", packed_bytes(head_dim, frame_tokens, kept_as) * attention_heads, kAttend, kAttend);
    b.values = attention("values", packed_bytes(frame_tokens, head_dim, kept_as) * attention_heads, kAttend, kAttend);
    b.scratch = attention("scores", attention_scratch(head_dim) * sizeof(float) * workers, kAttend, kAttend);
    b.attended = attention("attended", RowBuffer::bytes(frame_tokens, dim, kept_as), kAttend, kProj);
    if (b.attention == Precision::kInt8) {
      b.proj_rows = attention("proj", RowBuffer::bytes(rows, dim, b.attention) * workers, kProj, kProj);
    }
    const std::size_t hidden = size(moe ? m.expert_hidden() : m.mlp_hidden());
    const std::size_t bytes_a_row = hidden * (element_bytes(stored(b.mlp)) + (b.mlp == Precision::kInt8 ? 1 : 0));
    const std::size_t item = item_rows(tokens, bytes_a_row);
    b.hidden = planner.add(name + "hidden", MlpScratch::bytes(item, hidden, b.mlp) * workers, step + 4, step + 4);
    b.item_rows = item;
    if (moe) {
      b.mlp_in = planner.add(name + "norm2", RowBuffer::bytes(tokens, dim, b.mlp), step + 3, step + 4);
      const std::size_t entries = tokens * size(m.moe->top_k);
      b.route = planner.add(name + "route", RouteScratch::bytes(dim, window) * workers, step + 3, step + 3);
      b.chosen = planner.add(name + "chosen", entries * sizeof(std::int32_t), step + 3, step + 4);
      b.weights = planner.add(name + "weights", entries * sizeof(float), step + 3, step + 4);
      b.queue_tokens = planner.add(name + "queue", entries * sizeof(std::int32_t), step + 4, step + 4);
      b.queue_weights = planner.add(name + "queue_weights", entries * sizeof(float), step + 4, step + 4);
      b.offsets = planner.add(name + "offsets", (window + 1) * sizeof(std::int32_t), step + 4, step + 4);
      b.experts = planner.add(name + "experts", window * sizeof(std::int32_t), step + 4, step + 4);
      // An expert's queue is cut into at most ⌈rows / item⌉ pieces rounded up to the threads (split_rows).
      const std::size_t most = entries / item + window * (workers + 1);
      b.items = planner.add(name + "items", most * sizeof(ExpertItem), step + 4, step + 4);
    } else {
      b.mlp_in = planner.add(name + "norm2", RowBuffer::bytes(item, dim, b.mlp) * workers, step + 4, step + 4);
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

int FramePlan::last_step() const {
  int step = 0;
  for (const PlannedBuffer& b : planner.buffers()) step = std::max(step, b.last);
  return step;
}

}  // namespace m3vit
