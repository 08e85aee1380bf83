#include "accel/machine/machine.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "accel/compiler/program_builder.h"
#include "accel/machine/expert_walk.h"
#include "core/error.h"
#include "core/rng.h"

namespace m3vit::accel {
namespace {

std::size_t padded(std::size_t bytes) {
  return (bytes + Array::kBeatBytes - 1) / Array::kBeatBytes * Array::kBeatBytes;
}

template <class T>
void fill_garbage(std::vector<T>& memory, std::size_t n, Rng& rng) {
  memory.resize(n);
  for (T& v : memory) v = static_cast<T>(rng.next());
}

[[noreturn]] void fail(const std::string& op, const std::string& wanted, const std::string& found) {
  throw Error{{.where = "accelerator", .field = op, .wanted = wanted, .found = found, .hint = {}}};
}

constexpr std::int64_t kZeroWord = -1;

}  // namespace

/// One pass over the array: where row r's word i lies (kZeroWord: zeros), and where a block's sums of a row go.
struct Machine::Pass {
  std::uint32_t rows, row_words, blocks, weight;
  std::function<std::int64_t(std::uint32_t r, std::uint32_t i)> source;
  std::function<void(std::uint32_t r, std::uint32_t b, const std::int32_t* sums)> sink;
};

Machine::Machine(const Array& array, std::span<std::byte> ddr)
    : a_(array), w_(static_cast<std::size_t>(array.width)), ddr_(ddr) {
  Rng rng(0x6172626167656721ULL);
  fill_garbage(weights_, w_ * w_ * static_cast<std::size_t>(a_.weight_words), rng);
  for (std::int16_t& v : weights_) v = sat8(static_cast<std::int8_t>(v));
  fill_garbage(params_, w_ * static_cast<std::size_t>(a_.param_words), rng);
  fill_garbage(act_, w_ * static_cast<std::size_t>(a_.act_words), rng);
  fill_garbage(res_, w_ * static_cast<std::size_t>(a_.res_words), rng);
  fill_garbage(norm_, w_ * static_cast<std::size_t>(a_.norm_words), rng);
  for (ActTable& t : tables_) t.fill(85);
}

void Machine::run(std::uint32_t program, std::optional<std::uint64_t> seed) {
  routing_.clear();
  counters_ = {};
  loading_.reset();
  std::deque<AnyOp> queues[kEngines];
  Waits done{};
  std::optional<EndOp> end;
  for (std::size_t at = std::size_t{program} * Array::kBeatBytes; !end; at += Array::kBeatBytes) {
    if (at + Array::kBeatBytes > ddr_.size()) fail("program", "an END", "the image's end");
    MicroOp words;
    std::memcpy(words.data(), ddr_.data() + at, sizeof(words));
    const std::optional<AnyOp> op = decode(words);
    if (!op) fail("program", "a known micro-op", "opcode " + std::to_string(words[0] & 0xFFU));
    counters_.program_bytes += Array::kBeatBytes;
    if (const std::optional<Engine> engine = engine_of(*op)) {
      queues[static_cast<std::size_t>(*engine)].push_back(*op);
    } else {
      end = std::get<EndOp>(*op);
    }
  }
  // Program order is the one that always takes the op whose turn came first; a seed takes any that may run.
  Rng rng(seed.value_or(0));
  const auto ready = [&](std::size_t e) {
    if (queues[e].empty()) return false;
    const AnyOp& op = queues[e].front();
    Waits wait = waits_of(op);
    std::visit(
        [&](const auto& o) {  // a chased op is over here, not running
          if constexpr (requires { o.chase; }) {
            if (o.chase != 0)
              ++wait[static_cast<std::size_t>(*engine_of(op) == Engine::kVec ? Engine::kGemm : Engine::kVec)];
          }
        },
        op);
    for (std::size_t i = 0; i < kEngines; ++i) {
      if (done[i] < wait[i]) return false;
    }
    if (std::holds_alternative<ExpertsOp>(op)) return loading_.has_value();
    return !(std::holds_alternative<LoadExpertsOp>(op) && loading_);
  };
  for (;;) {
    std::size_t able[kEngines];
    std::size_t n = 0;
    for (std::size_t e = 0; e < kEngines; ++e) {
      if (ready(e)) able[n++] = e;
    }
    if (n == 0) break;
    const std::size_t e = able[seed ? rng.below(n) : 0];
    const AnyOp op = queues[e].front();
    check(op);
    execute(op);
    if (observe) observe(op);
    if (std::holds_alternative<LoadExpertsOp>(op)) continue;  // it ends with its partner
    queues[e].pop_front();
    ++done[e];
    if (!std::holds_alternative<ExpertsOp>(op)) continue;
    queues[static_cast<std::size_t>(Engine::kLoad)].pop_front();
    ++done[static_cast<std::size_t>(Engine::kLoad)];
    loading_.reset();
  }
  for (std::size_t e = 0; e < kEngines; ++e) {
    if (!queues[e].empty()) fail(disassemble(queues[e].front()), "waits that are met", "a deadlock");
    if (done[e] < end->wait[e]) fail("END", "waits that are met", "a deadlock");
  }
}

void Machine::check(const AnyOp& op) const {
  const auto sizes = [&](Memory m) -> std::uint64_t {
    switch (m) {
      case Memory::kWeights:
        return static_cast<std::uint64_t>(a_.weight_words);
      case Memory::kParams:
        return static_cast<std::uint64_t>(a_.param_words);
      case Memory::kAct:
        return static_cast<std::uint64_t>(a_.act_words);
      case Memory::kRes:
        return static_cast<std::uint64_t>(a_.res_words);
      case Memory::kNorm:
        return static_cast<std::uint64_t>(a_.norm_words);
      case Memory::kTables:
        return 3;
      case Memory::kLists:
        return 1;
      case Memory::kDdr:
        break;
    }
    return ddr_.size() / Array::kBeatBytes;
  };
  for (const Access& access : accesses(op, a_, tokens_)) {
    if (access.end > sizes(access.memory)) {
      fail(disassemble(op), "addresses below " + std::to_string(sizes(access.memory)), std::to_string(access.end));
    }
  }
}

void Machine::execute(const AnyOp& op) {
  std::visit([this](const auto& o) { execute(o); }, op);
}

std::uint64_t Machine::load_tile(std::uint32_t unit, std::uint32_t words, std::uint32_t blocks, std::uint32_t weight,
                                 std::uint32_t param) {
  const std::byte* from = ddr_.data() + std::size_t{unit} * Array::kBeatBytes;
  std::memcpy(params_.data() + std::size_t{param} * w_, from, 8 * w_ * blocks);
  const std::size_t head = padded(8 * w_ * blocks);
  for (std::size_t word = 0; word < words; ++word) {
    for (std::size_t lane = 0; lane < w_; ++lane) {
      const std::byte* bytes = from + head + (word * w_ + lane) * w_;
      std::transform(bytes, bytes + w_, weight_word(lane, weight + word),
                     [](std::byte b) { return static_cast<std::int8_t>(b); });
    }
  }
  return head + padded(w_ * w_ * words);
}

void Machine::execute(const TileOp& op) {
  counters_.weight_bytes += load_tile(op.ddr, op.words, op.blocks, op.weight, op.param);
}

void Machine::execute(const CopyInOp& op) {
  const std::byte* from = ddr_.data() + std::size_t{op.ddr} * Array::kBeatBytes;
  std::size_t bytes = 0;
  void* to = nullptr;
  switch (static_cast<Space>(op.space)) {
    case Space::kAct:
      to = act_word(op.dst);
      bytes = op.words * w_;
      break;
    case Space::kRes:
      to = res_word(op.dst);
      bytes = op.words * w_ * 2;
      break;
    case Space::kNorm:
      to = norm_.data() + op.dst * w_;
      bytes = op.words * w_ * 8;
      break;
    case Space::kTable0:
    case Space::kTable1:
      to = tables_[op.space == static_cast<std::uint32_t>(Space::kTable1) ? 1 : 0].data();
      bytes = 256;
      break;
    case Space::kGateTable:
      to = gate_table_.data();
      bytes = 512;
      break;
  }
  if (to == nullptr) fail(disassemble(op), "a known space", std::to_string(op.space));
  std::memcpy(to, from, bytes);
  counters_.data_bytes += padded(bytes);
}

void Machine::execute(const CopyOutOp& op) {
  std::byte* to = ddr_.data() + std::size_t{op.ddr} * Array::kBeatBytes;
  const bool res = static_cast<Space>(op.space) == Space::kRes;
  const std::size_t bytes = op.words * w_ * (res ? 2 : 1);
  std::memset(to, 0, padded(bytes));
  std::memcpy(to, res ? static_cast<const void*>(res_word(op.src)) : act_word(op.src), bytes);
  counters_.written_bytes += padded(bytes);
}

void Machine::multiply(const Pass& pass) {
  std::vector<std::int16_t> row(pass.row_words * w_);
  std::vector<std::int32_t> sums(w_);
  for (std::uint32_t r = 0; r < pass.rows; ++r) {
    for (std::uint32_t i = 0; i < pass.row_words; ++i) {
      const std::int64_t word = pass.source(r, i);
      if (word == kZeroWord) {
        std::fill_n(row.data() + i * w_, w_, std::int16_t{0});
      } else {
        std::copy_n(act_word(static_cast<std::uint64_t>(word)), w_, row.data() + i * w_);
      }
    }
    for (std::uint32_t b = 0; b < pass.blocks; ++b) {
      for (std::size_t lane = 0; lane < w_; ++lane) {
        const std::int16_t* weight = weight_word(lane, pass.weight + std::uint64_t{b} * pass.row_words);
        std::int32_t sum = 0;
        for (std::size_t k = 0; k < row.size(); ++k) sum += row[k] * weight[k];
        sums[lane] = sum;
      }
      pass.sink(r, b, sums.data());
    }
  }
  counters_.macs += std::uint64_t{pass.rows} * pass.row_words * w_ * pass.blocks * w_;
}

void Machine::post_act(const std::int32_t* sums, std::uint32_t word, Act act, std::uint32_t table,
                       std::int8_t* out) const {
  for (std::size_t lane = 0; lane < w_; ++lane) {
    out[lane] = activate(sat8(requantise(sums[lane], param(lane, word))), act, tables_[table]);
  }
}
void Machine::post_res(const std::int32_t* sums, std::uint32_t word, std::uint16_t gate, bool add, std::int16_t* out) {
  for (std::size_t lane = 0; lane < w_; ++lane) {
    const std::int64_t y = requantise(sums[lane], param(lane, word));
    out[lane] = add ? add_residual(out[lane], gated(y, gate), counters_.clamped) : sat16(y);
  }
}

void Machine::execute(const GemmOp& op) {
  Pass pass{op.rows, op.row_words, op.blocks, op.weight, {}, {}};
  if (op.conv != 0) {
    if (op.row_words != 9 * op.src_stride || op.width == 0) {
      fail(disassemble(op), "rows of nine pixels", std::to_string(op.row_words));
    }
    pass.source = [&](std::uint32_t r, std::uint32_t i) -> std::int64_t {
      const std::uint32_t tap = i / op.src_stride;
      const std::int64_t y = std::int64_t{op.dst_row} + r / op.width + tap / 3 - 1;
      const std::int64_t x = std::int64_t{r % op.width} + tap % 3 - 1;
      if (y < 0 || y >= op.height || x < 0 || x >= op.width) return kZeroWord;
      return op.src + ((y - op.src_row) * op.width + x) * op.src_stride + i % op.src_stride;
    };
  } else {
    pass.source = [&](std::uint32_t r, std::uint32_t i) { return std::int64_t{op.src} + r * op.src_stride + i; };
  }
  const auto act = static_cast<Act>(op.act);
  const auto dst = [&](std::uint32_t r, std::uint32_t b) {
    return std::uint64_t{op.dst_address} + r * op.dst_stride + b;
  };
  if (op.kv != 0) {
    pass.sink = [&](std::uint32_t r, std::uint32_t b, const std::int32_t* sums) {
      if (b < op.k_block) {
        post_act(sums, op.param + b, act, op.table, act_word(dst(r, b)));
        return;
      }
      std::vector<std::int8_t> word(w_);
      post_act(sums, op.param + b, act, op.table, word.data());
      const std::size_t t = op.first_row + r;
      if (b < op.v_block) {
        std::copy_n(word.data(), w_, weight_word(t % w_, op.key + t / w_ * op.head_words + (b - op.k_block)));
      } else {
        const std::uint64_t at = op.value + std::uint64_t{b - op.v_block} * op.key_blocks + t / w_;
        for (std::size_t lane = 0; lane < w_; ++lane) weight_word(lane, at)[t % w_] = word[lane];
      }
    };
  } else if (op.dst == static_cast<std::uint32_t>(Dst::kAct)) {
    pass.sink = [&](std::uint32_t r, std::uint32_t b, const std::int32_t* sums) {
      post_act(sums, op.param + b, act, op.table, act_word(dst(r, b)));
    };
  } else {
    pass.sink = [&](std::uint32_t r, std::uint32_t b, const std::int32_t* sums) {
      post_res(sums, op.param + b, kGateOne, op.dst == static_cast<std::uint32_t>(Dst::kResAdd), res_word(dst(r, b)));
    };
  }
  multiply(pass);
}

void Machine::execute(const AttendOp& op) {
  if (op.keys == 0 || op.keys > op.key_blocks * w_ || op.gain < (1U << 14U) || op.gain >= (1U << 15U) ||
      op.shift_out < 20) {
    fail(disassemble(op), "keys, a gain of 2^14 … 2^15 and a shift of 20 at least", std::to_string(op.gain));
  }
  const Param score{0, static_cast<std::uint16_t>(op.mul), static_cast<std::uint8_t>(op.shift)};
  std::vector<std::int16_t> scores(op.key_blocks * w_);
  std::vector<std::uint8_t> p(scores.size());
  std::vector<std::int8_t> out(op.head_words * w_);
  for (std::uint32_t r = 0; r < op.rows; ++r) {
    const std::int8_t* q = act_word(op.src + std::uint64_t{r} * op.src_stride);
    for (std::size_t j = 0; j < op.keys; ++j) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < op.head_words; ++i) {
        const std::int16_t* k = weight_word(j % w_, op.key + j / w_ * op.head_words + i);
        for (std::size_t n = 0; n < w_; ++n) sum += q[i * w_ + n] * k[n];
      }
      scores[j] = sat16(requantise(sum, score));
    }
    const std::uint32_t total = softmax_row(std::span(scores).first(op.keys), p);
    std::fill(p.begin() + op.keys, p.end(), std::uint8_t{0});
    const Reciprocal share = reciprocal(total, op.gain);
    for (std::size_t c = 0; c < out.size(); ++c) {
      std::int32_t sum = 0;
      for (std::size_t j = 0; j < op.key_blocks; ++j) {
        const std::int16_t* v = weight_word(c % w_, op.value + c / w_ * op.key_blocks + j);
        for (std::size_t n = 0; n < w_; ++n) sum += p[j * w_ + n] * v[n];
      }
      out[c] = sat8(rshift(std::int64_t{sum} * share.r, static_cast<int>(op.shift_out) - share.n));
    }
    std::memcpy(act_word(op.dst_address + std::uint64_t{r} * op.dst_stride), out.data(), out.size());
  }
  counters_.macs += std::uint64_t{op.rows} * op.key_blocks * op.head_words * w_ * w_ * 2;
}

