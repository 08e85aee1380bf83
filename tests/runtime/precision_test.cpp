/// bf16 and int8 through the whole runtime: close to f32, the same bits for any schedule, thread count and history.
#include "runtime/precision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/rng.h"
#include "runtime/packed_case.h"

namespace m3vit {
namespace {

using testing::floats;
using testing::packed;
using testing::relative_error;
using testing::run;

struct Case {
  Config config;
  naive::Weights weights;
  std::vector<float> image;
};
Case draw(const Config& config, std::uint64_t seed) {
  return {config, naive::random_weights(config, seed), floats(naive::random_image(config, seed))};
}

Model pack(const Case& c, PackOptions options) {
  return Model::from_bytes(packed(c.config, c.weights, std::move(options)), "test.m3v");
}

class Precisions : public ::testing::TestWithParam<Precision> {};
INSTANTIATE_TEST_SUITE_P(All, Precisions, ::testing::Values(Precision::kF32, Precision::kBf16, Precision::kInt8),
                         [](const auto& p) { return std::string(precision_name(p.param)); });

/// A configuration of random_config's kind with several experts.
Config moe_config(std::uint64_t seed, int least_experts = 3) {
  while (true) {
    Config config = naive::random_config(seed++);
    if (config.model.moe && config.model.moe->num_experts >= least_experts && config.model.depth > 1) return config;
  }
}

TEST_P(Precisions, RandomModelsAreCloseToF32WhereTheyRouteAlike) {
  const Precision precision = GetParam();
  const double contract = precision == Precision::kF32 ? 0.0 : precision == Precision::kBf16 ? 2e-2 : 4e-2;
  int beyond = 0;  // maps of a few pixels whose values happen to cancel
  int compared = 0;
  int skipped = 0;
  for (std::uint64_t seed = 3000; seed < 3080; ++seed) {
    const Case c = draw(naive::random_config(seed), seed);
    const Model exact = pack(c, {});
    const Model model = pack(c, {.dtype = precision});
    EXPECT_EQ(model.dtype(), precision_name(precision));
    Session a = exact.session({.threads = 1, .keep_routing = true});
    Session b = model.session({.threads = 1 + static_cast<int>(seed % 3),
                               .schedule = static_cast<MoeSchedule>(seed / 3 % 3),
                               .keep_routing = true});
    for (const TaskInfo& task : model.tasks()) {
      const std::vector<float> want = run(a, exact, task.name, c.image);
      const std::vector<float> got = run(b, model, task.name, c.image);
      bool alike = true;
      for (std::size_t l = 0; l < a.routing().size(); ++l) {
        alike &= a.routing()[l].experts == b.routing()[l].experts;
        for (std::size_t i = 0; i < a.routing()[l].weights.size(); ++i) {  // pruned alike
          alike &= (a.routing()[l].weights[i] == 0.0F) == (b.routing()[l].weights[i] == 0.0F);
        }
      }
      if (!alike) {
        ++skipped;
        continue;
      }
      ++compared;
      const double error = relative_error(got, want);
      beyond += error > contract ? 1 : 0;
      EXPECT_LE(error, 3 * contract) << "seed " << seed << ' ' << task.name;
    }
  }
  EXPECT_GT(compared, skipped) << compared << " compared, " << skipped << " routed differently";
  EXPECT_GT(compared, 100);
  EXPECT_LE(beyond, compared / 50);
}

TEST_P(Precisions, SchedulesAndThreadCountsAgreeBitForBit) {
  for (const std::uint64_t seed : {100U, 200U, 300U, 400U, 500U, 600U}) {
    Config config = moe_config(seed);
    if (seed == 500U) config.model.moe->num_experts = 40, config.model.moe->experts_per_task = 0;  // many stay empty
    if (seed == 600U) config.model.image_size = {16 * config.model.patch_size, 12 * config.model.patch_size};
    const Case c = draw(config, seed);
    const Model model = pack(c, {.dtype = GetParam()});
    const std::string task = model.tasks()[0].name;
    Session reference = model.session({.threads = 1});
    const std::vector<float> want = run(reference, model, task, c.image);
    for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder, MoeSchedule::kDense}) {
      for (const int threads : {1, 2, 5}) {
        Session session = model.session({.threads = threads, .schedule = schedule});
        const std::vector<float> got = run(session, model, task, c.image);
        EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
            << "schedule " << static_cast<int>(schedule) << " threads " << threads << " seed " << seed;
      }
    }
  }
}

