#include "runtime/engine.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "runtime/read_file.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

constexpr float kLayerNormEps = 1e-6F;
constexpr int kMostThreads = 1024;
constexpr int kMostFrames = 1024;
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

int checked_batch(int asked) {
  if (asked < 1 || asked > kMostFrames) {
    throw Error{
        {.where = "batch", .wanted = "1 … " + std::to_string(kMostFrames) + " frames", .found = std::to_string(asked)}};
  }
  return asked;
}

std::byte* allocate(std::size_t bytes) {
  void* const p = ::operator new[](bytes, std::align_val_t{ReadFile::kBlock}, std::nothrow);
  if (p == nullptr) {
    throw Error{{.where = "memory plan",
                 .wanted = std::to_string(bytes) + " bytes for activations",
                 .found = "less memory",
                 .hint = "a smaller image_size needs less"}};
  }
  return static_cast<std::byte*>(p);
}

bool in_place(const M3vFile& file, const SessionOptions& options) {
  return file.source() == nullptr || options.io == WeightIo::kMmap;
}

MemoryLayout plan(const M3vFile& file, const SessionOptions& options) {
  PlanOptions wanted{resolve_threads(options.threads), options.share_prefix, options.head_form, options.memory_budget,
                     checked_batch(options.batch)};
  if (!in_place(file, options)) return plan_model(file.config(), file.packing(), wanted, file.where());
  wanted.budget = 0;
  MemoryLayout layout = plan_model(file.config(), file.packing(), wanted, file.where());
  layout.resident_bytes = file.bytes();
  if (options.memory_budget == 0 || options.memory_budget >= layout.total()) return layout;
  throw Error{{.where = file.where(),
               .field = "memory budget",
               .wanted = "at least " + std::to_string(layout.total()) + " bytes",
               .found = std::to_string(options.memory_budget),
               .hint = "weights in memory or mapped are not streamed: open a file, with io uring or pread"}};
}

SectionReaderFactory reader_factory(const std::string& where, WeightIo io) {
  return [where, io](const ReadFile& file, std::size_t tickets) {
    std::string why;
    if (io != WeightIo::kPread) {
      if (auto reader = make_uring_reader(file, tickets, why)) return reader;
    }
    if (io == WeightIo::kUring) {
      throw Error{{.where = where, .field = "io uring", .wanted = "io_uring", .found = why, .hint = "io pread"}};
    }
    return make_pread_reader(file, tickets);
  };
}

}  // namespace

Engine::Engine(const M3vFile& file, const SessionOptions& options, std::shared_ptr<const ResidentWeights> weights,
               const SectionReaderFactory& reader)
    : file_(file),
      config_(file.config()),
      model_(config_.model),
      isa_(find_isa(options.isa)),
      kernels_(*isa_.kernels),
      schedule_(options.schedule),
      dim_(size(model_.embed_dim)),
      tokens_(size(model_.tokens())),
      stride_(row_stride(dim_)),
      layout_(plan(file, options)),
      plan_(layout_.frame),
      arena_(allocate(plan_.planner.arena_bytes())),
      team_(resolve_threads(options.threads)),
      sections_(config_, file.packing()),
      store_(file, layout_, arena_.get(),
             weights != nullptr
                 ? std::move(weights)
                 : std::make_shared<const ResidentWeights>(ResidentWeights::read(file, layout_.resident, true)),
             reader ? reader : reader_factory(file.where(), options.io)),
      turns_(model_.moe ? size(model_.moe->num_experts) : 0),
      shared_blocks_(size(first_task_block(config_))),
      share_prefix_(options.share_prefix),
      keep_times_(options.keep_times),
      task_times_(options.keep_times ? file.tasks().size() : 0, 0.0) {
  left_.resize(size(model_.depth));
  for (const auto& [block, pruned] : file.packing().pruned) {
    for (const int e : packed_experts(config_, file.packing(), block)) left_[size(block)].push_back(e);
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

Engine::Linear Engine::linear(const WeightStore::Held& section, const char* name) {
  const std::string field = name;  // these are short: they lie in the string objects themselves
  Linear l{section.layout().precision, {section.at<std::byte>(field), nullptr, nullptr}, section[field + "_bias"]};
  if (l.precision == Precision::kInt8) {
    l.b.scale = section[field + "_scale"];
    l.b.sums = section.at<std::int32_t>(field + "_sums");
  }
  return l;
}

Engine::Mlp Engine::mlp_part(const WeightStore::Held& section, int hidden) {
  return {linear(section, "fc1"), linear(section, "fc2"), size(hidden)};
}

void Engine::run(int task, std::span<const Frame> frames) {
  start();
  const WeightStore::Frame weights(store_, task);
  prefix(task, frames);
  suffix(task, frames);
  lap(0);
}

void Engine::run(std::span<const int> tasks, std::span<Frame> frames, std::span<const std::span<float>> outs) {
  start();
  const auto into = [&](std::size_t t) {
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i].out = {outs[t * frames.size() + i].data(), nullptr};
  };
  if (!share_prefix_) {
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      into(t);
      const WeightStore::Frame weights(store_, tasks[t]);
      prefix(tasks[t], frames);
      suffix(tasks[t], frames);
      lap(t);
    }
    return;
  }
  const WeightStore::Frame weights(store_, tasks[0]);
  prefix(tasks[0], frames);
  // Without later blocks nothing writes x again: no copy is kept.
  float* kept = plan_.kept == FramePlan::kNone ? nullptr : at<float>(plan_.kept);
  const std::size_t floats = rows_ * stride_;
  float* x = at<float>(plan_.x);
  if (kept != nullptr) std::copy_n(x, floats, kept);
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    into(t);
    if (t == 0) {
      suffix(tasks[0], frames);
      lap(0);
      continue;
    }
    if (kept != nullptr) std::copy_n(kept, floats, x);
    const WeightStore::Frame rest(store_, tasks[t],
                                  shared_blocks_ < sections_.blocks.size()
                                      ? FramePlan::block_step(shared_blocks_, FramePlan::kNorm2)
                                      : FramePlan::head_step(shared_blocks_));
    suffix(tasks[t], frames);
    lap(t);
  }
}