void Machine::execute(const RouteOp& op) {
  if (op.experts == 0 || op.top_k == 0 || op.top_k > op.experts || op.experts > op.blocks * w_ ||
      op.rows * op.top_k > static_cast<std::uint32_t>(a_.list_entries)) {
    fail(disassemble(op), "1 … experts chosen and lists that hold them", std::to_string(op.top_k));
  }
  entries_.clear();
  tokens_ = op.rows;
  const QRouter router{{},
                       0,
                       {0, static_cast<std::uint16_t>(op.mul), static_cast<std::uint8_t>(op.shift)},
                       static_cast<std::uint16_t>(op.prune)};
  std::vector<std::int32_t> logits(op.blocks * w_);
  multiply({op.rows, op.row_words, op.blocks, op.weight,
            [&](std::uint32_t r, std::uint32_t i) { return std::int64_t{op.src} + r * op.src_stride + i; },
            [&](std::uint32_t r, std::uint32_t b, const std::int32_t* sums) {
              for (std::size_t lane = 0; lane < w_; ++lane) {
                logits[b * w_ + lane] = sums[lane] + param(lane, op.param + b).bias;
              }
              if (b + 1 < op.blocks) return;
              const Entries chosen = route(std::span(logits).first(op.experts), static_cast<int>(op.top_k), router,
                                           gate_table_, static_cast<int>(r));
              entries_.insert(entries_.end(), chosen.begin(), chosen.end());
            }});
  routing_.push_back(entries_);
  counters_.entries += entries_.size();
}

