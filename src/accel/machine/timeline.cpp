#include "accel/machine/timeline.h"

#include <algorithm>
#include <cassert>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <queue>
#include <utility>
#include <vector>

#include "accel/compiler/program_builder.h"
#include "accel/machine/ddr_queue.h"
#include "accel/machine/expert_walk.h"
#include "accel/machine/op_traffic.h"
#include "core/rng.h"

namespace m3vit::accel {
namespace {

constexpr std::size_t kLoad = 0;
constexpr std::size_t kGemm = 1;
constexpr std::size_t kVec = 2;
constexpr std::size_t kQueue = 4;        // ops waiting for an engine
constexpr std::size_t kDescriptors = 4;  // transfers whose beats have not all come
constexpr std::size_t kItems = 8;        // work items waiting for their tile or for the array
constexpr std::int64_t kFetch = 8;       // ops of a burst
constexpr std::int64_t kAhead = 16;
constexpr Cycle kNever = INT64_MAX / 4;

bool chases(const AnyOp& op) {
  return std::visit(
      [](const auto& o) {
        if constexpr (requires { o.chase; }) return o.chase != 0;
        return false;
      },
      op);
}

/// One run. Time only goes forward: `at` plans a look at everything, `run` does what each cycle allows.
class Run {
 public:
  Run(std::span<const AnyOp> ops, const Array& array, const CostModel& cost,
      const std::function<Entries(std::size_t, const RouteOp&)>& entries, std::uint32_t program)
      : ops_(ops),
        a_(array),
        ddr_(cost.ddr_bytes_per_cycle, cost.ddr_latency),
        resident_(cost.experts_resident),
        make_entries_(entries),
        skip_(static_cast<std::int64_t>(program % kFetch)) {}

  Timeline run() {
    at(0);
    while (!ended_) {
      assert(!times_.empty());  // else the waits would never hold: a program bug
      now_ = times_.top();
      while (!times_.empty() && times_.top() == now_) times_.pop();
      serve();
      fetch();
      dispatch();
      for (std::size_t e = 0; e < kEngines; ++e) finish(e);
      for (std::size_t e = 0; e < kEngines; ++e) start(e);
      work();
      walk();
      close_walk();
      request();
    }
    return out_;
  }

 private:
  struct Engine {
    std::deque<std::pair<std::size_t, Cycle>> queue;  // op, from when it can be seen
    bool busy = false;
    Cycle began = 0, until = kNever;
    std::uint32_t begun = 0, done = 0;
    EngineRun last;  // of the op numbered begun - 1
  };
  struct Transfer {
    std::uint64_t address;
    std::int64_t beats;
    double gap;         // cycles a beat, at least
    std::int64_t tail;  // from the last beat on, until its last piece is written
  };
  struct Item {
    const WorkItem* work;  // nothing: the end
    Cycle seen;
  };

  void at(Cycle t) { times_.push(std::max(t, now_ + 1)); }

  // ---- DDR
  void serve() {
    while (!ddr_.idle() && ddr_.front_end() <= now_) {
      const Burst b = ddr_.front();
      const Cycle end = ddr_.front_end();
      ddr_.pop();
      if (b.program) {
        ++arrived_;
        out_.program_bytes += Array::kBeatBytes;
      } else if (b.ends_transfer) {
        landed(end + b.tail);
      }
      at(now_ + 1);
    }
    if (!ddr_.idle()) at(ddr_.front_end());
  }
  /// A transfer's last beat was taken, and cut into its pieces, at `end`.
  void landed(Cycle end) {
    --descriptors_;
    landed_ = end;
    if (walking_) {
      landings_.push_back(end + 2);
      at(end + 2);
    } else {
      engines_[kLoad].until = landed_ + 3;
      at(landed_ + 3);
    }
  }
  /// LOAD_EXPERTS is done when its last tile has come and its last item has left the walk.
  void close_walk() {
    if (!walking_ || !end_pushed_ || descriptors_ > 0 || engines_[kLoad].until != kNever) return;
    engines_[kLoad].until = std::max(pushed_, landed_) + 3;
    at(engines_[kLoad].until);
  }

