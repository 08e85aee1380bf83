#include "accel/compiler/task_compiler.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/error.h"

namespace m3vit::accel {
namespace {

std::uint32_t u(int n) {
  assert(n >= 0);
  return static_cast<std::uint32_t>(n);
}

std::size_t size(int n) { return static_cast<std::size_t>(n); }

template <class T>
std::vector<std::byte> to_bytes(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

int longest(const std::vector<QMlp>& slices, const std::map<int, QMlp>& experts) {
  int most = 0;
  for (const QMlp& s : slices) most = std::max(most, s.fc1.out);
  for (const auto& [e, w] : experts) most = std::max(most, w.fc1.out);
  return most;
}

}  // namespace

TaskCompiler::TaskCompiler(const QuantModel& model, const CompileOptions& options, int task, ImageBuilder& image,
                           Footprint& used)
    : model_(model),
      m_(model.config.model),
      options_(options),
      a_(options.array),
      task_(task),
      image_(image),
      used_(used),
      program_(options.array, options.overlap, options.chase),
      tokens_(m_.tokens()),
      dim_(a_.words(m_.embed_dim)),
      head_words_(a_.words(m_.embed_dim / m_.num_heads)),
      mix_(m_.num_heads * head_words_),
      key_blocks_(a_.words(tokens_)),
      kv_(2 * key_blocks_ * head_words_),
      weights_(std::min(kv_, a_.weight_words), a_.weight_words),
      params_(0, a_.param_words),
      norms_(0, a_.norm_words / dim_ * dim_) {
  for (const QBlock& b : model.blocks) mix_ = std::max(mix_, a_.words(longest(b.slices, b.experts)));
  mix_base_ = u(tokens_ * dim_);
  check();
}

void TaskCompiler::refuse(const std::string& what, const std::string& memory, int needed, int there) const {
  throw Error{{.where = "accelerator",
               .field = what,
               .wanted = "at most " + std::to_string(there) + " words of " + memory,
               .found = std::to_string(needed),
               .hint = "a smaller picture or model, or an array with more of it"}};
}
void TaskCompiler::need(const std::string& what, const std::string& memory, int needed, int there) const {
  if (needed > there) refuse(what, memory, needed, there);
}

void TaskCompiler::check() const {
  need("keys of one head", "score memory (KeyWords)", key_blocks_, a_.key_words);
  need("keys and values of one head", "weight memory", kv_ + dim_, a_.weight_words);
  need("residual", "residual memory", tokens_ * dim_, a_.res_words);
  need("normalised tokens beside attention or hidden units", "activation memory", tokens_ * (dim_ + mix_),
       a_.act_words);
  need("norm parameters", "norm memory", dim_, a_.norm_words);
  need("a patch", "row buffer", a_.words(model_.patch.in), a_.row_words);
  need("a token", "row buffer", std::max(dim_, mix_), a_.row_words);
  need("a row of keys", "row buffer", key_blocks_, a_.row_words);
  for (const QLinear& conv : model_.heads.at(task_).convs) {
    need("a convolution's nine pixels", "row buffer", 9 * a_.words(conv.in / 9), a_.row_words);
  }
  if (!m_.moe) return;
  need("top_k", "a token's list (MaxTopK)", m_.moe->top_k, a_.max_top_k);
  need("num_experts", "lists (MaxExperts)", m_.moe->num_experts, a_.max_experts);
  need("tokens · top_k", "list entries", tokens_ * m_.moe->top_k, a_.list_entries);
}

TaskProgram TaskCompiler::compile() {
  TaskProgram out;
  const std::uint32_t gate = image_.add("gate_table", sizeof(GateTable), [&] {
    return to_bytes(std::vector<std::uint16_t>(model_.gate_table.begin(), model_.gate_table.end()));
  });
  CopyInOp table;
  table.space = static_cast<std::uint32_t>(Space::kGateTable);
  table.ddr = gate;
  table.words = 1;
  if (m_.moe) program_.emit(table);
  embed();
  Constants constants = load_constants(0);
  for (int b = 0; b < m_.depth; ++b) {
    attention(b, constants);
    const Constants now = constants;
    if (b + 1 < m_.depth) constants = load_constants(b + 1);  // behind this block's work
    if (m_.is_moe(b)) {
      experts(b, now);
    } else {
      dense(b, now);
    }
  }
  out.encoder_ops = program_.ops().size();
  head();
  program_.end();

  used_.res_words = std::max(used_.res_words, tokens_ * dim_);
  if (m_.moe) used_.list_entries = std::max(used_.list_entries, tokens_ * m_.moe->top_k);
  out.task = task_;
  out.ops = program_.ops();
  std::vector<MicroOp> words;
  for (const AnyOp& op : out.ops) words.push_back(encode(op));
  out.program = image_.add("program." + model_.config.tasks[static_cast<std::size_t>(task_)].name,
                           words.size() * sizeof(MicroOp), [&] { return to_bytes(words); });
  out.input = input_;
  out.output = output_;
  out.output_pitch = output_pitch_;
  out.height = m_.grid_h() << (m_.head.stages - 1);
  out.width = m_.grid_w() << (m_.head.stages - 1);
  out.outputs = model_.heads.at(task_).last.out;
  out.scale = model_.heads.at(task_).scale;
  return out;
}

void TaskCompiler::embed() {
  const std::size_t d = static_cast<std::size_t>(m_.embed_dim);
  const std::uint32_t position = image_.add("position", size(tokens_ * dim_ * a_.width) * 2, [&] {
    const std::size_t row = size(dim_ * a_.width);
    std::vector<std::int16_t> padded(size(tokens_) * row);
    for (std::size_t i = 0; i < model_.position.size(); ++i) padded[i / d * row + i % d] = model_.position[i];
    return to_bytes(padded);
  });
  const int patches = tokens_ - 1;
  const int words = a_.words(model_.patch.in);
  input_ = image_.reserve("input", static_cast<std::size_t>(patches) * static_cast<std::size_t>(words * a_.width));
  CopyInOp start;
  start.space = static_cast<std::uint32_t>(Space::kRes);
  start.ddr = position;
  start.words = u(tokens_ * dim_);
  program_.emit(start);
  // Two halves of the activation memory, one filled while the other is used; a chunk begins at a whole DDR unit.
  const int step = std::max(1, Array::kBeatBytes / a_.width);
  const int most = std::max(step, a_.act_words / 2 / words / step * step);
  need("patches of one pass", "activation memory", most * words, a_.act_words);
  for (int first = 0, half = 0; first < patches; first += most, half ^= 1) {
    const int rows = std::min(most, patches - first);
    CopyInOp load;
    load.space = static_cast<std::uint32_t>(Space::kAct);
    load.ddr = input_ + u(first * words * a_.width / Array::kBeatBytes);
    load.dst = most * words * 2 <= a_.act_words ? u(half * most * words) : 0;
    load.words = u(rows * words);
    program_.emit(load);
    GemmOp op;
    op.dst = static_cast<std::uint32_t>(Dst::kResAdd);
    op.rows = u(rows);
    op.src = load.dst;
    op.src_stride = u(words);
    op.dst_address = u((1 + first) * dim_);
    op.dst_stride = u(dim_);
    linear("patch", {{&model_.patch}, 1}, op);
    used_.act_words = std::max(used_.act_words, static_cast<int>(load.dst) + rows * words);
  }
  last_add_.reset();
}

std::uint32_t TaskCompiler::load_norm(const NormSlot& slot) {
  CopyInOp op;
  op.space = static_cast<std::uint32_t>(Space::kNorm);
  op.ddr = image_.add(slot.name, size(dim_ * a_.width) * sizeof(std::uint64_t), [&] {
    std::vector<std::uint64_t> bits(static_cast<std::size_t>(dim_ * a_.width));
    for (std::size_t c = 0; c < slot.norm->params.size(); ++c) bits[c] = slot.norm->params[c].bits();
    return to_bytes(bits);
  });
  op.dst = u(norms_.take(dim_));
  op.words = u(dim_);
  program_.emit(op);
  return op.dst;
}

TaskCompiler::Constants TaskCompiler::load_constants(int block) {
  const QBlock& b = model_.blocks[static_cast<std::size_t>(block)];
  Constants c{{block_name(block) + "norm1", &b.norm1, {}}, {block_name(block) + "norm2", &b.norm2, {}}, u(block % 2)};
  if (norms_.size() >= 3 * dim_) {  // this block's second beside both of the next
    c.norm1.param = load_norm(c.norm1);
    c.norm2.param = load_norm(c.norm2);
  }
  CopyInOp op;
  op.space = static_cast<std::uint32_t>(c.table == 0 ? Space::kTable0 : Space::kTable1);
  op.ddr = image_.add(block_name(block) + "gelu", sizeof(ActTable),
                      [&] { return to_bytes(std::vector<std::int8_t>(b.gelu.begin(), b.gelu.end())); });
  op.words = 1;
  program_.emit(op);
  return c;
}

std::uint32_t TaskCompiler::norm(const NormSlot& slot, std::uint32_t first_row, std::uint32_t rows, std::uint32_t dst,
                                 std::optional<std::uint32_t> chase) {
  NormOp op;
  op.rows = rows;
  op.words = u(dim_);
  op.channels = u(m_.embed_dim);
  op.param = slot.param ? *slot.param : load_norm(slot);
  op.src_stride = op.dst_stride = u(dim_);
  op.src = first_row * u(dim_);
  op.dst_address = dst;
  op.shift = u(slot.norm->shift);
  op.eps = slot.norm->eps;
  return program_.emit(op, chase);
}

int TaskCompiler::chunk_blocks(const std::string& name, const TileParts& parts) const {
  const int words = parts.row_words(a_);
  const int all = parts.blocks(a_);
  need(name, "weight memory", words, weights_.size());
  int chunk = std::max(1, weights_.size() / 2 / words);
  if (all * words <= weights_.size() / 2) chunk = all;
  return std::min({chunk, all, std::max(1, a_.param_words / 2)});
}

TileOp TaskCompiler::load_tile(const std::string& name, const TileParts& parts, int first, int count) {
  TileOp tile;
  tile.ddr = image_.add(name + (first == 0 && count == parts.blocks(a_) ? "" : "." + std::to_string(first)),
                        tile_bytes(a_, parts.row_words(a_), count), [&] { return pack_tile(parts, a_, first, count); });
  tile.words = u(count * parts.row_words(a_));
  tile.blocks = u(count);
  tile.weight = u(weights_.take(count * parts.row_words(a_)));
  tile.param = u(params_.take(count));
  program_.emit(tile);
  used_.weight_words = std::max(used_.weight_words, static_cast<int>(tile.weight + tile.words));
  used_.param_words = std::max(used_.param_words, static_cast<int>(tile.param + tile.blocks));
  return tile;
}

std::uint32_t TaskCompiler::linear(const std::string& name, const TileParts& parts, GemmOp op,
                                   std::optional<std::uint32_t> chase) {
  const int all = parts.blocks(a_);
  const int chunk = chunk_blocks(name, parts);
  std::uint32_t last = 0;
  const std::uint32_t base = op.dst_address;
  op.row_words = u(parts.row_words(a_));
  for (int first = 0; first < all; first += chunk) {
    const int count = std::min(chunk, all - first);
    const TileOp tile = load_tile(name, parts, first, count);
    op.blocks = tile.blocks;
    op.weight = tile.weight;
    op.param = tile.param;
    op.dst_address = base + u(first);
    last = program_.emit(op, chase);
  }
  return last;
}

void TaskCompiler::attention(int block, const Constants& constants) {
  const QBlock& b = model_.blocks[static_cast<std::size_t>(block)];
  const std::uint32_t normed = norm(constants.norm1, 0, u(tokens_), norm_base_, last_add_);
  const int row = m_.num_heads * head_words_;
  for (int h = 0; h < m_.num_heads; ++h) {
    const QHeadAttention& head = b.heads[static_cast<std::size_t>(h)];
    const std::string name = block_name(block) + "head." + std::to_string(h);
    GemmOp op;
    op.kv = 1;
    op.rows = u(tokens_);
    op.row_words = u(dim_);
    op.src = norm_base_;
    op.src_stride = u(dim_);
    op.dst_address = mix_base_ + u(h * head_words_);
    op.dst_stride = u(row);
    op.key = 0;
    op.value = u(kv_ / 2);
    op.key_blocks = u(key_blocks_);
    op.head_words = u(head_words_);
    const auto pass = [&](const std::string& part, const TileParts& parts, int k_block, int v_block) {
      need(part, "weight memory", parts.blocks(a_) * dim_, weights_.size());
      const TileOp tile = load_tile(part, parts, 0, parts.blocks(a_));
      op.k_block = u(k_block);
      op.v_block = u(v_block);
      op.blocks = tile.blocks;
      op.weight = tile.weight;
      op.param = tile.param;
      program_.emit(op, normed);
    };
    if (3 * head_words_ * dim_ <= weights_.size()) {
      pass(name, {{&head.q, &head.k, &head.v}, 1}, head_words_, 2 * head_words_);
    } else {
      pass(name + ".q", {{&head.q}, 1}, head_words_, head_words_);
      pass(name + ".k", {{&head.k}, 1}, 0, head_words_);
      pass(name + ".v", {{&head.v}, 1}, 0, 0);
    }
    AttendOp attend;
    attend.rows = attend.keys = u(tokens_);
    attend.head_words = op.head_words;
    attend.key_blocks = op.key_blocks;
    attend.src = attend.dst_address = op.dst_address;
    attend.src_stride = attend.dst_stride = op.dst_stride;
    attend.key = op.key;
    attend.value = op.value;
    attend.mul = head.score.mul;
    attend.shift = head.score.shift;
    attend.gain = head.gain;
    attend.shift_out = u(head.shift_out);
    program_.emit(attend);
  }
  used_.act_words = std::max(used_.act_words, tokens_ * (dim_ + mix_));
  GemmOp proj;
  proj.dst = static_cast<std::uint32_t>(Dst::kResAdd);
  proj.rows = u(tokens_);
  proj.src = mix_base_;
  proj.src_stride = u(row);
  proj.dst_stride = u(dim_);
  last_add_ = linear(block_name(block) + "proj", {{&b.proj}, m_.num_heads}, proj);
}

void TaskCompiler::dense(int block, const Constants& constants) {
  const QBlock& b = model_.blocks[static_cast<std::size_t>(block)];
  const std::uint32_t normed = norm(constants.norm2, 0, u(tokens_), norm_base_, last_add_);
  for (std::size_t s = 0; s < b.slices.size(); ++s) {
    const std::string name = block_name(block) + "slice." + std::to_string(s);
    const QMlp& w = b.slices[s];
    const std::uint32_t hidden = u(a_.words(w.fc1.out));
    GemmOp fc1;
    fc1.act = static_cast<std::uint32_t>(Act::kTable);
    fc1.table = constants.table;
    fc1.rows = u(tokens_);
    fc1.src = norm_base_;
    fc1.src_stride = u(dim_);
    fc1.dst_address = mix_base_;
    fc1.dst_stride = hidden;
    linear(name + ".fc1", {{&w.fc1}, 1}, fc1, normed);
    GemmOp fc2;
    fc2.dst = static_cast<std::uint32_t>(Dst::kResAdd);
    fc2.rows = u(tokens_);
    fc2.src = mix_base_;
    fc2.src_stride = hidden;
    fc2.dst_stride = u(dim_);
    last_add_ = linear(name + ".fc2", {{&w.fc2}, 1}, fc2);
  }
}

void TaskCompiler::experts(int block, const Constants& constants) {
  const QBlock& b = model_.blocks[static_cast<std::size_t>(block)];
  const QRouter& router = b.routers.at(task_);
  const std::uint32_t normed = norm(constants.norm2, 0, u(tokens_), norm_base_, last_add_);

  const TileParts gate{{&router.gate}, 1};
  const int gate_words = gate.blocks(a_) * dim_;
  need(block_name(block) + "router", "weight memory", gate_words, a_.weight_words);
  need(block_name(block) + "router", "parameter memory", gate.blocks(a_), a_.param_words);
  const Ring ring = weights_;
  if (gate_words > weights_.size()) weights_ = Ring(0, a_.weight_words);  // keys and values are done with
  const TileOp tile =
      load_tile(block_name(block) + "router." + model_.config.tasks[static_cast<std::size_t>(task_)].name, gate, 0,
                gate.blocks(a_));
  weights_ = ring;
  RouteOp route;
  route.rows = u(tokens_);
  route.row_words = u(dim_);
  route.blocks = tile.blocks;
  route.weight = tile.weight;
  route.param = tile.param;
  route.src = norm_base_;
  route.src_stride = u(dim_);
  route.experts = u(router.gate.out);
  route.top_k = u(m_.moe->top_k);
  route.mul = router.logit.mul;
  route.shift = router.logit.shift;
  route.prune = router.prune;
  program_.emit(route, normed);

  const QMlp& any = b.experts.begin()->second;
  const TileParts fc1{{&any.fc1}, 1};
  const TileParts fc2{{&any.fc2}, 1};
  LoadExpertsOp load;
  load.mode = static_cast<std::uint32_t>(options_.mode);
  load.blocks1 = u(fc1.blocks(a_));
  load.blocks2 = u(fc2.blocks(a_));
  load.words1 = load.blocks1 * u(fc1.row_words(a_));
  load.words2 = load.blocks2 * u(fc2.row_words(a_));
  load.slot_words = std::max(load.words1, load.words2);
  load.slot_params = std::max(load.blocks1, load.blocks2);
  load.second = u(static_cast<int>(tile_bytes(a_, fc1.row_words(a_), fc1.blocks(a_)) / Array::kBeatBytes));
  load.stride =
      load.second + u(static_cast<int>(tile_bytes(a_, fc2.row_words(a_), fc2.blocks(a_)) / Array::kBeatBytes));
  // All experts of the layer lie at one stride; those that no task may choose are zeros.
  const std::size_t stride = std::size_t{load.stride} * Array::kBeatBytes;
  const std::size_t all = stride * size(m_.moe->num_experts);
  load.ddr = load.stride * u(router.first) + image_.add(block_name(block) + "experts", all, [&] {
    std::vector<std::byte> bytes(all);
    for (const auto& [e, w] : b.experts) {
      const std::vector<std::byte> first = pack_tile({{&w.fc1}, 1}, a_, 0, fc1.blocks(a_));
      const std::vector<std::byte> second = pack_tile({{&w.fc2}, 1}, a_, 0, fc2.blocks(a_));
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(stride * static_cast<std::size_t>(e));
      std::copy(first.begin(), first.end(), at);
      std::copy(second.begin(), second.end(), at + static_cast<std::ptrdiff_t>(first.size()));
    }
    return bytes;
  });
  // Slots take the memory from its start (keys and values are done with), and leave room for the next block's first
  // tile where that does not cost the second pair.
  const auto slot = static_cast<int>(load.slot_words);
  int slots = a_.weight_words / slot;
  slots = std::min(slots, a_.param_words / static_cast<int>(load.slot_params));
  if (slots < 2) {
    refuse(block_name(block) + "experts, one's two halves", "weight memory", 2 * slot, a_.weight_words);
  }
  const int beside = (a_.weight_words - 3 * head_words_ * dim_) / slot;
  slots = std::min({slots, std::max(beside, 2), Array::kMostSlots});
  if (options_.expert_slots > 0) slots = std::min(slots, options_.expert_slots);
  if (!options_.overlap) slots = 1;
  load.slots = u(slots);
  used_.weight_words = std::max(used_.weight_words, slots * slot);
  used_.param_words = std::max(used_.param_words, slots * static_cast<int>(load.slot_params));
  weights_.restart(slots * slot);

  ExpertsOp compute;
  compute.act = static_cast<std::uint32_t>(Act::kTable);
  compute.table = constants.table;
  compute.row_words1 = u(fc1.row_words(a_));
  compute.blocks1 = load.blocks1;
  compute.row_words2 = u(fc2.row_words(a_));
  compute.blocks2 = load.blocks2;
  compute.src = norm_base_;
  compute.src_stride = u(dim_);
  compute.hidden = mix_base_;
  compute.hidden_stride = load.blocks1;
  compute.res_stride = u(dim_);
  program_.emit_experts(load, compute, u(tokens_));
  last_add_.reset();
}

Compiled compile(const QuantModel& model, const CompileOptions& options) {
  Compiled out;
  out.array = options.array;
  out.config = model.config;
  ImageBuilder image(options.layout_only);
  for (const int task : model.tasks) {
    out.programs.push_back(TaskCompiler(model, options, task, image, out.footprint).compile());
  }
  out.sections = image.sections();
  out.image_bytes = image.size();
  out.image = image.take();
  return out;
}

}  // namespace m3vit::accel