void Machine::execute(const LoadExpertsOp& op) { loading_ = op; }

void Machine::execute(const ExpertsOp& op) {
  const LoadExpertsOp& load = *loading_;
  const auto mode = static_cast<ExpertMode>(load.mode);
  int last_expert = -1;
  for (const WorkItem& item : expert_walk(mode, entries_, static_cast<int>(load.slots))) {
    const std::uint32_t weight = load.weight + static_cast<std::uint32_t>(item.slot) * load.slot_words;
    const std::uint32_t parameters = load.param + static_cast<std::uint32_t>(item.slot) * load.slot_params;
    const bool second = item.half == 1;
    if (item.load) {
      const std::uint32_t unit =
          load.ddr + static_cast<std::uint32_t>(item.expert) * load.stride + (second ? load.second : 0);
      const std::uint32_t words = second ? load.words2 : load.words1;
      const std::uint32_t blocks = second ? load.blocks2 : load.blocks1;
      if (unit + padded(8 * w_ * blocks) / Array::kBeatBytes + padded(w_ * w_ * words) / Array::kBeatBytes >
          ddr_.size() / Array::kBeatBytes) {
        fail(disassemble(load), "experts inside the image", std::to_string(unit));
      }
      counters_.expert_bytes += load_tile(unit, words, blocks, weight, parameters);
    }
    ++(item.load ? counters_.tiles_loaded : counters_.tiles_found);
    if (mode == ExpertMode::kExpert && item.expert != std::exchange(last_expert, item.expert)) ++counters_.experts;
    const auto rows = static_cast<std::uint32_t>(item.rows.size());
    if (!second) {
      multiply({rows, op.row_words1, op.blocks1, weight,
                [&](std::uint32_t r, std::uint32_t i) {
                  return std::int64_t{op.src} + std::int64_t{entries_[item.rows[r]].token} * op.src_stride + i;
                },
                [&](std::uint32_t r, std::uint32_t b, const std::int32_t* sums) {
                  post_act(sums, parameters + b, static_cast<Act>(op.act), op.table,
                           act_word(op.hidden + std::uint64_t{r} * op.hidden_stride + b));
                }});
      continue;
    }
    multiply({rows, op.row_words2, op.blocks2, weight,
              [&](std::uint32_t r, std::uint32_t i) { return std::int64_t{op.hidden} + r * op.hidden_stride + i; },
              [&](std::uint32_t r, std::uint32_t b, const std::int32_t* sums) {
                const Entry& e = entries_[item.rows[r]];
                post_res(sums, parameters + b, e.gate, true,
                         res_word(op.res + static_cast<std::uint64_t>(e.token) * op.res_stride + b));
              }});
  }
}

