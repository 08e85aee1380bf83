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
  Config c = naive::random_config(3);
  ModelConfig& m = c.model;
  m.patch_size = 4;
  m.image_size = {12, 20};
  m.embed_dim = 20;
  m.num_heads = 2;
  m.depth = 2;
  m.mlp_ratio = 2;
  m.head.stages = 2;
  m.head.channels = 12;
  m.moe = MoeConfig{};
  m.moe->num_experts = experts;
  m.moe->top_k = top_k;
  m.moe->expert_hidden = 12;
  c.tasks.clear();
  for (const char* name : {"depth", "normals"}) {
    TaskConfig task;
    task.name = name;
    task.outputs = name[0] == 'd' ? 1 : 3;
    c.tasks.push_back(task);
  }
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
  const accel::QuantisedCase c = accel::quantised_case(config_with(12, 2), 6, [](accel::FloatModel& model) {
    for (accel::FBlock& b : model.blocks) {
      for (auto& [task, router] : b.routers) {
        std::fill(router.gate.weight.begin(), router.gate.weight.end(), 0.0F);
        std::fill(router.gate.bias.begin(), router.gate.bias.end(), 0.0F);
        router.gate.bias[7] = 5.0F;
      }
    }
  });
  expect_equal(c, accel::compile(c.model, {narrow_array()}), {});
}

}  // namespace
}  // namespace m3vit::rtl
