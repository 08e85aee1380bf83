#include "accel/machine_case.h"

namespace m3vit::accel {
namespace {

TEST(MachineOnMany, EqualsTheGoldenModelOnFiveHundredRandomConfigurations) {
  expect_equal_on_random_configurations(1000, 500);
}

}  // namespace
}  // namespace m3vit::accel