  // ---- micro-ops
  void fetch() {
    const auto held = asked_ - static_cast<std::int64_t>(dispatched_);
    fetching_ = kAhead - held >= kFetch && ddr_.room();
    if (!fetching_) return;
    const std::int64_t beats = asked_ == 0 ? kFetch - skip_ : kFetch;
    asked_ += beats;
    for (std::int64_t i = 0; i < beats; ++i) {
      ddr_.ask({.asked = now_, .program = true, .ends_burst = i + 1 == beats});
    }
    at(ddr_.front_end());
    at(now_ + 1);
  }
  void dispatch() {
    if (dispatched_ >= ops_.size() || static_cast<std::int64_t>(dispatched_) >= arrived_ || now_ < next_dispatch_)
      return;
    const AnyOp& op = ops_[dispatched_];
    const std::optional<accel::Engine> engine = engine_of(op);
    if (!engine) {
      for (std::size_t e = 0; e < kEngines; ++e) {
        if (engines_[e].done < waits_of(op)[e]) return;
      }
      ended_ = true;
      out_.cycles = static_cast<double>(now_ + 1);
      return;
    }
    Engine& e = engines_[static_cast<std::size_t>(*engine)];
    if (e.queue.size() >= kQueue) return;
    e.queue.emplace_back(dispatched_++, now_ + 1);
    next_dispatch_ = now_ + 1;
    at(now_ + 1);
  }

  // ---- engines
  void finish(std::size_t e) {
    Engine& engine = engines_[e];
    if (!engine.busy || engine.until > now_) return;
    engine.busy = false;
    engine.until = kNever;
    if (e == kLoad) walking_ = false;
    ++engine.done;
    out_.busy[e] += static_cast<double>(now_ - engine.began - 1);
    at(now_);
  }
  bool may_start(std::size_t e, const AnyOp& op) const {
    const Waits& wait = waits_of(op);
    const std::size_t chased = e == kVec ? kGemm : kVec;
    for (std::size_t f = 0; f < kEngines; ++f) {
      const bool enough = f == chased && chases(op) ? engines_[f].begun > wait[f] && engines_[f].began < now_
                                                    : engines_[f].done >= wait[f];
      if (!enough) return false;
    }
    return true;
  }
  /// Rows of the op that this one chases, from this one's start on.
  RowsReady chased_rows(std::size_t e, const AnyOp& op) const {
    if (!chases(op)) return {};
    const std::size_t f = e == kVec ? kGemm : kVec;
    const Engine& other = engines_[f];
    const std::uint32_t number = waits_of(op)[f];
    if (other.done > number || number + 1 != other.begun) return {};
    const Cycle origin = other.began - now_;
    return [origin, &other](std::size_t row) {
      return origin + (row < other.last.rows_ready.size() ? std::min(other.last.rows_ready[row], other.last.done)
                                                          : other.last.done);
    };
  }
  void start(std::size_t e) {
    Engine& engine = engines_[e];
    if (engine.busy || engine.queue.empty() || engine.queue.front().second > now_) return;
    const AnyOp& op = ops_[engine.queue.front().first];
    if (!may_start(e, op)) return;
    engine.queue.pop_front();
    engine.busy = true;
    engine.began = now_;
    engine.last = {};
    const RowsReady ready = chased_rows(e, op);
    std::visit([&](const auto& o) { begin(engine, o, ready); }, op);
    ++engine.begun;
    count_op(op, a_, out_);
    at(now_ + 1);
    if (engine.until != kNever) at(engine.until);
  }
  void runs(Engine& engine, EngineRun run) {
    engine.until = now_ + run.done;
    engine.last = std::move(run);
  }

