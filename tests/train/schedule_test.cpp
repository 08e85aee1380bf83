#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace m3vit {
namespace {

TrainConfig config(Schedule schedule) {
  TrainConfig c;
  c.schedule = schedule;
  c.lr = 0.1;
  c.epochs = 10;
  c.warmup_epochs = 0;
  return c;
}

TEST(Schedule, PolyIsTheAuthorsPerEpochRate) {
  const TrainConfig c = config(Schedule::kPoly);
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 7), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 6, 7), 0.1);  // still epoch 0
  EXPECT_DOUBLE_EQ(learning_rate(c, 7, 7), 0.1 * std::pow(0.9, 0.9));
  EXPECT_DOUBLE_EQ(learning_rate(c, 69, 7), 0.1 * std::pow(0.1, 0.9));
}

TEST(Schedule, CosineGoesFromTheRateToTheFloor) {
  TrainConfig c = config(Schedule::kCosine);
  c.min_lr = 0.02;
  EXPECT_DOUBLE_EQ(learning_rate(c, 0, 5), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 49, 5), 0.02);
  EXPECT_NEAR(learning_rate(c, 24, 5) + learning_rate(c, 25, 5), 0.12, 1e-12);  // symmetric about the middle
  for (int s = 1; s < 50; ++s) EXPECT_LT(learning_rate(c, s, 5), learning_rate(c, s - 1, 5));
}

TEST(Schedule, WarmUpIsLinearFromTheFirstStep) {
  for (const Schedule schedule : {Schedule::kConstant, Schedule::kCosine}) {
    TrainConfig c = config(schedule);
    c.warmup_epochs = 0.5;
    for (int s = 0; s < 10; ++s) EXPECT_NEAR(learning_rate(c, s, 20), 0.1 * (s + 1) / 10, 1e-12);
    EXPECT_NEAR(learning_rate(c, 10, 20), 0.1, 1e-12);
  }
}

TEST(Schedule, ConstantIsConstant) { EXPECT_DOUBLE_EQ(learning_rate(config(Schedule::kConstant), 12345, 7), 0.1); }

}  // namespace
}  // namespace m3vit