TEST_P(Precisions, ResultDoesNotDependOnWhatRanBefore) {
  const Case c = draw(moe_config(700), 700);
  const Model model = pack(c, {.dtype = GetParam()});
  const std::vector<float> other(c.image.size(), 1e30F);  // overflows everything it can
  std::vector<std::vector<float>> alone;
  for (const TaskInfo& task : model.tasks()) {
    Session session = model.session({.threads = 1});
    alone.push_back(run(session, model, task.name, c.image));
  }
  Session session = model.session({.threads = 2});
  Rng rng(7);
  for (int i = 0; i < 12; ++i) {
    const std::size_t t = rng.below(alone.size());
    if (rng.coin(0.5)) run(session, model, model.tasks()[rng.below(alone.size())].name, other);
    EXPECT_EQ(run(session, model, model.tasks()[t].name, c.image), alone[t]);
  }
}

TEST_P(Precisions, EveryInstructionSetIsClose) {
  const Case c = draw(moe_config(40), 40);
  const Model model = pack(c, {.dtype = GetParam()});
  const std::string task = model.tasks()[0].name;
  Session scalar = model.session({.threads = 1, .isa = std::string(isas().back())});
  const std::vector<float> want = run(scalar, model, task, c.image);
  for (const std::string_view isa : isas()) {
    Session session = model.session({.threads = 2, .isa = std::string(isa)});
    EXPECT_LE(relative_error(run(session, model, task, c.image), want), GetParam() == Precision::kF32 ? 1e-4 : 3e-2)
        << isa;
  }
}

TEST_P(Precisions, OneExpertAllExpertsAndSubsetsOfTasksRun) {
  for (const int experts : {1, 4}) {
    Config config = moe_config(900);
    config.model.moe->gate = Gate::kMulti;
    config.model.moe->experts_per_task = 0;
    config.model.moe->num_experts = experts;
    config.model.moe->top_k = experts;
    config.model.moe->prune_below = 0.0;
    const Case c = draw(config, 900);
    const Model model = pack(c, {.dtype = GetParam()});
    const std::string task = model.tasks().back().name;
    const Model one = pack(c, {.tasks = {task}, .dtype = GetParam()});
    ASSERT_EQ(one.tasks().size(), 1U);
    Session a = model.session({.threads = 2, .keep_routing = true});
    Session b = one.session({.threads = 3, .schedule = MoeSchedule::kDense});
    const std::vector<float> got = run(a, model, task, c.image);
    EXPECT_EQ(got, run(b, one, task, c.image));
    for (const RoutingMap& map : a.routing()) {
      EXPECT_THAT(map.experts, ::testing::Each(::testing::Lt(experts)));
    }
    const Model exact = pack(c, {});
    Session f32 = exact.session();
    EXPECT_LE(relative_error(got, run(f32, exact, task, c.image)), 0.12);
  }
}

TEST(MixedPrecision, OneLayerInInt8IsBetweenF32AndInt8) {
  const Case c = draw(moe_config(1100), 1100);
  const Model exact = pack(c, {});
  const std::string task = exact.tasks()[0].name;
  Session f32 = exact.session();
  const std::vector<float> want = run(f32, exact, task, c.image);
  for (const std::string& layer : {std::string("embed"), std::string("blocks.0.attn"), std::string("blocks.1.attn")}) {
    const Model model = pack(c, {.layers = {{layer, Precision::kInt8}}});
    Session session = model.session();
    const double error = relative_error(run(session, model, task, c.image), want);
    EXPECT_GT(error, 0.0) << layer;
    EXPECT_LT(error, 0.12) << layer;
  }
}

