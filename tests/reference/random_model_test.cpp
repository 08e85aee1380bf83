#include "reference/random_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace m3vit::naive {
namespace {

TEST(RandomConfig, EveryDrawIsValid) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    EXPECT_NO_THROW(validate(random_config(seed), SourceMap{"random_config", {}})) << "seed " << seed;
  }
}

TEST(RandomConfig, CoversEveryOption) {
  std::set<int> gates, tasks, patches;
  bool dense = false, last_resize = false, window = false, prune = false, one_expert = false, all_experts = false,
       oblong = false;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Config c = random_config(seed);
    tasks.insert(static_cast<int>(c.tasks.size()));
    patches.insert(c.model.patch_size);
    last_resize |= (1 << c.model.head.stages) != c.model.patch_size;
    oblong |= c.model.height() != c.model.width();
    dense |= !c.model.moe;
    if (!c.model.moe) continue;
    gates.insert(static_cast<int>(c.model.moe->gate));
    window |= c.model.moe->experts_per_task > 0;
    prune |= c.model.moe->prune_below > 0;
    one_expert |= c.model.moe->num_experts == 1;
    all_experts |= c.model.moe->num_experts == c.model.moe->top_k;
  }
  EXPECT_EQ(gates.size(), 3U);
  EXPECT_EQ(tasks.size(), 6U);
  EXPECT_EQ(patches, (std::set<int>{2, 4, 8, 16}));
  EXPECT_TRUE(dense && last_resize && window && prune && one_expert && all_experts && oblong);
}

TEST(RandomCase, ActivationsStayOrderOneAndRoutingIsClear) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const RandomCase c = random_case(seed);
    ASSERT_EQ(c.results.size(), c.config.tasks.size());
    for (std::size_t t = 0; t < c.results.size(); ++t) {
      const Result& r = c.results[t];
      EXPECT_GE(r.margin, 1e-4);
      EXPECT_EQ(r.channels, c.config.tasks[t].outputs);
      double largest = 0.0;
      for (const double v : r.raw) {
        ASSERT_TRUE(std::isfinite(v));
        largest = std::max(largest, std::abs(v));
      }
      EXPECT_GT(largest, 1e-2) << "seed " << seed;
      EXPECT_LT(largest, 1e2) << "seed " << seed;
    }
  }
}

TEST(RandomCase, IsTheSameForTheSameSeed) {
  const RandomCase a = random_case(5);
  const RandomCase b = random_case(5);
  EXPECT_EQ(a.results[0].raw, b.results[0].raw);
  EXPECT_NE(a.results[0].raw, random_case(a.config, 6).results[0].raw);
}

}  // namespace
}  // namespace m3vit::naive
