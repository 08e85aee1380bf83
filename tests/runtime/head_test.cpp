/// The head by its plan, alone, against plain double-precision loops: LayerNorm, convolutions, bilinear ×2, resize.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "core/error.h"
#include "runtime/packed_case.h"
#include "runtime/random_head.h"

namespace m3vit {
namespace {

using testing::RandomHead;
using testing::relative_error;
using testing::Runner;
using testing::size;

HeadShape random_shape(Rng& rng) {
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(rng.below(static_cast<std::uint64_t>(high - low + 1)));
  };
  HeadShape s;
  s.grid_h = rng.coin(0.2) ? 1 : between(1, 7);
  s.grid_w = rng.coin(0.2) ? 1 : between(1, 9);
  s.dim = size(between(1, 70));
  s.channels = size(rng.coin(0.3) ? 32 : between(1, 45));
  s.stages = between(1, 4);
  s.outputs = size(rng.coin(0.3) ? 1 : between(2, 40));
  const int up = 1 << s.stages;
  s.height = rng.coin(0.5) ? s.grid_h * up : between(1, 2 * s.grid_h * up);
  s.width = rng.coin(0.5) ? s.grid_w * up : between(1, 2 * s.grid_w * up);
  return s;
}

std::string describe(const HeadShape& s) {
  return "grid=" + std::to_string(s.grid_h) + "x" + std::to_string(s.grid_w) + " dim=" + std::to_string(s.dim) +
         " channels=" + std::to_string(s.channels) + " stages=" + std::to_string(s.stages) +
         " outputs=" + std::to_string(s.outputs) + " out=" + std::to_string(s.height) + "x" + std::to_string(s.width);
}

/// Relative to the largest value, as the runtime's contract: the chain amplifies nothing, its maps are of size one.
double bound(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return 1e-5;
    case Precision::kBf16:
      return 2e-2;
    case Precision::kInt8:
      return 6e-2;
  }
  return 0.0;
}

constexpr HeadForm kForms[] = {HeadForm::kDirect, HeadForm::kCommuted};
constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBf16, Precision::kInt8};

class Heads : public ::testing::TestWithParam<std::tuple<HeadForm, Precision>> {};

TEST_P(Heads, EqualTheNaiveReferenceOnRandomShapes) {
  const auto [form, precision] = GetParam();
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Rng rng(seed);
    const HeadShape shape = random_shape(rng);
    const RandomHead head(shape, precision, seed);
    Runner runner(shape, {form, precision}, 1 + static_cast<int>(seed % 3));
    EXPECT_LE(relative_error(runner.planes(head), head.reference()), bound(precision))
        << "seed=" << seed << ' ' << describe(shape);
  }
}

TEST_P(Heads, LinesAtATimeAndThreadsChangeNoBit) {
  const auto [form, precision] = GetParam();
  for (std::uint64_t seed = 100; seed < 110; ++seed) {
    Rng rng(seed);
    const HeadShape shape = random_shape(rng);
    const RandomHead head(shape, precision, seed);
    Runner reference(shape, {form, precision, 1}, 1);
    const std::vector<float> want = reference.planes(head);
    for (const int lines : {0, 2, 3, 100}) {
      for (const int threads : {1, 3}) {
        Runner runner(shape, {form, precision, lines}, threads);
        for (int again = 0; again < 2; ++again) {
          const std::vector<float> got = runner.planes(head);
          ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0)
              << "lines=" << lines << " threads=" << threads << " seed=" << seed << ' ' << describe(shape);
        }
      }
    }
  }
}

TEST_P(Heads, ClassMapIsTheFirstLargestChannel) {
  const auto [form, precision] = GetParam();
  for (std::uint64_t seed = 200; seed < 215; ++seed) {
    Rng rng(seed);
    const HeadShape shape = random_shape(rng);
    const RandomHead head(shape, precision, seed);
    Runner runner(shape, {form, precision}, 2);
    const std::vector<float> planes = runner.planes(head);
    const std::size_t pixels = size(shape.height) * size(shape.width);
    std::vector<std::uint8_t> want(pixels, 0);
    for (std::size_t p = 0; p < pixels; ++p) {
      for (std::size_t c = 1; c < shape.outputs; ++c) {
        if (planes[c * pixels + p] > planes[want[p] * pixels + p]) want[p] = static_cast<std::uint8_t>(c);
      }
    }
    EXPECT_EQ(runner.classes(head), want) << describe(shape);
  }
}

TEST_P(Heads, EveryInstructionSetMeetsTheBound) {
  const auto [form, precision] = GetParam();
  for (const Isa& isa : available_isas()) {
    const HeadShape shape{3, 5, 40, 36, 3, 7, 24, 40};
    const RandomHead head(shape, precision, 7);
    Runner runner(shape, {form, precision}, 1, isa.name);
    EXPECT_LE(relative_error(runner.planes(head), head.reference()), bound(precision)) << isa.name;
  }
}