/// One MoE block, the last: its router's input does not depend on what experts do.
Config last_block_moe(std::uint64_t seed, int experts, int top_k) {
  Config config = moe_config(seed);
  config.model.depth = 2;
  config.model.moe->every = 2;
  config.model.moe->gate = Gate::kMulti;
  config.model.moe->experts_per_task = 0;
  config.model.moe->num_experts = experts;
  config.model.moe->top_k = top_k;
  config.model.moe->prune_below = 0.0;
  return config;
}

TEST(PrunedExperts, TokensTakeTheBestThatRemain) {
  const Case c = draw(last_block_moe(1200, 7, 2), 1200);
  Case every = c;
  every.config.model.moe->top_k = 7;
  const Model all = pack(every, {});
  const std::vector<int> pruned{0, 3, 4};
  const Model model = pack(c, {.pruned = {{1, pruned}}});
  const std::string task = model.tasks()[0].name;
  Session order = all.session({.keep_routing = true});
  run(order, all, task, c.image);
  const RoutingMap& ranked = order.routing()[0];
  for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder, MoeSchedule::kDense}) {
    Session session = model.session({.threads = 2, .schedule = schedule, .keep_routing = true});
    run(session, model, task, c.image);
    const RoutingMap& got = session.routing()[0];
    for (int t = 0; t < got.tokens; ++t) {
      std::vector<std::int32_t> experts;
      std::vector<float> weights;
      for (std::size_t i = 0; i < 7; ++i) {
        const std::size_t at = static_cast<std::size_t>(t) * 7 + i;
        if (std::count(pruned.begin(), pruned.end(), ranked.experts[at]) != 0) continue;
        experts.push_back(ranked.experts[at]);
        weights.push_back(ranked.weights[at]);
      }
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(got.experts[static_cast<std::size_t>(t) * 2 + i], experts[i]);
        EXPECT_EQ(got.weights[static_cast<std::size_t>(t) * 2 + i], weights[i]);
      }
    }
  }
}

TEST(PrunedExperts, LeavingOutWhatNobodyChoseChangesNoBit) {
  for (const Precision precision : {Precision::kF32, Precision::kInt8}) {
    const Case c = draw(last_block_moe(1300, 48, 1), 1300);
    const Model model = pack(c, {.dtype = precision});
    const std::string task = model.tasks()[0].name;
    Session session = model.session({.keep_routing = true});
    const std::vector<float> want = run(session, model, task, c.image);
    std::vector<int> unused;
    const std::vector<std::int32_t>& chosen = session.routing()[0].experts;
    for (int e = 0; e < 48; ++e) {
      if (std::count(chosen.begin(), chosen.end(), e) == 0) unused.push_back(e);
    }
    ASSERT_FALSE(unused.empty());
    const Model pruned = pack(c, {.dtype = precision, .pruned = {{1, unused}}});
    Session small = pruned.session();
    EXPECT_EQ(run(small, pruned, task, c.image), want);
    EXPECT_LT(small.memory().weights, session.memory().weights);
  }
}

TEST(PrunedExperts, NonFiniteInputStaysWithinWhatIsThere) {
  const Case c = draw(last_block_moe(1400, 6, 2), 1400);
  const Model model = pack(c, {.dtype = Precision::kBf16, .pruned = {{1, {0, 1, 2}}}});
  Session session = model.session({.keep_routing = true});
  std::vector<float> out(model.output_size(model.tasks()[0].name));
  session.run(model.tasks()[0].name, std::vector<float>(c.image.size(), NAN), out);
  EXPECT_THAT(session.routing()[0].experts, ::testing::Each(::testing::Ge(3)));
}

}  // namespace
}  // namespace m3vit