void Machine::execute(const NormOp& op) {
  if (op.eps == 0 || op.channels == 0 || op.channels > 4096) {
    fail(disassemble(op), "1 … 4096 channels and eps above 0", std::to_string(op.channels));
  }
  for (std::uint32_t r = 0; r < op.rows; ++r) {
    const std::int16_t* x = res_word(op.src + std::uint64_t{r} * op.src_stride);
    std::int8_t* y = act_word(op.dst_address + std::uint64_t{r} * op.dst_stride);
    RowStats s;
    for (std::size_t c = 0; c < op.words * w_; ++c) {
      s.sum += x[c];
      s.squares += std::int64_t{x[c]} * x[c];
    }
    const auto channels = static_cast<int>(op.channels);
    const InverseSqrt scale = norm_scale(s, channels, op.eps);
    for (std::size_t c = 0; c < op.words * w_; ++c) {
      y[c] = norm_affine(normalise(x[c], s, channels, scale), Param::from_bits(norm_[op.param * w_ + c]),
                         static_cast<int>(op.shift));
    }
  }
}

void Machine::execute(const UpsampleOp& op) {
  const auto at = [&](std::uint32_t y, std::uint32_t x) {
    return act_word(op.src + (std::uint64_t{y - op.src_row} * op.width + x) * op.words);
  };
  const auto far = [](std::uint32_t v, std::uint32_t n) {
    const std::uint32_t near = v / 2;
    return v % 2 == 0 ? (near == 0 ? 0 : near - 1) : std::min(near + 1, n - 1);
  };
  for (std::uint32_t r = 0; r < op.rows; ++r) {
    const std::uint32_t y = op.dst_row + r;
    const std::uint32_t fy = far(y, op.height);
    for (std::uint32_t x = 0; x < 2 * op.width; ++x) {
      const std::uint32_t fx = far(x, op.width);
      std::int8_t* to = act_word(op.dst_address + (std::uint64_t{r} * 2 * op.width + x) * op.words);
      for (std::size_t c = 0; c < op.words * w_; ++c) {
        to[c] = upsample(at(y / 2, x / 2)[c], at(y / 2, fx)[c], at(fy, x / 2)[c], at(fy, fx)[c]);
      }
    }
  }
}

}  // namespace m3vit::accel
