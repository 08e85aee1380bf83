#pragma once
/// Whole models in simulation, every task, head and all: compiled by the accelerator's compiler, equal to the golden
/// model bit for bit.
#include <exception>
#include <string>
#include <vector>

#include "accel/machine_case.h"
#include "accel8.h"
#include "rtl/run_image.h"

namespace m3vit::rtl {

/// The array of these tests: the shipped memories at width 8.
inline accel::Array narrow_array() {
  accel::Array array;
  array.width = 8;
  return array;
}

inline void expect_equal(const accel::QuantisedCase& c, const accel::Compiled& compiled, DdrModel ddr) {
  for (const accel::TaskProgram& program : compiled.programs) {
    SCOPED_TRACE("task " + c.model.config.tasks[static_cast<std::size_t>(program.task)].name);
    const accel::GoldenFrame want = accel::golden_run(c.model, program.task, c.pixels);
    std::vector<std::byte> image = compiled.image;
    accel::write_input(compiled, program, c.pixels, image);
    const Counters counters = run_image<accel8>(image, program.program, ddr, 20'000'000);
    ASSERT_EQ(accel::read_output(compiled, program, image), want.output);
    EXPECT_EQ(counters[kClamped], want.clamped);
    std::size_t entries = 0;
    for (const accel::Entries& layer : want.routing) entries += layer.size();
    EXPECT_EQ(counters[kEntries], entries);
  }
}

inline void expect_equal_on_random_configuration(std::uint32_t seed, accel::ExpertMode mode, DdrModel ddr) {
  SCOPED_TRACE("repeat: M3VIT_SEED=" + std::to_string(seed));
  const accel::QuantisedCase c = accel::quantised_case(naive::random_config(seed), seed);
  try {
    expect_equal(c, accel::compile(c.model, {narrow_array(), mode}), ddr);
  } catch (const std::exception& e) {
    ADD_FAILURE() << e.what();  // under the trace that names the seed
  }
}

}  // namespace m3vit::rtl
