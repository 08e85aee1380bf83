// A few whole models, with and without random stalls of DDR.
#include "rtl/whole_model.h"

namespace m3vit::rtl {
namespace {

TEST(WholeModel, EqualsTheGoldenModelOnRandomConfigurations) {
  for (const std::uint32_t seed : seeds(12)) expect_equal_on_random_configuration(seed, accel::ExpertMode::kExpert, {});
}

TEST(WholeModel, EqualsTheGoldenModelUnderRandomStalls) {
  for (const std::uint32_t seed : seeds(6))
    expect_equal_on_random_configuration(seed, accel::ExpertMode::kExpert,
                                         {.latency = 23, .bytes_per_cycle = 64, .stalls = seed});
}

TEST(WholeModel, WithAnOddNumberOfTokensRoutesNoneTwice) {
  expect_equal_on_random_configuration(103, accel::ExpertMode::kExpert,
                                       {.stalls = 3});  // 11 tokens, then ops with more rows
}

}  // namespace
}  // namespace m3vit::rtl
