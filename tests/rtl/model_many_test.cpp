// Whole models in number: every order of experts, DDR fast and slow, stalled or not; and the extremes of routing.
#include <algorithm>

#include "rtl/whole_model.h"

namespace m3vit::rtl {
namespace {

using accel::ExpertMode;

TEST(WholeModels, EqualTheGoldenModelOnFiveHundredRandomConfigurations) {
  constexpr ExpertMode kModes[] = {ExpertMode::kExpert, ExpertMode::kToken, ExpertMode::kTokenCached,
                                   ExpertMode::kTokenPairs};
  for (const std::uint32_t seed : seeds(500)) {
    const DdrModel ddr{.latency = static_cast<int>(seed % 7 * 20 + 1),
                       .bytes_per_cycle = seed % 3 == 0 ? 8.0 : 51.2,
                       .stalls = seed % 2 == 0 ? seed : 0};
    expect_equal_on_random_configuration(seed, kModes[seed / 2 % 4], ddr);
    if (testing::Test::HasFailure()) return;
  }
}

/// One MoE model of two tasks whose only parameters are these; no dimension is a multiple of the array.
Config config_with(int experts, int top_k) {
  MoeConfig moe;
  moe.num_experts = experts;
  moe.top_k = top_k;
  moe.expert_hidden = 12;
  Config c = accel::two_task_config({12, 20}, /*embed_dim=*/20, /*depth=*/2, /*head_channels=*/12, moe);
  c.model.mlp_ratio = 2;
  return c;
}

TEST(WholeModels, RunWithOneExpertAndAThousand) {
  for (const auto& [experts, top_k] : {std::pair{1, 1}, std::pair{5, 5}, std::pair{1024, 4}}) {
    SCOPED_TRACE(std::to_string(experts) + " experts");
    const accel::QuantisedCase c = accel::quantised_case(config_with(experts, top_k), 5);
    expect_equal(c, accel::compile(c.model, {narrow_array()}), {});
  }
}

TEST(WholeModels, RunWhenEveryTokenChoosesTheSameExpertsAndTheOthersAreEmpty) {
  const accel::QuantisedCase c =
      accel::quantised_case(config_with(12, 2), 6, [](accel::FloatModel& model) { accel::prefer_for_all(model, 7); });
  expect_equal(c, accel::compile(c.model, {narrow_array()}), {});
}

}  // namespace
}  // namespace m3vit::rtl
