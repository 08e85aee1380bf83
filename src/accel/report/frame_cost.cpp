#include "accel/report/frame_cost.h"

#include <algorithm>

#include "core/error.h"

namespace m3vit::accel {

std::vector<AnyOp> encoder_ops(const TaskProgram& program) {
  std::vector<AnyOp> ops(program.ops.begin(), program.ops.begin() + static_cast<std::ptrdiff_t>(program.encoder_ops));
  Waits count{};
  for (const AnyOp& op : ops) ++count[static_cast<std::size_t>(*engine_of(op))];
  ops.emplace_back(EndOp{count});
  return ops;
}

FrameCost encoder_cost(const QuantModel& model, CompileOptions options, const CostModel& cost, std::size_t task,
                       int chosen) {
  options.layout_only = true;
  const Compiled compiled = compile(model, options);
  const std::vector<AnyOp> ops = encoder_ops(compiled.programs.at(task));
  FrameCost frame;
  frame.array = options.array;
  frame.time = timeline(ops, options.array, cost, [&](std::size_t layer, RouteOp op) {
    if (chosen > 0) op.experts = std::min(op.experts, static_cast<std::uint32_t>(chosen));
    return uniform_entries(op, layer + 1);
  });
  frame.chip = chip_bytes(compiled.footprint, options.array);
  for (const AnyOp& op : ops) {
    if (const auto* load = std::get_if<LoadExpertsOp>(&op); load != nullptr && !frame.experts) frame.experts = *load;
  }
  return frame;
}

Array at_width(const Array& array, int width) {
  const auto resized = [&](int words) { return words * array.width / width; };
  Array a = array;
  a.width = width;
  a.weight_words = resized(resized(array.weight_words));  // of as many lanes as a word has bytes
  for (int Array::*const memory : {&Array::param_words, &Array::act_words, &Array::res_words, &Array::row_words,
                                   &Array::key_words, &Array::norm_words}) {
    a.*memory = resized(array.*memory);
  }
  return a;
}

Array least_array(const QuantModel& model, const Array& array, const CostModel& cost, double slack) {
  const double most = slack * encoder_cost(model, {.array = array}, cost).time.cycles;
  Array least = array;
  for (int Array::*const memory : {&Array::weight_words, &Array::param_words, &Array::act_words, &Array::res_words}) {
    const int step = std::max(1, array.*memory / 128);
    for (int too_few = 0; least.*memory - too_few > step;) {
      Array tried = least;
      tried.*memory = too_few + (least.*memory - too_few) / 2;
      bool enough = false;
      try {
        enough = encoder_cost(model, {.array = tried}, cost).time.cycles <= most;
      } catch (const Error&) {  // refused: too small
      }
      if (enough) {
        least = tried;
      } else {
        too_few = tried.*memory;
      }
    }
  }
  return least;
}

CostModel cost_at(double clock_hz, double bytes_per_second) {
  CostModel cost;
  cost.clock_hz = clock_hz;
  cost.ddr_bytes_per_cycle = std::min(double{Array::kBeatBytes}, bytes_per_second / clock_hz);
  return cost;
}

}  // namespace m3vit::accel
