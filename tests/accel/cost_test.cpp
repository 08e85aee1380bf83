/// What the accelerator promises at the published sizes on the shipped array, by the cost model that
/// tests/rtl/cost_test.cpp holds against the RTL; and what its switches cost.
#include <gtest/gtest.h>

#include "accel/machine_case.h"
#include "accel/report/frame_cost.h"
#include "accel/report/shape_model.h"

namespace m3vit::accel {
namespace {

FrameCost encoder(const Config& config, ExpertMode mode = ExpertMode::kExpert) {
  return encoder_cost(shape_model(config), {.array = kZcu104, .mode = mode}, {});
}

TEST(CostModel, TinyAndSmallKeepTheirBounds) {
  const FrameCost tiny = encoder(published_tiny());
  EXPECT_LE(tiny.time.cycles, 2.5e-3 * 250e6);
  EXPECT_GE(tiny.time.utilisation(kZcu104), 0.60);
  const FrameCost small = encoder(published_small());
  EXPECT_LE(small.time.cycles, 70e-3 * 250e6);
  EXPECT_GE(small.time.utilisation(kZcu104), 0.95);
  const FrameCost token = encoder(published_small(), ExpertMode::kToken);
  EXPECT_GE(token.time.cycles / small.time.cycles, 8.0);
  // one choice of one token: both halves of an expert
  EXPECT_EQ(token.time.tiles_loaded, 2U * 6 * 1025 * 4);
}

Config small_depth(int experts) {
  Config config = published_tiny();
  config.model.depth = 2;
  config.model.moe->num_experts = experts;
  return config;
}

TEST(CostModel, MemoryDoesNotGrowWithExperts) {
  const FrameCost few = encoder(small_depth(16));
  const FrameCost many = encoder(small_depth(1024));
  EXPECT_EQ(few.chip.total(), many.chip.total());
}

TEST(CostModel, LayoutWithoutAnImageIsTheImagesLayout) {
  for (const std::uint64_t seed : {1U, 2U, 5U}) {
    const QuantisedCase c = quantised_case(naive::random_config(seed), seed);
    Array array = small_array(seed);
    const Compiled whole = compile_for(c.model, array, ExpertMode::kExpert);
    const Compiled layout = compile(c.model, {.array = array, .layout_only = true});
    EXPECT_TRUE(layout.image.empty());
    EXPECT_EQ(layout.image_bytes, whole.image.size());
    ASSERT_EQ(layout.programs.size(), whole.programs.size());
    for (std::size_t p = 0; p < whole.programs.size(); ++p) {
      ASSERT_EQ(layout.programs[p].ops.size(), whole.programs[p].ops.size());
      for (std::size_t i = 0; i < whole.programs[p].ops.size(); ++i) {
        EXPECT_EQ(encode(layout.programs[p].ops[i]), encode(whole.programs[p].ops[i]));
      }
    }
  }
}

TEST(CostModel, ShapesAloneGiveTheProgramsOfTheModel) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const QuantisedCase c = quantised_case(naive::random_config(seed), seed);
    Array array = small_array(seed);
    const Compiled whole = compile_for(c.model, array, ExpertMode::kExpert);
    const Compiled shapes = compile(shape_model(c.model.config), {.array = array, .layout_only = true});
    EXPECT_EQ(shapes.image_bytes, whole.image.size()) << "seed " << seed;
    ASSERT_EQ(shapes.programs.size(), whole.programs.size());
    for (std::size_t p = 0; p < whole.programs.size(); ++p) {
      EXPECT_EQ(shapes.programs[p].ops.size(), whole.programs[p].ops.size()) << "seed " << seed;
      EXPECT_EQ(shapes.programs[p].encoder_ops, whole.programs[p].encoder_ops);
    }
  }
}

TEST(CostModel, SwitchesCostCyclesAndChangeNoResult) {
  const std::uint64_t seed = 6;
  const QuantisedCase c = quantised_case(naive::random_config(seed), seed);
  Array array = small_array(seed);
  compile_for(c.model, array, ExpertMode::kExpert);
  const GoldenFrame want = golden_run(c.model, c.model.tasks[0], c.pixels);
  double last = 0;
  for (CompileOptions options : {CompileOptions{.array = array}, CompileOptions{.array = array, .chase = false},
                                 CompileOptions{.array = array, .overlap = false}}) {
    const Compiled compiled = compile(c.model, options);
    const Outcome got = run_machine(compiled, compiled.programs[0], c.pixels, seed);
    EXPECT_EQ(got.output, want.output);
    const double cycles = timeline(compiled.programs[0].ops, array, {}, [&](std::size_t layer, const RouteOp&) {
                            return got.routing[layer];
                          }).cycles;
    EXPECT_GE(cycles, last);
    last = cycles;
  }
}

}  // namespace
}  // namespace m3vit::accel
