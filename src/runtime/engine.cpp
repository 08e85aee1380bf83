#include "runtime/engine.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

// Rows of one work item: eight register tiles read a panel while it is in the nearest cache.
constexpr std::size_t kBlockRows = 8 * kTileRows;
constexpr float kLayerNormEps = 1e-6F;
constexpr int kMostThreads = 1024;
// As core/image_io.h; the runtime has no OpenCV and so cannot include that room.
constexpr float kMean[3] = {0.485F, 0.456F, 0.406F};
constexpr float kStd[3] = {0.229F, 0.224F, 0.225F};

int resolve_threads(int asked) {
  if (asked < 0 || asked > kMostThreads) {
    throw Error{
        {.where = "threads", .wanted = "0 (all) … " + std::to_string(kMostThreads), .found = std::to_string(asked)}};
  }
  return asked == 0 ? usable_threads() : asked;
}

std::byte* allocate(std::size_t bytes) {
  void* const p = ::operator new[](bytes, std::align_val_t{Planner::kAlignment}, std::nothrow);
  if (p == nullptr) {
    throw Error{{.where = "memory plan",
                 .wanted = std::to_string(bytes) + " bytes for activations",
                 .found = "less memory",
                 .hint = "a smaller image_size needs less"}};
  }
  return static_cast<std::byte*>(p);
}

}  // namespace

Engine::Engine(const M3vFile& file, const SessionOptions& options)
    : file_(file),
      config_(file.config()),
      model_(config_.model),
      isa_(find_isa(options.isa)),
      kernels_(*isa_.kernels),
      schedule_(options.schedule),
      dim_(size(model_.embed_dim)),
      tokens_(size(model_.tokens())),
      stride_(row_stride(dim_)),
      plan_(config_, file.packing(), resolve_threads(options.threads), options.share_prefix,
            {.form = options.head_form}),
      arena_(allocate(plan_.planner.arena_bytes())),
      team_(resolve_threads(options.threads)),
      sections_(config_, file.packing()),
      store_(file),
      shared_blocks_(size(first_task_block(config_))),
      share_prefix_(options.share_prefix),
      keep_times_(options.keep_times) {
  if (file.packing().dtype != Precision::kF32 || !file.packing().layers.empty() || !file.packing().pruned.empty()) {
    throw Error{{.where = file.where(), .field = "dtype", .wanted = "f32", .found = std::string(file.dtype())}};
  }
  for (const auto& [precision, plan] : plan_.head_plans) {
    heads_.try_emplace(precision, plan, plan_.planner, arena_.get(), kernels_, team_);
  }
  head_weights_.conv.resize(size(model_.head.stages));
  head_weights_.conv_bias.resize(size(model_.head.stages));
  if (!options.keep_routing) return;
  for (int b = 0; b < model_.depth; ++b) {
    if (!model_.is_moe(b)) continue;
    const std::size_t entries = tokens_ * size(model_.moe->top_k);
    routing_.push_back(
        {b, model_.tokens(), model_.moe->top_k, std::vector<std::int32_t>(entries), std::vector<float>(entries)});
  }
}

Engine::Mlp Engine::mlp_part(const WeightStore::Held& section) {
  return {section["fc1"], section["fc1_bias"], section["fc2"], section["fc2_bias"]};
}

void Engine::run(int task, const RgbView& image, const HeadOutput& out) {
  times_ = {};
  forward(task, normalise(image), out);
}

void Engine::run(int task, std::span<const float> planes, const HeadOutput& out) {
  times_ = {};
  forward(task, planes.data(), out);
}

void Engine::run(std::span<const int> tasks, const RgbView& image, std::span<const std::span<float>> outs) {
  times_ = {};
  if (share_prefix_) {
    forward(tasks, normalise(image), outs);
    return;
  }
  // The planes' place in the arena is another buffer's by the time a run ends.
  for (std::size_t i = 0; i < tasks.size(); ++i) forward(tasks[i], normalise(image), {outs[i].data(), nullptr});
}

void Engine::run(std::span<const int> tasks, std::span<const float> planes, std::span<const std::span<float>> outs) {
  times_ = {};
  if (share_prefix_) {
    forward(tasks, planes.data(), outs);
    return;
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) forward(tasks[i], planes.data(), {outs[i].data(), nullptr});
}

