#pragma once
/// One frame's encoder (patches to the last block) on one array in one order of experts: compiled, counted, modelled.
#include <cstdint>
#include <optional>
#include <vector>

#include "accel/compiler/compile.h"
#include "accel/machine/timeline.h"
#include "accel/report/chip.h"
#include "accel/report/energy.h"

namespace m3vit::accel {

struct FrameCost {
  Timeline time;
  Array array;
  ChipBytes chip;
  std::optional<LoadExpertsOp> experts;  ///< the first layer's
};

/// The task's ops before its head, with an END that waits for them.
std::vector<AnyOp> encoder_ops(const TaskProgram& program);

/// Of `task`, an index into the programs; tokens choose their experts uniformly among the first `chosen` (0: all), the
/// same for every order. Throws Error where the model does not fit.
FrameCost encoder_cost(const QuantModel& model, CompileOptions options, const CostModel& cost, std::size_t task = 0,
                       int chosen = 0);

/// `array` at another width, every memory of as many bytes as before.
Array at_width(const Array& array, int width);

/// The array with its memories of weights, parameters, activations and residual made as small as the model allows (head
/// included) at no more than `slack` times the encoder's cycles in expert order.
Array least_array(const QuantModel& model, const Array& array, const CostModel& cost, double slack);

/// A DDR of `bytes_per_second` behind the 64-byte port of an array at `clock_hz`.
CostModel cost_at(double clock_hz, double bytes_per_second);

}  // namespace m3vit::accel
