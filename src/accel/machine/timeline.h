#pragma once
/// The cost model: cycles of a program from the engines' recurrences (engine_cycles.h), the waits of its ops, the fetch
/// of micro-ops and a DDR of stated rate and latency that serves reads in order. Modelled, not simulated: contention
/// for a memory's port is left out. It counts what the RTL counts (docs/accelerator.md §7), so that the two can be
/// compared number by number; bytes, MACs and tiles are exact, engines' cycles too where no port is contended.
#include <cstdint>
#include <functional>
#include <span>

#include "accel/compiler/array.h"
#include "accel/compiler/micro_op.h"
#include "accel/golden/golden.h"

namespace m3vit::accel {

struct CostModel {
  double clock_hz = 250e6;
  double ddr_bytes_per_cycle = 61.44;  ///< 19.2 GB/s · 0.8 at 250 MHz
  int ddr_latency = 60;                ///< cycles from a burst's address to its first beat
  bool experts_resident = false;       ///< every expert's tile lies on chip already, whatever room that takes
};

struct Timeline {
  double cycles = 0;
  double busy[kEngines] = {};
  double array_cycles = 0;   ///< in which the array multiplies
  double macs = 0;           ///< of valid rows, padding of channels included
  double wait_tile = 0;      ///< cycles in which GEMM has no tile to work with
  double expert_cycles = 0;  ///< GEMM's ops EXPERTS
  std::uint64_t weight_bytes = 0, expert_bytes = 0, data_bytes = 0, program_bytes = 0, written_bytes = 0;  ///< DDR
  std::uint64_t weight_read = 0, act_read = 0, res_read = 0, row_read = 0;  ///< bytes of the memories on chip
  std::uint64_t weight_written = 0, act_written = 0, res_written = 0, row_written = 0;
  std::uint64_t tiles_loaded = 0, tiles_found = 0, entries = 0, experts = 0;

  std::uint64_t ddr_bytes() const { return weight_bytes + expert_bytes + data_bytes + program_bytes + written_bytes; }
  std::uint64_t chip_bytes() const {
    return weight_read + act_read + res_read + row_read + weight_written + act_written + res_written + row_written;
  }
  /// Part of what the array could have done in `cycles`.
  double utilisation(const Array& array) const;
};

/// `entries(layer, op)`: the lists that the layer-th ROUTE makes. `program`: address of the first op (64-byte units).
Timeline timeline(std::span<const AnyOp> ops, const Array& array, const CostModel& cost,
                  const std::function<Entries(std::size_t layer, const RouteOp& op)>& entries,
                  std::uint32_t program = 0);

/// Every token's top_k different experts, drawn uniformly.
Entries uniform_entries(const RouteOp& op, std::uint64_t seed);

}  // namespace m3vit::accel
