/// Planner, team, routing: the parts without arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "reference/naive_m3vit.h"
#include "reference/random_model.h"
#include "runtime/frame_plan.h"
#include "runtime/planner.h"
#include "runtime/routing.h"
#include "runtime/team.h"

namespace m3vit {
namespace {

void expect_no_clash(const Planner& planner) {
  const auto& all = planner.buffers();
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].offset % Planner::kAlignment, 0U);
    EXPECT_LE(all[i].offset + all[i].bytes, planner.arena_bytes());
    for (std::size_t j = 0; j < i; ++j) {
      const bool together = all[i].first <= all[j].last && all[j].first <= all[i].last;
      const bool apart = all[i].offset + all[i].bytes <= all[j].offset || all[j].offset + all[j].bytes <= all[i].offset;
      EXPECT_TRUE(!together || apart) << all[i].name << " and " << all[j].name;
    }
  }
  EXPECT_GE(planner.arena_bytes(), planner.lower_bound());
}

TEST(Planner, BuffersAliveTogetherNeverOverlap) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed);
    Planner planner;
    std::size_t sum = 0;
    for (std::uint64_t i = 0; i < 1 + rng.below(40); ++i) {
      const int first = static_cast<int>(rng.below(20));
      const std::size_t bytes = rng.below(5000);
      sum += bytes + Planner::kAlignment;
      planner.add("b" + std::to_string(i), bytes, first, first + static_cast<int>(rng.below(6)));
    }
    planner.finish();
    expect_no_clash(planner);
    EXPECT_LE(planner.arena_bytes(), sum);
  }
}

TEST(Planner, SharesWhatIsNotAliveTogether) {
  Planner planner;
  planner.add("a", 640, 0, 1);
  planner.add("b", 640, 2, 3);
  planner.add("c", 640, 1, 2);
  planner.finish();
  EXPECT_EQ(planner.arena_bytes(), 1280U);
  EXPECT_EQ(planner.lower_bound(), 1280U);
}

TEST(Planner, RefusesImpossibleSizes) {
  Planner planner;
  EXPECT_THROW(planner.add("huge", std::numeric_limits<std::size_t>::max(), 0, 0), Error);
}

TEST(FramePlan, IsTightForEveryRandomModel) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Config config = naive::random_config(seed);
    std::vector<int> tasks(config.tasks.size());
    std::iota(tasks.begin(), tasks.end(), 0);
    const FramePlan plan(config, {.tasks = tasks}, 2);
    expect_no_clash(plan.planner);
    EXPECT_LE(plan.planner.arena_bytes(), 2 * plan.planner.lower_bound()) << seed;
  }
}

TEST(FramePlan, DepthCostsNoMemory) {
  Config config = naive::random_config(4);
  config.model.moe = MoeConfig{};
  config.model.depth = 2;
  const std::size_t shallow = FramePlan(config, {.tasks = {0}}, 1).planner.arena_bytes();
  config.model.depth = 24;
  EXPECT_EQ(FramePlan(config, {.tasks = {0}}, 1).planner.arena_bytes(), shallow);
}

TEST(Team, EveryItemOnceByValidWorkers) {
  for (const int threads : {1, 2, 3, 8}) {
    Team team(threads);
    ASSERT_EQ(team.threads(), threads);
    for (const std::size_t items : {0U, 1U, 2U, 7U, 1000U}) {
      std::vector<int> hits(items, 0);  // each item is one thread's own: no lock
      team.run(items, [&](std::size_t item, std::size_t worker) {
        ++hits[item];
        EXPECT_LT(worker, static_cast<std::size_t>(threads));
      });
      EXPECT_THAT(hits, ::testing::Each(1));
    }
  }
}

