#pragma once
/// Executes programs as the hardware does, op by op, on memories of the array's sizes, with the golden arithmetic: the
/// reference that the RTL runs in lock-step with. Engines are separate queues that only the ops' waits order; a seed
/// draws any order that those allow. Memories start with garbage, so that what is read before it was written shows.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "accel/compiler/array.h"
#include "accel/compiler/micro_op.h"
#include "accel/golden/golden.h"

namespace m3vit::accel {

/// As the hardware counts them (docs/accelerator.md §7).
struct Counters {
  std::uint64_t macs = 0;  ///< of valid rows, padding of channels included
  std::uint64_t weight_bytes = 0, expert_bytes = 0, data_bytes = 0, program_bytes = 0, written_bytes = 0;  ///< DDR
  std::uint64_t tiles_loaded = 0, tiles_found = 0, clamped = 0, entries = 0, experts = 0;
  bool operator==(const Counters&) const = default;
};

class Machine {
 public:
  /// `ddr`: the image; must outlive the machine.
  Machine(const Array& array, std::span<std::byte> ddr);

  /// From `program` (64-byte units) to its END. `seed`: draw the order of ops of different engines; without it, program
  /// order. Throws Error naming the op for one that is illegal or reaches outside a memory.
  void run(std::uint32_t program, std::optional<std::uint64_t> seed = {});

  const Counters& counters() const { return counters_; }
  /// Entries of the layers routed in the last run, experts as the router numbers them.
  const std::vector<Entries>& routing() const { return routing_; }
  std::span<const std::int8_t> act() const { return act_; }
  std::span<const std::int16_t> res() const { return res_; }

  /// Called after each op, in the order of execution (for comparing with the RTL op by op).
  std::function<void(const AnyOp& op)> observe;

 private:
  struct Pass;

  void check(const AnyOp& op) const;
  void execute(const AnyOp& op);
  void execute(const EndOp& /*op*/) {}
  void execute(const TileOp& op);
  void execute(const CopyInOp& op);
  void execute(const LoadExpertsOp& op);
  void execute(const GemmOp& op);
  void execute(const AttendOp& op);
  void execute(const RouteOp& op);
  void execute(const ExpertsOp& op);
  void execute(const NormOp& op);
  void execute(const UpsampleOp& op);
  void execute(const CopyOutOp& op);

  /// Weights and parameters of one tile; returns its bytes.
  std::uint64_t load_tile(std::uint32_t unit, std::uint32_t words, std::uint32_t blocks, std::uint32_t weight,
                          std::uint32_t param);
  void multiply(const Pass& pass);
  void post_act(const std::int32_t* sums, std::uint32_t param, Act act, std::uint32_t table, std::int8_t* out) const;
  void post_res(const std::int32_t* sums, std::uint32_t param, std::uint16_t gate, bool add, std::int16_t* out);

  std::int8_t* act_word(std::uint64_t word) { return act_.data() + word * w_; }
  std::int16_t* res_word(std::uint64_t word) { return res_.data() + word * w_; }
  std::int16_t* weight_word(std::size_t lane, std::uint64_t word) {
    return weights_.data() + (lane * static_cast<std::size_t>(a_.weight_words) + word) * w_;
  }
  Param param(std::size_t lane, std::uint64_t word) const { return Param::from_bits(params_[word * w_ + lane]); }

  Array a_;
  std::size_t w_;
  std::span<std::byte> ddr_;
  std::vector<std::int16_t> weights_;  ///< [lane][word][W]; int8 values, wide because compilers know that dot product
  std::vector<std::uint64_t> params_;  ///< [word][lane]
  std::vector<std::int8_t> act_;
  std::vector<std::int16_t> res_;
  std::vector<std::uint64_t> norm_;  ///< [word][W]
  ActTable tables_[2];
  GateTable gate_table_{};
  Entries entries_;
  std::uint32_t tokens_ = 0;  ///< of the lists
  std::optional<LoadExpertsOp> loading_;
  Counters counters_;
  std::vector<Entries> routing_;
};

}  // namespace m3vit::accel
