/// The whole runtime against the naive double-precision reference, over random configurations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "runtime/packed_case.h"

namespace m3vit {
namespace {

using naive::RandomCase;
using testing::floats;
using testing::packed;
using testing::relative_error;
using testing::run;

constexpr double kContract = 1e-4;  // docs/architecture.md: f32 runtime against the model
// Distance of every token from a routing jump: some ten times what float arithmetic moves a gate weight.
constexpr double kMargin = 2e-5;

std::string describe(const RandomCase& c, std::uint64_t seed) {
  const ModelConfig& m = c.config.model;
  std::string text = "seed=" + std::to_string(seed) + " image=" + std::to_string(m.height()) + "x" +
                     std::to_string(m.width()) + " patch=" + std::to_string(m.patch_size) +
                     " dim=" + std::to_string(m.embed_dim) + " heads=" + std::to_string(m.num_heads);
  if (m.moe) {
    text += " experts=" + std::to_string(m.moe->num_experts) + " top_k=" + std::to_string(m.moe->top_k) +
            " gate=" + std::to_string(static_cast<int>(m.moe->gate)) +
            " window=" + std::to_string(m.moe->experts_per_task) + " prune=" + std::to_string(m.moe->prune_below);
  }
  return text;
}

TEST(RelativeError, SeesSignNanShapeAndSilence) {
  const std::vector<double> want{1.0, -2.0};
  EXPECT_EQ(relative_error(std::vector<float>{1.0F, -2.0F}, want), 0.0);
  EXPECT_EQ(relative_error(std::vector<float>{1.0F, 2.0F}, want), 2.0);
  EXPECT_GT(relative_error(std::vector<float>{NAN, -2.0F}, want), 1e9);
  EXPECT_GT(relative_error(std::vector<float>{1.0F}, want), 1e9);
  EXPECT_GT(relative_error(std::vector<float>{}, std::vector<double>{}), 1e9);
}

class RandomModels : public ::testing::TestWithParam<std::uint64_t> {};

// Ten configurations a case, so that a failure names a small range and the list runs in parallel.
TEST_P(RandomModels, EveryTaskEqualsTheNaiveReference) {
  for (std::uint64_t seed = 10 * GetParam(); seed < 10 * (GetParam() + 1); ++seed) {
    const RandomCase c = naive::random_case(seed, kMargin);
    const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
    Session session = model.session({.threads = 1 + static_cast<int>(seed % 3), .keep_routing = true});
    const std::vector<float> image = floats(c.image);
    for (std::size_t t = 0; t < c.config.tasks.size(); ++t) {
      const std::string task = c.config.tasks[t].name;
      EXPECT_LE(relative_error(run(session, model, task, image), c.results[t].raw), kContract)
          << describe(c, seed) << " task=" << task;
      ASSERT_EQ(session.routing().size(), c.results[t].routing.size());
      for (std::size_t l = 0; l < session.routing().size(); ++l) {
        const RoutingMap& got = session.routing()[l];
        const naive::Routing& want = c.results[t].routing[l];
        EXPECT_EQ(got.block, want.block);
        std::vector<std::int32_t> experts;
        std::vector<double> weights;
        for (const auto& token : want.experts) experts.insert(experts.end(), token.begin(), token.end());
        for (const auto& token : want.weights) weights.insert(weights.end(), token.begin(), token.end());
        EXPECT_EQ(got.experts, experts) << describe(c, seed) << " task=" << task << " block=" << got.block;
        for (std::size_t i = 0; i < weights.size(); ++i) ASSERT_NEAR(got.weights[i], weights[i], 1e-5);
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomModels, ::testing::Range<std::uint64_t>(0, 16));

TEST(Engine, EveryInstructionSetMeetsTheContract) {
  for (const std::uint64_t seed : {3U, 17U, 40U}) {
    const RandomCase c = naive::random_case(seed, kMargin);
    const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
    for (const std::string_view isa : isas()) {
      Session session = model.session({.threads = 2, .isa = std::string(isa)});
      ASSERT_EQ(session.isa(), isa);
      const std::string task = c.config.tasks.back().name;
      EXPECT_LE(relative_error(run(session, model, task, floats(c.image)), c.results.back().raw), kContract)
          << isa << ' ' << describe(c, seed);
    }
  }
}

/// A model with an MoE layer of several experts, found by walking the seeds.
RandomCase moe_case(std::uint64_t seed, std::size_t least_tasks = 1) {
  while (true) {
    const Config config = naive::random_config(seed);
    if (config.model.moe && config.model.moe->num_experts > 2 && config.tasks.size() >= least_tasks) {
      return naive::random_case(config, seed, kMargin);
    }
    ++seed;
  }
}

TEST(Engine, SchedulesAndThreadCountsAgreeBitForBit) {
  for (const std::uint64_t seed : {100U, 200U, 300U, 400U, 500U}) {
    const RandomCase c = moe_case(seed);
    const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
    const std::vector<float> image = floats(c.image);
    const std::string task = c.config.tasks.front().name;
    Session reference = model.session({.threads = 1});
    const std::vector<float> want = run(reference, model, task, image);
    for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder, MoeSchedule::kDense}) {
      for (const int threads : {1, 2, 5}) {
        Session session = model.session({.threads = threads, .schedule = schedule});
        EXPECT_EQ(session.threads(), threads);
        const std::vector<float> got = run(session, model, task, image);
        EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
            << "schedule " << static_cast<int>(schedule) << " threads " << threads << ' ' << describe(c, seed);
      }
    }
  }
}

TEST(Engine, ResultDoesNotDependOnWhatRanBefore) {
  const RandomCase c = moe_case(700, /*least_tasks=*/3);
  const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
  const std::vector<float> image = floats(c.image);
  const std::vector<float> other(image.size(), 1e30F);  // overflows everything it can
  std::vector<std::vector<float>> alone;
  for (const TaskInfo& task : model.tasks()) {
    Session session = model.session({.threads = 1});
    alone.push_back(run(session, model, task.name, image));
  }
  Session session = model.session({.threads = 2});
  Rng rng(7);
  for (int i = 0; i < 12; ++i) {
    const std::size_t t = rng.below(alone.size());
    if (rng.coin(0.5)) run(session, model, model.tasks()[rng.below(alone.size())].name, other);
    EXPECT_EQ(run(session, model, model.tasks()[t].name, image), alone[t]);
  }
}

TEST(Engine, SubsetOfTasksRunsAsTheWholeModel) {
  for (const std::uint64_t seed : {800U, 811U, 900U}) {
    const RandomCase c = moe_case(seed, /*least_tasks=*/3);
    const std::vector<std::byte> whole = packed(c.config, c.weights);
    const std::vector<std::byte> part =
        packed(c.config, c.weights, {.tasks = {c.config.tasks[2].name, c.config.tasks[0].name}});
    EXPECT_LT(part.size(), whole.size());
    const Model all = Model::from_bytes(whole, "all.m3v");
    const Model two = Model::from_bytes(part, "two.m3v");
    ASSERT_EQ(two.tasks().size(), 2U);
    EXPECT_EQ(two.tasks()[0].name, c.config.tasks[0].name);  // the configuration's order
    Session a = all.session();
    Session b = two.session();
    for (const TaskInfo& task : two.tasks()) {
      EXPECT_EQ(run(a, all, task.name, floats(c.image)), run(b, two, task.name, floats(c.image)));
    }
    std::vector<float> out(16);
    EXPECT_THROW(b.run(c.config.tasks[1].name, floats(c.image), out), Error);
  }
}

TEST(Engine, WindowedSubsetLeavesOutForeignExperts) {
  Config config = moe_case(1000, 3).config;
  config.model.moe->gate = Gate::kMulti;
  config.model.moe->num_experts = 2 * static_cast<int>(config.tasks.size()) + 1;
  config.model.moe->experts_per_task = 2;
  config.model.moe->top_k = 2;
  const RandomCase c = naive::random_case(config, 5, kMargin);
  const Model model = Model::from_bytes(packed(c.config, c.weights, {.tasks = {config.tasks[1].name}}), "one.m3v");
  Session session = model.session({.keep_routing = true});
  EXPECT_LE(relative_error(run(session, model, config.tasks[1].name, floats(c.image)), c.results[1].raw), kContract);
  for (const RoutingMap& map : session.routing()) {
    EXPECT_THAT(map.experts, ::testing::Each(::testing::AllOf(::testing::Ge(2), ::testing::Lt(4))));
  }
}

TEST(Engine, RgbInputIsTheDocumentedNormalisation) {
  const RandomCase c = moe_case(1100);
  const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
  const int h = model.height();
  const int w = model.width();
  Rng rng(3);
  const std::ptrdiff_t row_bytes = 3 * w + 5;
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(row_bytes * h));
  for (auto& v : rgb) v = static_cast<std::uint8_t>(rng.below(256));
  std::vector<float> planes;
  const double mean[3] = {0.485, 0.456, 0.406};
  const double deviation[3] = {0.229, 0.224, 0.225};
  for (int ch = 0; ch < 3; ++ch) {
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        const double v = rgb[static_cast<std::size_t>(y * row_bytes + 3 * x + ch)] / 255.0;
        planes.push_back(static_cast<float>((v - mean[ch]) / deviation[ch]));
      }
    }
  }
  Session session = model.session();
  const std::string task = model.tasks()[0].name;
  std::vector<float> got(model.output_size(task));
  session.run(task, RgbView{rgb.data(), h, w, row_bytes}, got);
  EXPECT_LE(relative_error(got, run(session, model, task, planes)), 1e-4);
}