  void begin(Engine& /*engine*/, const EndOp& /*op*/, const RowsReady& /*ready*/) {}
  void begin(Engine& engine, const GemmOp& op, const RowsReady& ready) {
    runs(engine,
         pass_cycles({.rows = op.rows, .row_words = op.row_words, .blocks = op.blocks, .conv = op.conv != 0}, ready));
  }
  void begin(Engine& engine, const AttendOp& op, const RowsReady& /*ready*/) {
    runs(engine, attend_cycles(op.rows, op.head_words, op.key_blocks));
  }
  void begin(Engine& engine, const RouteOp& op, const RowsReady& ready) {
    entries_ = make_entries_(layer_++, op);
    std::vector<int> kept(op.rows);
    std::map<int, int> used;
    for (const Entry& e : entries_) {
      ++kept[static_cast<std::size_t>(e.token)];
      ++used[e.expert];
    }
    out_.entries += entries_.size();
    out_.experts += used.size();
    runs(engine, route_cycles(
                     {.rows = op.rows, .row_words = op.row_words, .blocks = op.blocks, .experts = op.experts},
                     static_cast<int>(op.top_k), [&](std::size_t row) { return kept[row]; }, ready));
  }
  void begin(Engine& engine, const NormOp& op, const RowsReady& ready) {
    runs(engine, norm_cycles(op.rows, op.words, ready));
  }
  void begin(Engine& engine, const UpsampleOp& op, const RowsReady& /*ready*/) {
    runs(engine, upsample_cycles(std::int64_t{op.rows} * 2 * op.width * op.words));
  }
  void begin(Engine& engine, const CopyOutOp& op, const RowsReady& /*ready*/) {
    const CopyShape shape = copy_shape(op.space, op.words, a_);
    ddr_.write(now_, shape.beats);
    runs(engine, store_cycles(shape.beats, shape.pieces, shape.last_pieces));
  }
  void begin(Engine& /*engine*/, const TileOp& op, const RowsReady& /*ready*/) {
    transfer({op.ddr, tile_beats(a_, op.words, op.blocks), 1, 0}, now_ + 2);
  }
  void begin(Engine& /*engine*/, const CopyInOp& op, const RowsReady& /*ready*/) {
    const CopyShape shape = copy_shape(op.space, op.words, a_);
    const bool cut = static_cast<Space>(op.space) != Space::kNorm;
    transfer({op.ddr, shape.beats, static_cast<double>(shape.pieces), cut ? shape.last_pieces : 0}, now_ + 2);
  }

  // ---- experts: the walk makes items and asks for their tiles, the array works them off
  void begin(Engine& /*engine*/, const LoadExpertsOp& op, const RowsReady& /*ready*/) {
    loading_ = op;
    items_ = expert_walk(static_cast<ExpertMode>(op.mode), entries_, static_cast<int>(op.slots));
    if (resident_) {
      for (WorkItem& item : items_) item.load = false;
    }
    walking_ = true;
    walked_ = 0;
    item_asked_ = end_pushed_ = false;
    free_slots_ = static_cast<std::int64_t>(op.slots);
    pending_.assign(op.slots, 0);
    walk_at_ = now_ + 1 + walk_cycles(0);
    at(walk_at_);
  }
  void begin(Engine& engine, const ExpertsOp& op, const RowsReady& /*ready*/) {
    computing_ = op;
    engine.until = kNever;
    next_item_ = now_ + 1;
    at(next_item_);
  }

