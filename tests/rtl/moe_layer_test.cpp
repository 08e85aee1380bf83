// One MoE layer, whole, in every order of experts: the RTL against the golden model, bit for bit.
#include "rtl/moe_layer.h"

#include "accel/machine/expert_walk.h"
#include "accel8.h"

namespace m3vit::rtl {
namespace {

enum Mode : std::uint8_t { kExpertOrder, kTokenOrder, kCached, kPairs };

Counters check(const LayerShape& shape, int mode, std::uint32_t seed, DdrModel ddr, int slots = 2) {
  MoeLayer layer(shape, 8, seed);
  const std::vector<std::uint8_t> image = layer.image(mode, slots);
  std::uint64_t clamped = 0;
  const auto want =
      layer.golden(mode == kExpertOrder ? accel::ExpertOrder::kExpert : accel::ExpertOrder::kToken, clamped);
  Machine<accel8> machine(image.size() + 4096, ddr);
  std::ranges::copy(image, machine.memory.begin());
  const Counters counters = machine.run(0, 3'000'000);
  const auto got = layer.output(machine.memory);
  for (std::size_t i = 0; i < want.size(); ++i)
    if (const auto ok = same(got[i], want[i], machine.cycle(),
                             "residual of token " + std::to_string(i / shape.dim) + ", mode " + std::to_string(mode),
                             static_cast<std::int64_t>(i) % shape.dim, seed);
        !ok) {
      ADD_FAILURE() << ok.message();
      break;
    }
  EXPECT_EQ(counters[kEntries], layer.entries().size());
  EXPECT_EQ(counters[kClamped], clamped);
  return counters;
}

struct Case {
  const char* name;
  LayerShape shape;
};
using Gate = LayerShape::Gate;
const Case kCases[] = {
    {"whole_words", {8, 16, 16, 8, 2}},
    {"ragged", {9, 20, 27, 6, 2}},
    {"one_token", {1, 24, 8, 4, 4}},
    {"one_word_rows", {7, 8, 8, 3, 1}},
    {"one_expert", {6, 16, 24, 1, 1}},
    {"all_tokens_to_one_expert", {13, 17, 9, 5, 1, Gate::kOneExpert}},
    {"equal_logits", {10, 9, 10, 12, 3, Gate::kEqual}},
    {"most_experts_empty", {3, 16, 16, 40, 1}},
    {"top_8", {5, 16, 8, 9, 8}},
    {"pruned", {12, 16, 16, 16, 4, Gate::kRandom, 3000}},
    {"all_pruned", {4, 16, 16, 16, 4, Gate::kRandom, 32768}},
};

class MoeLayerCase : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, MoeLayerCase, testing::ValuesIn(kCases),
                         [](const auto& p) { return std::string(p.param.name); });

TEST_P(MoeLayerCase, EqualsTheGoldenModelInEveryOrder) {
  for (const int mode : {kExpertOrder, kTokenOrder, kCached, kPairs})
    for (const std::uint32_t seed : seeds(2)) check(GetParam().shape, mode, seed, {}, mode == kCached ? 4 : 2);
}

TEST_P(MoeLayerCase, EqualsTheGoldenModelUnderRandomStalls) {
  for (const int mode : {kExpertOrder, kTokenOrder, kCached, kPairs})
    for (const std::uint32_t seed : seeds(2))
      check(GetParam().shape, mode, seed, {.latency = 17, .bytes_per_cycle = 64, .stalls = seed},
            mode == kCached ? 5 : 3);
}

TEST(MoeLayer, LoadsEveryChosenExpertOnceInExpertOrderAndOncePerChoiceInTokenOrder) {
  const LayerShape shape{40, 16, 24, 12, 2};
  const Counters by_expert = check(shape, kExpertOrder, 1, {});
  const Counters by_token = check(shape, kTokenOrder, 1, {});
  EXPECT_EQ(by_expert[kTiles], 2 * by_expert[kNonEmpty]);
  EXPECT_EQ(by_token[kTiles], 2 * by_token[kEntries]);
  EXPECT_EQ(by_expert[kDdrExperts] * by_token[kTiles], by_token[kDdrExperts] * by_expert[kTiles]);
  EXPECT_LT(by_expert[kCycles], by_token[kCycles]);
}

TEST(MoeLayer, ACacheLoadsLessThanTokenOrderAndPairsNoMore) {
  const LayerShape shape{40, 16, 24, 12, 2};
  const Counters reload = check(shape, kTokenOrder, 1, {});
  const Counters cached = check(shape, kCached, 1, {}, 12);
  const Counters pairs = check(shape, kPairs, 1, {});
  EXPECT_LT(cached[kTiles], reload[kTiles]);
  EXPECT_EQ(cached[kTiles] + cached[kTileHits], reload[kTiles]);
  EXPECT_LE(pairs[kTiles], reload[kTiles]);
}

TEST(MoeLayer, ClampsAndCountsWhatDoesNotFitTheResidual) {
  LayerShape shape{9, 16, 16, 4, 2};
  shape.loud = true;
  for (const int mode : {kExpertOrder, kTokenOrder})
    for (const std::uint32_t seed : seeds(2)) EXPECT_GT(check(shape, mode, seed, {})[kClamped], 0U);
}

TEST(MoeLayer, ACacheReplacesTheLeastRecentlyUsed) {
  const LayerShape shape{40, 16, 24, 12, 2};
  for (const int slots : {5, 16}) {
    MoeLayer layer(shape, 8, 1);
    std::uint64_t clamped = 0;
    layer.golden(accel::ExpertOrder::kToken, clamped);
    const auto items = accel::expert_walk(accel::ExpertMode::kTokenCached, layer.entries(), slots);
    const auto loads = std::ranges::count_if(items, [](const accel::WorkItem& item) { return item.load; });
    EXPECT_EQ(check(shape, kCached, 1, {}, slots)[kTiles], loads) << slots << " slots";
  }
}

TEST(MoeLayer, BytesOnChipDoNotDependOnTheNumberOfExperts) {
  // all tokens to one expert: the same work whether 8 or 200 experts lie in DDR, but for the router's own columns
  const Counters few = check({16, 16, 16, 8, 1, Gate::kOneExpert}, kExpertOrder, 1, {});
  const Counters many = check({16, 16, 16, 200, 1, Gate::kOneExpert}, kExpertOrder, 1, {});
  EXPECT_EQ(few[kDdrExperts], many[kDdrExperts]);
  EXPECT_EQ(few[kResRead], many[kResRead]);
  EXPECT_EQ(few[kTiles], many[kTiles]);
}

}  // namespace
}  // namespace m3vit::rtl