const float* Engine::normalise(const RgbView& image) {
  const Timed timed(timer(&PhaseTimes::input));
  float* planes = at<float>(plan_.planes);
  const auto width = size(image.width);
  const std::size_t pixels = size(image.height) * width;
  const std::ptrdiff_t row_bytes =
      image.row_bytes != 0 ? image.row_bytes : static_cast<std::ptrdiff_t>(3) * image.width;
  team_.run(size(image.height), [&](std::size_t y, std::size_t) {
    const std::uint8_t* rgb = image.data + static_cast<std::ptrdiff_t>(y) * row_bytes;
    for (std::size_t c = 0; c < 3; ++c) {
      float* line = planes + c * pixels + y * width;
      for (std::size_t x = 0; x < width; ++x) {
        line[x] = (static_cast<float>(rgb[3 * x + c]) / 255.0F - kMean[c]) / kStd[c];
      }
    }
  });
  return planes;
}

void Engine::forward(int task, const float* planes, const HeadOutput& out) {
  prefix(task, planes);
  suffix(task, out);
}

void Engine::forward(std::span<const int> tasks, const float* planes, std::span<const std::span<float>> outs) {
  if (tasks.empty()) return;
  prefix(tasks[0], planes);
  // Without later blocks nothing writes x again: no copy is kept.
  float* kept = plan_.kept == FramePlan::kNone ? nullptr : at<float>(plan_.kept);
  const std::size_t floats = tokens_ * stride_;
  float* x = at<float>(plan_.x);
  if (kept != nullptr) std::copy_n(x, floats, kept);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (kept != nullptr && i > 0) std::copy_n(kept, floats, x);
    suffix(tasks[i], {outs[i].data(), nullptr});
  }
}

void Engine::prefix(int task, const float* planes) {
  embed(planes);
  for (std::size_t b = 0; b < shared_blocks_; ++b) {
    attention(b);
    second_half(b, task);
  }
  if (shared_blocks_ < sections_.blocks.size())
    attention(shared_blocks_);  // its router is the first to ask for the task
}

void Engine::suffix(int task, const HeadOutput& out) {
  for (std::size_t b = shared_blocks_; b < sections_.blocks.size(); ++b) {
    if (b > shared_blocks_) attention(b);
    second_half(b, task);
  }
  const Timed timed(timer(&PhaseTimes::head));
  head(task, out);
}

void Engine::second_half(std::size_t block, int task) {
  if (model_.is_moe(static_cast<int>(block))) {
    moe(block, task);
  } else {
    dense_mlp(block);
  }
}

void Engine::gemm(const Gemm& g) {
  const std::size_t row_blocks = (g.m + kBlockRows - 1) / kBlockRows;
  const std::size_t all_panels = panels(g.n);
  // Few rows (a small queue): split the columns too, so that every thread has work.
  const std::size_t wanted = team_.threads() == 1 ? 1 : 4 * size(team_.threads());
  const std::size_t groups = std::clamp<std::size_t>((wanted + row_blocks - 1) / row_blocks, 1, all_panels);
  const std::size_t per_group = (all_panels + groups - 1) / groups;
  team_.run(row_blocks * groups, [&](std::size_t item, std::size_t) {
    const std::size_t row = item / groups * kBlockRows;
    const std::size_t panel = item % groups * per_group;
    if (panel >= all_panels) return;
    kernels_.gemm(g, row, std::min(row + kBlockRows, g.m), panel, std::min(panel + per_group, all_panels));
  });
}

void Engine::layer_norm(const float* x, std::size_t rows, const float* weight, const float* bias, float* y) {
  LayerNorm l;
  l.x = x;
  l.x_stride = stride_ * sizeof(float);
  l.n = dim_;
  l.weight = weight;
  l.bias = bias;
  l.eps = kLayerNormEps;
  l.y = y;
  l.y_stride = stride_ * sizeof(float);
  const std::size_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  team_.run(blocks, [&](std::size_t item, std::size_t) {
    const std::size_t begin = item * kBlockRows;
    kernels_.layer_norm(l, begin, std::min(begin + kBlockRows, rows));
  });
}

void Engine::embed(const float* planes) {
  const Timed timed(timer(&PhaseTimes::embed));
  const WeightStore::Held w = store_.hold(sections_.embed);
  const float* position = w["position"];
  float* x = at<float>(plan_.x);
  for (std::size_t t = 0; t < tokens_; ++t) std::copy_n(position + t * dim_, dim_, x + t * stride_);
  const auto p = size(model_.patch_size);
  Gemm g;
  g.m = tokens_ - 1;
  g.n = dim_;
  g.a.kind = RowSource::Kind::kPatch;
  g.a.base = planes;
  g.a.segments = 3 * p;
  g.a.segment_k = p;
  g.a.height = model_.height();
  g.a.width = model_.width();
  g.a.patch = model_.patch_size;
  g.b.panels = w["patch"];
  g.out.bias = w["patch_bias"];
  g.out.store = Epilogue::Store::kAdd;  // onto pos_embed; row 0 is cls_token + pos_embed already
  g.out.c = x + stride_;
  g.out.stride = stride_ * sizeof(float);
  gemm(g);
}