  /// From the push of the item before (or the start) to the cycle in which item i may ask for its tile.
  Cycle walk_cycles(std::size_t i) const {
    const auto mode = static_cast<ExpertMode>(loading_->mode);
    if (i == items_.size()) return 2;
    const WorkItem& item = items_[i];
    Cycle scan = 0;
    if (mode == ExpertMode::kTokenCached) {
      scan = item.load ? static_cast<Cycle>(loading_->slots) : item.slot + 1;
    }
    if (item.half == 1) return 2 + scan;
    if (mode == ExpertMode::kExpert) {
      const int from = i == 0 ? 0 : items_[i - 1].expert + 1;
      return 5 + item.expert / 32 - from / 32;
    }
    if (mode == ExpertMode::kTokenPairs) {
      const int pair = entries_[item.rows[0]].token / 2;
      if (i > 0 && entries_[items_[i - 1].rows[0]].token / 2 == pair) return 4;
      const auto same = std::count_if(
          entries_.begin() + static_cast<std::ptrdiff_t>(item.rows[0]),
          entries_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(entries_.size(), item.rows[0] + 16)),
          [&](const Entry& e) { return e.token / 2 == pair; });
      return 4 + 2 * (static_cast<Cycle>(same) + 1);
    }
    return 5 + scan;
  }
  void walk() {
    if (!walking_ || end_pushed_ || now_ < walk_at_) return;
    if (walked_ == items_.size()) {
      if (fifo_.size() >= kItems) return;
      fifo_.push_back({nullptr, now_ + 1});
      end_pushed_ = true;
      at(now_ + 1);
      pushed_ = now_;
      return;
    }
    const WorkItem& item = items_[walked_];
    const auto slot = static_cast<std::size_t>(item.slot);
    if (!item_asked_ && item.load) {
      const bool cached = static_cast<ExpertMode>(loading_->mode) == ExpertMode::kTokenCached;
      if (cached ? pending_[slot] > 0 : free_slots_ == 0) return;
      if (descriptors_ >= kDescriptors || !transfers_.empty() || now_ < burst_free_) return;
      --free_slots_;
      const bool second = item.half == 1;
      transfer(
          {loading_->ddr + static_cast<std::uint64_t>(item.expert) * loading_->stride + (second ? loading_->second : 0),
           second ? tile_beats(a_, loading_->words2, loading_->blocks2)
                  : tile_beats(a_, loading_->words1, loading_->blocks1),
           1, 0},
          now_ + 1);
      ++out_.tiles_loaded;
      out_.weight_written +=
          std::uint64_t{second ? loading_->words2 : loading_->words1} * static_cast<std::uint64_t>(a_.width * a_.width);
      item_asked_ = true;
      walk_at_ = now_ + 1;
      at(walk_at_);
      return;
    }
    if (fifo_.size() >= kItems) return;
    if (!item.load) ++out_.tiles_found;
    ++pending_[slot];
    fifo_.push_back({&item, now_ + 1});
    ++walked_;
    item_asked_ = false;
    walk_at_ = now_ + walk_cycles(walked_);
    at(walk_at_);
    at(now_ + 1);
  }
  void work() {
    while (!returns_.empty() && returns_.front().first <= now_) {
      ++free_slots_;
      --pending_[returns_.front().second];
      returns_.pop_front();
      at(now_ + 1);
    }
    Engine& gemm = engines_[kGemm];
    if (!computing_ || now_ < next_item_) return;
    if (fifo_.empty() || fifo_.front().seen > now_) return;
    const Item item = fifo_.front();
    if (item.work != nullptr && item.work->load) {
      if (landings_.empty() || landings_.front() > now_) return;
      landings_.pop_front();
    }
    fifo_.pop_front();
    out_.wait_tile += static_cast<double>(now_ - next_item_);
    at(now_ + 1);
    if (item.work == nullptr) {
      gemm.until = now_ + 2;
      out_.expert_cycles += static_cast<double>(gemm.until - gemm.began);
      computing_.reset();
      at(gemm.until);
      return;
    }
    const bool second = item.work->half == 1;
    const std::int64_t words = second ? computing_->row_words2 : computing_->row_words1;
    const std::int64_t blocks = second ? computing_->blocks2 : computing_->blocks1;
    const auto rows = static_cast<std::int64_t>(item.work->rows.size());
    const EngineRun run = pass_cycles({.rows = rows, .row_words = words, .blocks = blocks, .by_token = true});
    count_expert_pass(rows, words, blocks, second, a_, out_);
    next_item_ = now_ + run.done - 1;  // no Finish between items
    returns_.emplace_back(next_item_, item.work->slot);
    at(next_item_);
  }