std::string case_name(const ::testing::TestParamInfo<std::tuple<HeadForm, Precision>>& info) {
  const char* const forms[] = {"auto", "direct", "commuted"};
  const char* const precisions[] = {"f32", "bf16", "int8"};
  return std::string(forms[static_cast<int>(std::get<0>(info.param))]) + "_" +
         precisions[static_cast<int>(std::get<1>(info.param))];
}
INSTANTIATE_TEST_SUITE_P(Forms, Heads,
                         ::testing::Combine(::testing::ValuesIn(kForms), ::testing::ValuesIn(kPrecisions)), case_name);

/// The border of the upsampled map, where the commuted form has its own arithmetic: one stage after the first, weights
/// and tokens of one sign, so that a tap too many or too few cannot hide behind the map's largest value.
TEST(Head, BorderOfTheCommutedFormIsExactEverywhere) {
  for (const auto& [h, w] : {std::pair{1, 1}, {1, 4}, {4, 1}, {2, 2}, {3, 5}}) {
    const HeadShape shape{h, w, 8, 8, 2, 3, 4 * h, 4 * w};
    const RandomHead head(shape, Precision::kF32, size(17 * h + w));
    Runner runner(shape, {HeadForm::kCommuted}, 1);
    const std::vector<float> got = runner.planes(head);
    const std::vector<double> want = head.reference();
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 2e-5) << "grid " << h << 'x' << w << " line " << i / size(shape.width) << " column "
                                         << i % size(shape.width);
    }
  }
}

TEST(HeadPlan, MemoryGrowsWithTheWidthOnly) {
  const auto bytes = [](int h, int w, int lines) {
    Planner planner;
    const HeadPlan plan({h, w, 384, 256, 4, 40, 16 * h, 16 * w}, {HeadForm::kCommuted, Precision::kBf16, lines}, 2,
                        planner, 0, 0);
    planner.finish();
    return planner.arena_bytes();
  };
  EXPECT_EQ(bytes(32, 32, 0), bytes(128, 32, 0));
  EXPECT_LT(bytes(32, 32, 1), bytes(32, 32, 0));
  EXPECT_LT(bytes(32, 64, 1), 2 * bytes(32, 32, 1));
  EXPECT_LT(bytes(32, 32, 1), std::size_t{4} << 20U);  // its maps would be 67 MiB
}

TEST(Session, HeadFormsAgreeAndMeetTheContract) {
  for (const std::uint64_t seed : {3U, 17U, 40U}) {
    const naive::RandomCase c = naive::random_case(seed, /*margin=*/2e-5);
    const Model model = Model::from_bytes(testing::packed(c.config, c.weights), "test.m3v");
    for (const HeadForm form : kForms) {
      Session session = model.session({.threads = 2, .head_form = form});
      for (std::size_t t = 0; t < c.config.tasks.size(); ++t) {
        const std::vector<float> got = testing::run(session, model, c.config.tasks[t].name, testing::floats(c.image));
        EXPECT_LE(relative_error(got, c.results[t].raw), 1e-4) << "seed=" << seed;
      }
    }
  }
}

TEST(Session, ClassMapIsTheFirstLargestChannelOfTheOutput) {
  int seen = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const naive::RandomCase c = naive::random_case(seed, /*margin=*/2e-5);
    const Model model = Model::from_bytes(testing::packed(c.config, c.weights), "test.m3v");
    Session session = model.session({.threads = 2});
    const std::size_t pixels = size(model.height()) * size(model.width());
    std::vector<std::uint8_t> classes(pixels, 255);
    for (const TaskInfo& task : model.tasks()) {
      const std::vector<float> image = testing::floats(c.image);
      if (task.channels < 2) {
        EXPECT_THROW(session.run_classes(task.name, image, classes), Error);
        continue;
      }
      ++seen;
      const std::vector<float> planes = testing::run(session, model, task.name, image);
      session.run_classes(task.name, image, classes);
      for (std::size_t p = 0; p < pixels; ++p) {
        std::size_t want = 0;
        for (std::size_t i = 1; i < size(task.channels); ++i) {
          if (planes[i * pixels + p] > planes[want * pixels + p]) want = i;
        }
        ASSERT_EQ(classes[p], want) << task.name << " pixel " << p;
      }
      EXPECT_THROW(session.run_classes(task.name, image, std::span(classes).first(pixels - 1)), Error);
      EXPECT_THROW(session.run_classes(task.name, std::span(image).first(3), classes), Error);
      EXPECT_THROW(session.run_classes(task.name, RgbView{}, classes), Error);
    }
  }
  EXPECT_GT(seen, 5);
}

}  // namespace
}  // namespace m3vit