void Engine::attention(std::size_t block) {
  const Timed timed(timer(&PhaseTimes::attention));
  const WeightStore::Held w = store_.hold(sections_.blocks[block].attn);
  const FramePlan::Block& plan = plan_.blocks[block];
  float* x = at<float>(plan_.x);
  float* normed = at<float>(plan.normed);
  layer_norm(x, tokens_, w["norm_weight"], w["norm_bias"], normed);

  Gemm qkv;
  qkv.m = tokens_;
  qkv.n = 3 * dim_;
  qkv.a.base = normed;
  qkv.a.stride = stride_ * sizeof(float);
  qkv.a.segment_k = dim_;
  qkv.b.panels = w["qkv"];
  qkv.out.bias = w["qkv_bias"];
  qkv.out.c = at<float>(plan.qkv);
  qkv.out.stride = row_stride(3 * dim_) * sizeof(float);
  gemm(qkv);

  Attention a;
  a.qkv = qkv.out.c;
  a.stride = qkv.out.stride;
  a.tokens = tokens_;
  a.heads = size(model_.num_heads);
  a.head_dim = dim_ / a.heads;
  a.keys = at<float>(plan.keys);
  a.values = at<float>(plan.values);
  a.out = at<float>(plan.attended);
  a.out_stride = stride_ * sizeof(float);
  team_.run(a.heads, [&](std::size_t head, std::size_t) { kernels_.attention_pack(a, head); });
  constexpr std::size_t kQueries = 4 * kTileRows;
  const std::size_t blocks = (tokens_ + kQueries - 1) / kQueries;
  float* scratch = at<float>(plan.scratch);
  team_.run(a.heads * blocks, [&](std::size_t item, std::size_t worker) {
    const std::size_t begin = item % blocks * kQueries;
    kernels_.attention_rows(a, item / blocks, begin, std::min(begin + kQueries, tokens_),
                            scratch + worker * attention_scratch(a.head_dim));
  });

  Gemm proj;
  proj.m = tokens_;
  proj.n = dim_;
  proj.a.base = a.out;
  proj.a.stride = stride_ * sizeof(float);
  proj.a.segment_k = dim_;
  proj.b.panels = w["proj"];
  proj.out.bias = w["proj_bias"];
  proj.out.store = Epilogue::Store::kAdd;
  proj.out.c = x;
  proj.out.stride = stride_ * sizeof(float);
  gemm(proj);
}

void Engine::mlp(const Mlp& weights, std::size_t rows, const RowSource& in, int hidden, float* hidden_rows,
                 Epilogue out) {
  const auto h = size(hidden);
  Gemm fc1;
  fc1.m = rows;
  fc1.n = h;
  fc1.a = in;
  fc1.b.panels = weights.fc1;
  fc1.out.bias = weights.fc1_bias;
  fc1.out.activation = Epilogue::Activation::kGelu;
  fc1.out.c = hidden_rows;
  fc1.out.stride = row_stride(h) * sizeof(float);
  gemm(fc1);

  Gemm fc2;
  fc2.m = rows;
  fc2.n = dim_;
  fc2.a.base = hidden_rows;
  fc2.a.stride = row_stride(h) * sizeof(float);
  fc2.a.segment_k = h;
  fc2.b.panels = weights.fc2;
  fc2.out = out;
  fc2.out.bias = weights.fc2_bias;
  gemm(fc2);
}

void Engine::dense_mlp(std::size_t block) {
  const Timed timed(timer(&PhaseTimes::dense_mlp));
  const WeightStore::Held w = store_.hold(sections_.blocks[block].mlp);
  const FramePlan::Block& plan = plan_.blocks[block];
  float* x = at<float>(plan_.x);
  float* normed = at<float>(plan.mlp_in);
  layer_norm(x, tokens_, w["norm_weight"], w["norm_bias"], normed);
  RowSource in;
  in.base = normed;
  in.stride = stride_ * sizeof(float);
  in.segment_k = dim_;
  Epilogue out;
  out.store = Epilogue::Store::kAdd;
  out.c = x;
  out.stride = stride_ * sizeof(float);
  mlp(mlp_part(w), tokens_, in, model_.mlp_hidden(), at<float>(plan.hidden), out);
}

}  // namespace m3vit