TEST(Team, ManyShortLoopsInARow) {
  Team team(4);
  std::vector<std::uint64_t> sums(64, 0);
  for (int round = 0; round < 1000; ++round) {
    team.run(sums.size(), [&](std::size_t item, std::size_t) { sums[item] += item; });
  }
  for (std::size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(sums[i], 1000 * i);
}

std::vector<std::int32_t> top(const std::vector<float>& p, std::size_t k) {
  std::vector<std::int32_t> indices(k);
  top_k(p.data(), p.size(), k, indices.data());
  return indices;
}

TEST(TopK, LowerIndexWinsTies) {
  EXPECT_THAT(top({0.25F, 0.25F, 0.25F, 0.25F}, 2), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(top({0.1F, 0.4F, 0.1F, 0.4F}, 3), ::testing::ElementsAre(1, 3, 0));
  EXPECT_THAT(top({0.1F, 0.2F, 0.3F}, 3), ::testing::ElementsAre(2, 1, 0));
  EXPECT_THAT(top({0.0F}, 1), ::testing::ElementsAre(0));
}

TEST(TopK, EqualsTheNaiveOneWithManyTies) {
  Rng rng(21);
  for (int i = 0; i < 2000; ++i) {
    const std::size_t n = 1 + rng.below(20);
    const std::size_t k = 1 + rng.below(n);
    std::vector<float> p(n);
    for (float& v : p) v = static_cast<float>(rng.below(4));
    const std::vector<int> want = naive::top_k({p.begin(), p.end()}, static_cast<int>(k));
    EXPECT_THAT(top(p, k), ::testing::ElementsAreArray(want));
  }
}

TEST(TopK, NanIsLastAndIndicesStayValid) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(top({nan, 0.5F, nan, 0.1F}, 3), ::testing::ElementsAre(1, 3, 0));
  EXPECT_THAT(top({nan, nan, nan}, 2), ::testing::ElementsAre(0, 1));
}

TEST(Queues, HoldEveryUnprunedChoiceOnceInTokenOrder) {
  Rng rng(22);
  for (int round = 0; round < 300; ++round) {
    const std::size_t experts = 1 + rng.below(9);
    const std::size_t k = 1 + rng.below(experts);
    const std::size_t tokens = rng.below(30);
    const int first = static_cast<int>(rng.below(5));
    const bool crowd = rng.coin(0.2);  // all to the same experts: the others stay empty
    std::vector<std::int32_t> chosen;
    std::vector<float> weights;
    for (std::size_t t = 0; t < tokens; ++t) {
      std::vector<std::int32_t> order(experts);
      std::iota(order.begin(), order.end(), first);
      for (std::size_t i = experts; i > 1 && !crowd; --i) std::swap(order[i - 1], order[rng.below(i)]);
      for (std::size_t i = 0; i < k; ++i) {
        chosen.push_back(order[i]);
        weights.push_back(rng.coin(0.2) ? 0.0F : static_cast<float>(rng.uniform()));
      }
    }
    std::vector<std::int32_t> queue_tokens(tokens * k, -1);
    std::vector<float> queue_weights(tokens * k, -1);
    std::vector<std::int32_t> offsets(experts + 1, -1);
    fill_queues(chosen.data(), weights.data(), tokens, k, first, experts,
                {queue_tokens.data(), queue_weights.data(), offsets.data()});
    ASSERT_EQ(offsets[0], 0);
    for (std::size_t e = 0; e < experts; ++e) {
      std::vector<std::int32_t> want;
      std::vector<float> want_weights;
      for (std::size_t i = 0; i < tokens * k; ++i) {
        if (chosen[i] != first + static_cast<int>(e) || weights[i] == 0.0F) continue;
        want.push_back(static_cast<std::int32_t>(i / k));
        want_weights.push_back(weights[i]);
      }
      ASSERT_EQ(static_cast<std::size_t>(offsets[e + 1] - offsets[e]), want.size());
      const std::vector<std::int32_t> got(queue_tokens.begin() + offsets[e], queue_tokens.begin() + offsets[e + 1]);
      const std::vector<float> got_weights(queue_weights.begin() + offsets[e], queue_weights.begin() + offsets[e + 1]);
      EXPECT_EQ(got, want);
      EXPECT_EQ(got_weights, want_weights);
    }
  }
}

}  // namespace
}  // namespace m3vit