TEST(Engine, NonFiniteInputIsHarmless) {
  for (const std::uint64_t seed : {1200U, 1300U}) {
    const RandomCase c = moe_case(seed);
    const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
    for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder, MoeSchedule::kDense}) {
      Session session = model.session({.schedule = schedule, .keep_routing = true});
      std::vector<float> image(c.image.size(), NAN);
      std::vector<float> out(model.output_size(model.tasks()[0].name));
      session.run(model.tasks()[0].name, image, out);  // under asan: no index out of range
      for (const RoutingMap& map : session.routing()) {
        EXPECT_THAT(map.experts, ::testing::Each(::testing::AllOf(::testing::Ge(0),
                                                                  ::testing::Lt(c.config.model.moe->num_experts))));
      }
    }
  }
}

TEST(Session, RefusesWhatDoesNotFit) {
  const RandomCase c = moe_case(1400);
  const Model model = Model::from_bytes(packed(c.config, c.weights), "test.m3v");
  Session session = model.session();
  const std::string task = model.tasks()[0].name;
  std::vector<float> out(model.output_size(task));
  std::vector<float> planes(floats(c.image));
  EXPECT_THROW(session.run("nonsense", planes, out), Error);
  EXPECT_THROW(session.run(task, std::span(planes).first(planes.size() - 1), out), Error);
  EXPECT_THROW(session.run(task, planes, std::span(out).first(out.size() - 1)), Error);
  EXPECT_THROW(session.run(task, RgbView{}, out), Error);
  EXPECT_THROW(model.session({.threads = -1}), Error);
  EXPECT_THROW(model.session({.isa = "abacus"}), Error);
  EXPECT_THROW(model.output_size("nonsense"), Error);
}

}  // namespace
}  // namespace m3vit
