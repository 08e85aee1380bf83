/// Compiled programs on the machine against the golden model, which knows nothing of either: equal bit for bit, in any
/// order of ops that the waits allow.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "accel/machine/expert_walk.h"
#include "accel/machine_case.h"
#include "core/error.h"
#include "core/rng.h"

namespace m3vit::accel {
namespace {

TEST(Machine, EqualsTheGoldenModelOnRandomConfigurations) { expect_equal_on_random_configurations(1, 40); }

/// Two MoE blocks between dense ones, several words a token, two tasks.
Config wide_config(int experts, int top_k) {
  MoeConfig moe;
  moe.num_experts = experts;
  moe.top_k = top_k;
  moe.expert_hidden = 24;
  Config c = two_task_config({20, 28}, /*embed_dim=*/40, /*depth=*/4, /*head_channels=*/20, moe);
  c.model.mlp_ratio = 3;
  return c;
}

TEST(Machine, RunsOneExpertAndAThousand) {
  for (const auto& [experts, top_k] : {std::pair{1, 1}, std::pair{5, 5}, std::pair{1024, 4}}) {
    const QuantisedCase c = quantised_case(wide_config(experts, top_k), 5);
    Array array;
    array.width = 16;
    expect_equal(c, compile(c.model, {array}), std::to_string(experts) + " experts", 5);
  }
}

TEST(Machine, RunsWhenEveryTokenChoosesTheSameExperts) {
  const QuantisedCase c = quantised_case(wide_config(12, 2), 6, [](FloatModel& model) { prefer_for_all(model, 7); });
  Array array;
  array.width = 8;
  const Compiled compiled = compile(c.model, {array});
  expect_equal(c, compiled, "one expert for all", 6);
  const Outcome got = run_machine(compiled, compiled.programs[0], c.pixels, {});
  for (const Entries& layer : got.routing) {
    for (std::size_t i = 0; i < layer.size(); i += 2) {
      EXPECT_EQ(layer[i].expert, 7);
      EXPECT_EQ(layer[i + 1].expert, 0);
    }
  }
  EXPECT_EQ(got.counters.tiles_loaded, 2U * 2U * 2U);  // layers, experts, halves
}

TEST(Machine, EveryOrderOfExpertsGivesTheSameBits) {
  const QuantisedCase c = quantised_case(wide_config(9, 3), 7);
  Array array;
  array.width = 8;
  std::vector<std::uint64_t> bytes;
  std::vector<std::int16_t> want;
  for (const ExpertMode mode :
       {ExpertMode::kExpert, ExpertMode::kTokenPairs, ExpertMode::kTokenCached, ExpertMode::kToken}) {
    const Compiled compiled = compile(c.model, {array, mode});
    const Outcome got = run_machine(compiled, compiled.programs[0], c.pixels, {});
    ASSERT_EQ(got.counters.clamped, 0U);
    if (mode == ExpertMode::kExpert) want = got.output;
    EXPECT_EQ(got.output, want);
    bytes.push_back(got.counters.expert_bytes);
  }
  // Expert order loads each chosen expert once, token order loads for every entry; the others lie between.
  EXPECT_LT(bytes[0], bytes[1]);
  EXPECT_LE(bytes[1], bytes[3]);
  EXPECT_LE(bytes[2], bytes[3]);
  const std::uint64_t expert = bytes[3] / (2 * 36 * 3);  // two layers of 36 tokens, three experts each
  EXPECT_EQ(bytes[3] % (2 * 36 * 3), 0U);
  EXPECT_LE(bytes[0], 2 * 9 * expert);
}

TEST(Machine, AProgramWithoutWaitsIsFoundOut) {
  const QuantisedCase c = quantised_case(wide_config(4, 2), 8);
  Array array;
  array.width = 8;
  Compiled compiled = compile(c.model, {array});
  const GoldenFrame want = golden_run(c.model, compiled.programs[0].task, c.pixels);
  const TaskProgram& program = compiled.programs[0];
  const auto at = static_cast<std::ptrdiff_t>(program.program) * Array::kBeatBytes;
  for (std::size_t i = 0; i < program.ops.size(); ++i) {
    auto op = compiled.image.begin() + at + static_cast<std::ptrdiff_t>(i) * Array::kBeatBytes;
    std::fill(op + 4, op + 12, std::byte{0});  // d1, d2
  }
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    try {
      wrong += run_machine(compiled, program, c.pixels, seed).output != want.output;
    } catch (const Error&) {
      ++wrong;
    }
  }
  EXPECT_EQ(wrong, 4);
}

TEST(Compiler, NamesTheMemoryThatIsTooSmall) {
  const QuantisedCase c = quantised_case(wide_config(4, 2), 9);
  const auto refused = [&](auto change) {
    Array array;
    array.width = 8;
    change(array);
    try {
      compile(c.model, {array});
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("compiled");
  };
  EXPECT_NE(refused([](Array& a) { a.res_words = 100; }).find("residual memory"), std::string::npos);
  EXPECT_NE(refused([](Array& a) { a.act_words = 200; }).find("activation memory"), std::string::npos);
  EXPECT_NE(refused([](Array& a) { a.weight_words = 8; }).find("weight memory"), std::string::npos);
  EXPECT_NE(refused([](Array& a) { a.max_top_k = 1; }).find("MaxTopK"), std::string::npos);
  EXPECT_NE(refused([](Array& a) { a.max_experts = 3; }).find("MaxExperts"), std::string::npos);
  EXPECT_NE(refused([](Array& a) { a.list_entries = 20; }).find("list entries"), std::string::npos);
  EXPECT_EQ(refused([](Array&) {}), "compiled");
}

TEST(ExpertWalk, TakesEveryEntryOnceInEachHalf) {
  Rng rng(11);
  Entries entries;
  for (int t = 0; t < 30; ++t) {
    const int first = static_cast<int>(rng.below(5));
    entries.push_back({t, first, 1});
    entries.push_back({t, first + 1 + static_cast<int>(rng.below(3)), 1});
  }
  for (const ExpertMode mode :
       {ExpertMode::kExpert, ExpertMode::kToken, ExpertMode::kTokenCached, ExpertMode::kTokenPairs}) {
    std::vector<int> seen(entries.size());
    int previous = -1;
    for (const WorkItem& item : expert_walk(mode, entries, 3)) {
      for (const std::uint32_t row : item.rows) {
        EXPECT_EQ(entries[row].expert, item.expert);
        EXPECT_EQ(seen[row]++, item.half);
      }
      EXPECT_TRUE(std::is_sorted(item.rows.begin(), item.rows.end()));
      if (mode == ExpertMode::kExpert) {
        EXPECT_GE(item.expert, previous);
      }
      if (mode == ExpertMode::kToken) {
        EXPECT_TRUE(item.load);
      }
      if (mode == ExpertMode::kTokenPairs) {
        EXPECT_LE(item.rows.size(), 2U);
      }
      previous = item.expert;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 2), static_cast<std::ptrdiff_t>(entries.size()));
  }
}

TEST(ExpertWalk, TheCacheKeepsTheMostRecentlyUsedTiles) {
  const Entries entries{{0, 1, 1}, {1, 1, 1}, {2, 2, 1}, {3, 1, 1}, {4, 3, 1}, {5, 2, 1}};
  std::vector<bool> loads;
  for (const WorkItem& item : expert_walk(ExpertMode::kTokenCached, entries, 4)) {
    if (item.half == 0) loads.push_back(item.load);
  }
  EXPECT_EQ(loads, (std::vector<bool>{true, false, true, false, true, true}));
}

}  // namespace
}  // namespace m3vit::accel