void Engine::start() {
  times_ = {};
  if (keep_times_) lap_begin_ = std::chrono::steady_clock::now();
}

void Engine::lap(std::size_t index) {
  if (!keep_times_) return;
  const auto now = std::chrono::steady_clock::now();
  task_times_[index] = std::chrono::duration<double>(now - lap_begin_).count();
  lap_begin_ = now;
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

void Engine::prefix(int task, std::span<const Frame> frames) {
  rows_ = frames.size() * tokens_;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    embed(frames[i].planes != nullptr ? frames[i].planes : normalise(frames[i].image), i * tokens_);
  }
  for (std::size_t b = 0; b < shared_blocks_; ++b) {
    attention(b);
    second_half(b, task);
  }
  if (shared_blocks_ < sections_.blocks.size())
    attention(shared_blocks_);  // its router is the first to ask for the task
}

void Engine::suffix(int task, std::span<const Frame> frames) {
  for (std::size_t b = shared_blocks_; b < sections_.blocks.size(); ++b) {
    if (b > shared_blocks_) attention(b);
    second_half(b, task);
  }
  const Timed timed(timer(&PhaseTimes::head));
  store_.step(FramePlan::head_step(sections_.blocks.size()));
  head(task, frames);
}

void Engine::second_half(std::size_t block, int task) {
  if (model_.is_moe(static_cast<int>(block))) {
    moe(block, task);
  } else {
    dense_mlp(block);
  }
}

Gemm Engine::product(const Linear& w, std::size_t rows, std::size_t n, const RowSource& a) {
  Gemm g;
  g.precision = w.precision;
  g.m = rows;
  g.n = n;
  g.a = a;
  g.b = w.b;
  g.out.bias = w.bias;
  return g;
}

Epilogue Engine::onto_x(std::size_t row) {
  Epilogue out;
  out.store = Epilogue::Store::kAdd;
  out.c = at<float>(plan_.x) + row * stride_;
  out.stride = stride_ * sizeof(float);
  return out;
}

LayerNorm Engine::norm_of(const WeightStore::Held& section, std::size_t row) {
  LayerNorm l;
  l.x = at<float>(plan_.x) + row * stride_;
  l.x_stride = stride_ * sizeof(float);
  l.n = dim_;
  l.weight = section["norm_weight"];
  l.bias = section["norm_bias"];
  l.eps = kLayerNormEps;
  return l;
}