  // ---- requests of LOAD
  void transfer(const Transfer& t, Cycle from) {
    transfers_.push_back(t);
    ++descriptors_;
    ask_at_ = from;
    at(from);
    const auto bytes = static_cast<std::uint64_t>(t.beats) * 64;
    if (walking_) out_.expert_bytes += bytes;
  }
  void request() {
    if (transfers_.empty() || now_ < ask_at_ || fetching_ || !ddr_.room()) return;
    Transfer& t = transfers_.front();
    const std::int64_t page = 64 - static_cast<std::int64_t>(t.address % 64);
    const std::int64_t beats = std::min(page, t.beats);
    t.address += static_cast<std::uint64_t>(beats);
    t.beats -= beats;
    ddr_.ask({.asked = now_, .beats = beats, .gap = t.gap, .ends_transfer = t.beats == 0, .tail = t.tail});
    at(ddr_.front_end());
    ask_at_ = now_ + 1;
    if (t.beats == 0) {
      transfers_.pop_front();
      burst_free_ = now_ + 1;
    }
    at(now_ + 1);
  }

  std::span<const AnyOp> ops_;
  const Array& a_;
  DdrQueue ddr_;
  bool resident_;
  const std::function<Entries(std::size_t, const RouteOp&)>& make_entries_;
  Timeline out_;
  bool ended_ = false;
  Cycle now_ = -1;
  std::priority_queue<Cycle, std::vector<Cycle>, std::greater<>> times_;
  Engine engines_[kEngines];

  std::int64_t skip_;  // ops that the first burst is shorter by
  std::int64_t asked_ = 0, arrived_ = 0;
  std::size_t dispatched_ = 0;
  Cycle next_dispatch_ = 0;
  bool fetching_ = false;

  std::deque<Transfer> transfers_;
  std::size_t descriptors_ = 0;
  Cycle ask_at_ = 0, burst_free_ = 0, landed_ = 0, pushed_ = 0;

  std::size_t layer_ = 0;
  Entries entries_;
  std::optional<LoadExpertsOp> loading_;
  std::optional<ExpertsOp> computing_;
  std::vector<WorkItem> items_;
  std::deque<Item> fifo_;
  std::deque<Cycle> landings_;
  std::deque<std::pair<Cycle, int>> returns_;
  std::vector<int> pending_;
  std::int64_t free_slots_ = 0;
  std::size_t walked_ = 0;
  bool walking_ = false, item_asked_ = false, end_pushed_ = false;
  Cycle walk_at_ = 0, next_item_ = 0;
};

}  // namespace

double Timeline::utilisation(const Array& array) const {
  return macs / (cycles * array.width * array.width * Array::kRows);
}

Timeline timeline(std::span<const AnyOp> ops, const Array& array, const CostModel& cost,
                  const std::function<Entries(std::size_t layer, const RouteOp& op)>& entries, std::uint32_t program) {
  return Run(ops, array, cost, entries, program).run();
}

Entries uniform_entries(const RouteOp& op, std::uint64_t seed) {
  Rng rng{seed, 0xE47};
  Entries entries;
  std::vector<int> experts(op.experts);
  std::iota(experts.begin(), experts.end(), 0);
  for (std::uint32_t t = 0; t < op.rows; ++t) {
    for (std::uint32_t j = 0; j < op.top_k; ++j) {
      std::swap(experts[j], experts[j + rng.below(op.experts - j)]);
      entries.push_back({static_cast<int>(t), experts[j], kGateOne});
    }
  }
  return entries;
}

}  // namespace m3vit::accel
