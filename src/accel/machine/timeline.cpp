#include "accel/machine/timeline.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "accel/compiler/program_builder.h"
#include "accel/machine/expert_walk.h"
#include "core/rng.h"

namespace m3vit::accel {
namespace {

class Model {
 public:
  Model(const Array& array, const CostModel& cost, const std::function<Entries(std::size_t, const RouteOp&)>& entries)
      : a_(array), cost_(cost), make_entries_(entries) {}

  void step(const AnyOp& op) {
    const std::optional<Engine> engine = engine_of(op);
    const Waits& wait = waits_of(op);
    double start = 0.0;
    double chased_end = 0.0;
    const bool follows = std::visit(
        [](const auto& o) {
          if constexpr (requires { o.chase; }) return o.chase != 0;
          return false;
        },
        op);
    const std::size_t chased = engine == Engine::kVec ? 1 : 2;
    for (std::size_t e = 0; e < kEngines; ++e) {
      if (wait[e] > 0) start = std::max(start, finish_[e][wait[e] - 1]);
      if (follows && e == chased) {
        start = std::max(start, begin_[e][wait[e]] + 8.0);
        chased_end = finish_[e][wait[e]];
      }
    }
    if (!engine) {
      out_.cycles = start;
      return;
    }
    const auto e = static_cast<std::size_t>(*engine);
    start = std::max(start, free_[e]);
    begin_[e].push_back(start);
    tail_ = 0.0;
    start_ = start;
    const double duration = std::visit([this](const auto& o) { return cycles(o); }, op);
    double end = start + duration;
    if (follows) end = std::max(end, chased_end + 40.0);
    free_[e] = end;
    finish_[e].push_back(end + tail_);
    out_.busy[e] += duration;
    if (std::holds_alternative<ExpertsOp>(op)) {  // its partner ended with its last load
      free_[0] = load_end_;
      finish_[0].back() = load_end_ + cost_.ddr_latency;
      out_.expert_cycles += end - start;
    }
  }
  Timeline take() const { return out_; }

 private:
  double load(double bytes) {
    const double padded = std::ceil(bytes / Array::kBeatBytes) * Array::kBeatBytes;
    out_.ddr_bytes += static_cast<std::uint64_t>(padded);
    tail_ = cost_.ddr_latency;
    return padded / cost_.ddr_bytes_per_cycle;
  }
  double tile(double words, double blocks) const {
    return 8.0 * a_.width * blocks + double(a_.width) * a_.width * words;
  }
  double pass(double rows, double row_words, double blocks) {
    const double pairs = std::ceil(rows / Array::kRows);
    out_.array_cycles += pairs * blocks * row_words;
    out_.useful_macs += rows * blocks * row_words * a_.width * a_.width;
    return 2 * row_words + pairs * std::max(blocks * std::max(row_words, 2.0), 2 * row_words) + cost_.pass_latency;
  }

  double cycles(const EndOp& /*op*/) { return 0.0; }
  double cycles(const TileOp& op) { return load(tile(op.words, op.blocks)); }
  double cycles(const CopyInOp& op) {
    const double word[] = {1.0 * a_.width, 2.0 * a_.width, 256.0, 256.0, 512.0, 8.0 * a_.width};
    return load(op.words * word[op.space % 6]);
  }
  double cycles(const CopyOutOp& op) { return load(op.words * (op.space == 0 ? 1.0 : 2.0) * a_.width); }
  double cycles(const LoadExpertsOp& op) {
    loading_ = op;
    return 0.0;
  }
  double cycles(const GemmOp& op) { return pass(op.rows, op.row_words, op.blocks); }
  double cycles(const AttendOp& op) {
    const double pairs = std::ceil(op.rows / double(Array::kRows));
    const double kb = op.key_blocks;
    const double hw = op.head_words;
    out_.array_cycles += pairs * 2 * kb * hw;
    out_.useful_macs += double(op.rows) * 2 * op.keys * hw * a_.width;
    return pairs * (kb * std::max(hw, 2.0) + hw * std::max(kb, 2.0)) + cost_.attend_latency;
  }
  double cycles(const RouteOp& op) {
    entries_ = make_entries_(layer_++, op);
    const double pairs = std::ceil(op.rows / double(Array::kRows));
    return std::max(pass(op.rows, op.row_words, op.blocks), pairs * 2 * op.experts) + cost_.route_latency;
  }
  double cycles(const ExpertsOp& op) {
    const LoadExpertsOp& l = *loading_;
    std::vector<double> slot_free(l.slots, begin_[0].back());
    double loader = begin_[0].back();
    double now = start_;
    for (const WorkItem& item : expert_walk(static_cast<ExpertMode>(l.mode), entries_, static_cast<int>(l.slots))) {
      const bool second = item.half == 1;
      double ready = 0.0;
      if (item.load) {
        const double bytes = second ? tile(l.words2, l.blocks2) : tile(l.words1, l.blocks1);
        loader = std::max(loader, slot_free[static_cast<std::size_t>(item.slot)]) + load(bytes);
        ready = loader + cost_.ddr_latency;
        out_.expert_bytes += static_cast<std::uint64_t>(bytes);
        ++out_.tiles_loaded;
      }
      const auto rows = static_cast<double>(item.rows.size());
      now = std::max(now, ready) +
            (second ? pass(rows, op.row_words2, op.blocks2) : pass(rows, op.row_words1, op.blocks1));
      slot_free[static_cast<std::size_t>(item.slot)] = now;
    }
    load_end_ = loader;
    tail_ = 0.0;
    return now - start_;
  }
  double cycles(const NormOp& op) { return op.rows * std::max(2.0 * op.words, 6.0) + cost_.norm_latency; }
  double cycles(const UpsampleOp& op) { return 4.0 * op.rows * 2 * op.width * op.words + cost_.norm_latency; }

  const Array& a_;
  const CostModel& cost_;
  const std::function<Entries(std::size_t, const RouteOp&)>& make_entries_;
  std::vector<double> begin_[kEngines], finish_[kEngines];
  double free_[kEngines] = {};
  double start_ = 0.0, tail_ = 0.0, load_end_ = 0.0;
  std::optional<LoadExpertsOp> loading_;
  Entries entries_;
  std::size_t layer_ = 0;
  Timeline out_;
};

}  // namespace

double Timeline::utilisation(const Array& array) const {
  return useful_macs / (cycles * array.width * array.width * Array::kRows);
}

Timeline timeline(std::span<const AnyOp> ops, const Array& array, const CostModel& cost,
                  const std::function<Entries(std::size_t layer, const RouteOp& op)>& entries) {
  Model model(array, cost, entries);
  for (const AnyOp& op : ops) model.step(op);
  return model.take();
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