void Engine::embed(const float* planes, std::size_t row) {
  const Timed timed(timer(&PhaseTimes::embed));
  store_.step(FramePlan::kEmbedStep);
  const WeightStore::Held w = store_.hold(sections_.embed);
  const Linear patch = linear(w, "patch");
  const float* position = w["position"];
  float* x = at<float>(plan_.x) + row * stride_;
  std::copy_n(position, dim_, x);  // cls_token + pos_embed
  const auto p = size(model_.patch_size);
  const std::size_t k = 3 * p * p;
  RowSource patches;
  patches.kind = RowSource::Kind::kPatch;
  patches.base = planes;
  patches.segments = 3 * p;
  patches.segment_k = p;
  patches.height = model_.height();
  patches.width = model_.width();
  patches.patch = model_.patch_size;
  rows_each(tokens_ - 1, plan_.patch_rows, [&](std::size_t begin, std::size_t end, std::size_t worker) {
    for (std::size_t t = begin + 1; t <= end; ++t) std::copy_n(position + t * dim_, dim_, x + t * stride_);
    if (patch.precision == Precision::kF32) {
      Gemm g = product(patch, tokens_ - 1, dim_, patches);
      const float* const bias = g.out.bias;
      g.out = onto_x(row + 1);
      g.out.bias = bias;
      kernels_.gemm(g, begin, end, 0, panels(dim_));
      return;
    }
    const std::size_t exact_bytes = RowBuffer::bytes(plan_.patch_rows, k, Precision::kF32);
    const std::size_t bytes = exact_bytes + RowBuffer::bytes(plan_.patch_rows, k, patch.precision);
    std::byte* const scratch = own(plan_.patches, bytes, worker);
    const RowBuffer exact(scratch, plan_.patch_rows, k, Precision::kF32);
    const RowBuffer rounded(scratch + exact_bytes, plan_.patch_rows, k, patch.precision);
    gather_patches(planes, begin, end, exact);
    round_rows(exact, end - begin, k, patch.precision, rounded);
    Gemm g = product(patch, end - begin, dim_, rounded.source());
    const float* const bias = g.out.bias;
    g.out = onto_x(row + 1 + begin);
    g.out.bias = bias;
    kernels_.gemm(g, 0, g.m, 0, panels(dim_));
  });
}

void Engine::gather_patches(const float* planes, std::size_t begin, std::size_t end, const RowBuffer& to) const {
  const auto p = size(model_.patch_size);
  const auto width = size(model_.width());
  const std::size_t grid_w = width / p;
  for (std::size_t r = begin; r < end; ++r) {
    float* row = to.row<float>(r - begin);
    for (std::size_t c = 0; c < 3; ++c) {
      const float* from = planes + (c * size(model_.height()) + r / grid_w * p) * width + r % grid_w * p;
      for (std::size_t line = 0; line < p; ++line, from += width, row += p) std::copy_n(from, p, row);
    }
  }
}

void Engine::round_rows(const RowBuffer& from, std::size_t rows, std::size_t n, Precision p, const RowBuffer& to) {
  if (p == Precision::kBf16) {
    kernels_.to_bf16(from.row<float>(0), from.pitch(), rows, n, to.row<std::uint16_t>(0), to.pitch());
  } else {
    kernels_.quantize_rows(from.row(0), /*bf16=*/false, from.pitch(), rows, n, to.row<std::uint8_t>(0), to.pitch(),
                           to.scale(0));
  }
}

void Engine::attention(std::size_t block) {
  const Timed timed(timer(&PhaseTimes::attention));
  store_.step(FramePlan::block_step(block, FramePlan::kQkv));
  const WeightStore::Held w = store_.hold(sections_.blocks[block].attn);
  for (std::size_t row = 0; row < rows_; row += tokens_) attend(block, w, row);
}

