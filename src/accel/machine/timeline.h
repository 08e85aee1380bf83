#pragma once
/// The cost model: cycles of a program from the formulas of docs/accelerator.md §4, the waits of its ops and a DDR of
/// stated rate and latency. Modelled, not simulated: contention for a memory's port is left out.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "accel/compiler/array.h"
#include "accel/compiler/micro_op.h"
#include "accel/golden/golden.h"

namespace m3vit::accel {

struct CostModel {
  double clock_hz = 250e6;
  double ddr_bytes_per_cycle = 61.44;  ///< 19.2 GB/s · 0.8 at 250 MHz
  double ddr_latency = 60;             ///< cycles
  double pass_latency = 40;            ///< of a GEMM pass: fill and drain of the pipeline
  double attend_latency = 200;
  double norm_latency = 60;
  double route_latency = 60;
};

struct Timeline {
  double cycles = 0;
  double busy[kEngines] = {};
  double array_cycles = 0;   ///< in which the array multiplies
  double useful_macs = 0;    ///< of valid rows
  double expert_cycles = 0;  ///< from a layer's list to its last pass, summed over layers
  std::uint64_t ddr_bytes = 0, expert_bytes = 0, tiles_loaded = 0;
  /// useful_macs of what the array could have done in `cycles`.
  double utilisation(const Array& array) const;
};

/// `entries(layer, op)`: the lists that the layer-th ROUTE makes.
Timeline timeline(std::span<const AnyOp> ops, const Array& array, const CostModel& cost,
                  const std::function<Entries(std::size_t layer, const RouteOp& op)>& entries);

/// Every token's top_k different experts, drawn uniformly.
Entries uniform_entries(const RouteOp& op, std::uint64_t seed);

}  // namespace m3vit::accel
