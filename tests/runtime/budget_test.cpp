/// The memory plan: what it promises, and where its limits are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config_codec.h"
#include "core/rng.h"
#include "runtime/memory_plan.h"
#include "runtime/read_file.h"
#include "runtime/stored_case.h"

namespace m3vit {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

struct Planned {
  FramePlan frame;
  WeightSections weights;
};
Planned planned(const Config& config, int threads = 2) {
  Packing packing;
  for (std::size_t t = 0; t < config.tasks.size(); ++t) packing.tasks.push_back(static_cast<int>(t));
  Planned p{FramePlan(config, packing, threads), {SectionTable(config, packing), {}, "test.m3v"}};
  for (const SectionLayout& s : section_layouts(config, packing, "test.m3v")) p.weights.bytes.push_back(s.bytes);
  return p;
}

Config preset(const std::string& name, int experts) {
  Config config;
  apply_preset(name, config.model);
  config.model.moe->num_experts = experts;
  config.tasks = {{"semseg", 40, 1.0}, {"depth", 1, 1.0}};
  return config;
}

TEST(MemoryPlan, KeepsEveryBudgetFromTheSmallestOn) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Planned p = planned(naive::random_config(seed));
    const MemoryLayout all = plan_memory({p.frame}, p.weights, 0);
    EXPECT_EQ(all.streamed_bytes, 0U);
    EXPECT_EQ(all.stream_buffers, 0U);
    EXPECT_THAT(error_of([&] { plan_memory({p.frame}, p.weights, all.smallest - 1); }),
                AllOf(HasSubstr("memory budget"), HasSubstr(std::to_string(all.smallest))));
    Rng rng(seed);
    for (int i = 0; i < 20; ++i) {
      const std::size_t budget = i == 0 ? all.smallest : all.smallest + rng.below(all.total() - all.smallest + 1);
      const MemoryLayout layout = plan_memory({p.frame}, p.weights, budget);
      EXPECT_LE(layout.total(), budget);
      EXPECT_EQ(layout.smallest, all.smallest);
      std::size_t resident = 0;
      for (std::size_t s = 0; s < p.weights.bytes.size(); ++s) {
        if (layout.resident[s] != 0) resident += resident_size(p.weights.bytes[s]);
      }
      EXPECT_EQ(layout.resident_bytes, resident);
      // Buffers: whole in the arena, aligned for O_DIRECT, room for the largest of the group, none that shares a byte
      // with something alive at the same time.
      const std::vector<PlannedBuffer>& buffers = layout.frame.planner.buffers();
      for (const WeightGroup& g : layout.groups) {
        std::size_t largest = 0;
        for (const std::size_t section : g.sections) {
          if (layout.resident[section] == 0) largest = std::max(largest, p.weights.bytes[section]);
        }
        ASSERT_EQ(g.slots == 0, largest == 0) << g.name;
        if (g.slots == 0) continue;
        EXPECT_LE(g.first, g.use);
        EXPECT_GE(g.slot_bytes, largest);
        EXPECT_EQ(g.slot_bytes % ReadFile::kBlock, 0U);
        const PlannedBuffer& buffer = buffers[g.buffer];
        EXPECT_EQ(buffer.offset % ReadFile::kBlock, 0U);
        EXPECT_EQ(buffer.bytes, g.slots * g.slot_bytes);
        EXPECT_LE(buffer.offset + buffer.bytes, layout.frame.planner.arena_bytes());
        for (std::size_t other = 0; other < buffers.size(); ++other) {
          const PlannedBuffer& o = buffers[other];
          if (other == g.buffer || o.last < buffer.first || buffer.last < o.first) continue;
          EXPECT_TRUE(o.offset + o.bytes <= buffer.offset || buffer.offset + buffer.bytes <= o.offset)
              << g.name << " over " << o.name;
        }
      }
    }
    EXPECT_EQ(plan_memory({p.frame}, p.weights, all.total()).streamed_bytes, 0U);
  }
}

TEST(MemoryPlan, SpendsWhatItIsGiven) {
  const Planned p = planned(preset("small", 16));
  const MemoryLayout all = plan_memory({p.frame}, p.weights, 0);
  std::size_t before = plan_memory({p.frame}, p.weights, all.smallest).streamed_bytes;
  for (const int part : {4, 3, 2, 1}) {
    const std::size_t budget = all.smallest + (all.total() - all.smallest) / 5 * static_cast<std::size_t>(5 - part);
    const MemoryLayout layout = plan_memory({p.frame}, p.weights, budget);
    EXPECT_LT(layout.streamed_bytes, before) << "more memory, less to read";
    EXPECT_GT(layout.total(), budget - budget / 20) << "at most a twentieth unused";
    for (const WeightGroup& g : layout.groups) {
      if (!g.experts || g.slots == 0) continue;
      EXPECT_GE(g.slots, 2U) << "one computes while the next is read: " << g.name;
    }
    before = layout.streamed_bytes;
  }
}

TEST(MemoryPlan, PeakDoesNotGrowWithTheNumberOfExperts) {
  for (const std::string name : {"tiny", "small"}) {
    const Planned few = planned(preset(name, 8));
    const auto base = static_cast<double>(plan_memory({few.frame}, few.weights, 0).smallest);
    for (const int experts : {16, 64, 256, 1024}) {
      const Planned p = planned(preset(name, experts));
      const MemoryLayout all = plan_memory({p.frame}, p.weights, 0);
      EXPECT_NEAR(static_cast<double>(all.smallest) / base, 1.0, 0.02) << name << ' ' << experts;
      EXPECT_LE(plan_memory({p.frame}, p.weights, all.smallest).total(), all.smallest);
    }
  }
}

TEST(MemoryPlan, TakesTheFastestFrameThatFits) {
  const Planned p = planned(preset("tiny", 8));
  FramePlan wasteful = p.frame;
  wasteful.planner.add("luxury", std::size_t{64} << 20U, 0, 3);
  wasteful.planner.finish();
  const std::size_t smallest = plan_memory({p.frame}, p.weights, 0).smallest;
  const MemoryLayout tight = plan_memory({wasteful, p.frame}, p.weights, smallest);
  EXPECT_EQ(tight.smallest, smallest);
  EXPECT_LE(tight.total(), smallest);
  const MemoryLayout wide = plan_memory({wasteful, p.frame}, p.weights, std::size_t{1} << 30U);
  EXPECT_EQ(wide.frame.planner.buffers().size(), wasteful.planner.buffers().size());
}

TEST(Budget, WeightsThatAreInMemoryAnywayAreNotStreamed) {
  const Config config = naive::random_config(3);
  const std::vector<std::byte> bytes = testing::packed(config, naive::random_weights(config, 3));
  const Model model = Model::from_bytes(bytes, "memory.m3v");
  Session session = model.session({.threads = 1});
  EXPECT_EQ(session.io(), "memory");
  const std::size_t total = session.memory().total();
  EXPECT_EQ(session.memory().weights, bytes.size());
  EXPECT_NO_THROW(model.session({.threads = 1, .memory_budget = total}));
  EXPECT_THAT(error_of([&] { model.session({.threads = 1, .memory_budget = total - 1}); }),
              AllOf(HasSubstr("memory.m3v"), HasSubstr(std::to_string(total))));
}

}  // namespace
}  // namespace m3vit