// A batch's later frames pass the same steps again; the store only ever goes forward.
void Engine::attend(std::size_t block, const WeightStore::Held& w, std::size_t row) {
  const FramePlan::Block& plan = plan_.blocks[block];
  const Precision precision = plan.attention;
  const Precision kept_as = stored(precision);
  const std::size_t worker_bytes = RowBuffer::bytes(plan_.rows, dim_, precision);
  const RowBuffer qkv(at<std::byte>(plan.qkv), tokens_, 3 * dim_, kept_as);
  const RowBuffer attended(at<std::byte>(plan.attended), tokens_, dim_, kept_as);

  const Linear to_qkv = linear(w, "qkv");
  rows_each(tokens_, plan_.rows, [&](std::size_t begin, std::size_t end, std::size_t worker) {
    const RowBuffer normed(own(plan.norm_rows, worker_bytes, worker), plan_.rows, dim_, precision);
    LayerNorm norm = norm_of(w, row + begin);
    norm.precision = precision;
    norm.y = normed.row(0);
    norm.y_stride = normed.pitch();
    norm.y_scale = normed.scale(0);
    kernels_.layer_norm(norm, 0, end - begin);
    Gemm g = product(to_qkv, end - begin, 3 * dim_, normed.source());
    g.out.c = qkv.row(begin);
    g.out.stride = qkv.pitch();
    g.out.bf16 = kept_as == Precision::kBf16;
    kernels_.gemm(g, 0, g.m, 0, panels(g.n));
  });

  store_.step(FramePlan::block_step(block, FramePlan::kAttend));
  Attention a;
  a.precision = kept_as;
  a.qkv = qkv.row(0);
  a.stride = qkv.pitch();
  a.tokens = tokens_;
  a.heads = size(model_.num_heads);
  a.head_dim = dim_ / a.heads;
  a.keys = at<std::byte>(plan.keys);
  a.values = at<std::byte>(plan.values);
  a.out = attended.row(0);
  a.out_stride = attended.pitch();
  team_.run(a.heads, [&](std::size_t head, std::size_t) { kernels_.attention_pack(a, head); });
  constexpr std::size_t kQueries = 4 * kTileRows;
  const std::size_t blocks = (tokens_ + kQueries - 1) / kQueries;
  float* scratch = at<float>(plan.scratch);
  team_.run(a.heads * blocks, [&](std::size_t item, std::size_t worker) {
    const std::size_t begin = item % blocks * kQueries;
    kernels_.attention_rows(a, item / blocks, begin, std::min(begin + kQueries, tokens_),
                            scratch + worker * attention_scratch(a.head_dim));
  });

  store_.step(FramePlan::block_step(block, FramePlan::kProj));
  const Linear proj = linear(w, "proj");
  rows_each(tokens_, plan_.rows, [&](std::size_t begin, std::size_t end, std::size_t worker) {
    RowSource in = attended.source(begin);
    if (precision == Precision::kInt8) {
      const RowBuffer quantised(own(plan.proj_rows, worker_bytes, worker), plan_.rows, dim_, precision);
      kernels_.quantize_rows(attended.row(begin), /*bf16=*/true, attended.pitch(), end - begin, dim_,
                             quantised.row<std::uint8_t>(0), quantised.pitch(), quantised.scale(0));
      in = quantised.source();
    }
    Gemm g = product(proj, end - begin, dim_, in);
    g.out = onto_x(row + begin);
    g.out.bias = proj.bias;
    kernels_.gemm(g, 0, g.m, 0, panels(g.n));
  });
}

void Engine::dense_mlp(std::size_t block) {
  const Timed timed(timer(&PhaseTimes::dense_mlp));
  store_.step(FramePlan::block_step(block, FramePlan::kMlp));
  const WeightStore::Held w = store_.hold(sections_.blocks[block].mlp);
  const FramePlan::Block& plan = plan_.blocks[block];
  const Mlp weights = mlp_part(w, model_.mlp_hidden());
  const std::size_t norm_bytes = RowBuffer::bytes(plan.item_rows, dim_, plan.mlp);
  const std::size_t hidden_bytes = MlpScratch::bytes(plan.item_rows, weights.hidden, plan.mlp);
  rows_each(rows_, plan.item_rows, [&](std::size_t begin, std::size_t end, std::size_t worker) {
    const RowBuffer normed(own(plan.mlp_in, norm_bytes, worker), plan.item_rows, dim_, plan.mlp);
    LayerNorm norm = norm_of(w, begin);
    norm.precision = plan.mlp;
    norm.y = normed.row(0);
    norm.y_stride = normed.pitch();
    norm.y_scale = normed.scale(0);
    kernels_.layer_norm(norm, 0, end - begin);
    const MlpScratch scratch(own(plan.hidden, hidden_bytes, worker), plan.item_rows, weights.hidden, plan.mlp);
    mlp(weights, end - begin, normed.source(), scratch, onto_x(begin), [] {});
  });
}

}  // namespace m3vit
