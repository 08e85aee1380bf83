#include "eval/mean_predictor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace m3vit {
namespace {

constexpr int kH = 8, kW = 8;

/// Three frames of constant labels; the third knows neither depth nor class.
class Three final : public Dataset {
 public:
  Three() {
    info_.name = "three";
    for (const TaskSpec& t : kTasks) info_.tasks.push_back(t.id);
    info_.classes[0] = {"a", "b"};
  }
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 3; }
  Sample get(std::int64_t index) const override {
    const auto i = static_cast<float>(index);
    Sample s;
    s.id = std::to_string(index);
    s.image = ImageU8(kH, kW, 3, 100);
    s.label(TaskId::kSemseg) = ImageF32(kH, kW, 1, index == 2 ? kIgnore : 1.0F);
    s.label(TaskId::kDepth) = ImageF32(kH, kW, 1, index == 2 ? 0.0F : 2.0F + 2 * i);
    s.label(TaskId::kSal) = ImageF32(kH, kW, 1);
    for (int y = 0; y < kH / 2; ++y) {  // the upper half is salient in frames 1 and 2
      for (int x = 0; x < kW; ++x) s.label(TaskId::kSal).at(y, x) = index > 0 ? 1.0F : 0.0F;
    }
    return s;
  }

 private:
  DatasetInfo info_;
};

Config config() {
  Config c;
  c.model.image_size = {kH, kW};
  c.tasks = {{"semseg", 2, 1}, {"depth", 1, 1}, {"sal", 1, 1}};
  return c;
}

Batch two_frames() {
  Batch b;
  b.size = 2;
  b.height = kH;
  b.width = kW;
  return b;
}

TEST(MeanPredictor, AveragesKnownLabelsPixelByPixelAndRepeatsThemForEachFrame) {
  const Config c = config();
  const MeanPredictor mean(Three(), c, 0);
  const std::vector<float> depth = mean(two_frames(), c.tasks[1]);
  ASSERT_EQ(depth.size(), 2U * kH * kW);
  for (const float d : depth) EXPECT_FLOAT_EQ(d, 3);  // of 2 and 4; 0 is unknown
  const std::vector<float> classes = mean(two_frames(), c.tasks[0]);
  ASSERT_EQ(classes.size(), 2U * 2 * kH * kW);
  EXPECT_NEAR(classes[0], std::log(0.5 / 3), 1e-6);        // class a: never, of two labels
  EXPECT_NEAR(classes[kH * kW], std::log(2.5 / 3), 1e-6);  // class b: twice
}

TEST(MeanPredictor, AnswersSaliencyAboveChanceWhereItIsMoreFrequentThanOverall) {
  const Config c = config();
  const std::vector<float> sal = MeanPredictor(Three(), c, 0)(two_frames(), c.tasks[2]);
  EXPECT_GT(sal[0], 0);            // 2 of 3 in the upper half, 1 of 3 overall
  EXPECT_LT(sal[kH * kW - 1], 0);  // never in the lower half
}

TEST(MeanPredictor, LooksAtTheFirstFramesOnlyWhenAsked) {
  const Config c = config();
  EXPECT_FLOAT_EQ(MeanPredictor(Three(), c, 1)(two_frames(), c.tasks[1])[0], 2);
}

TEST(MeanPredictor, RefusesATaskItWasNotMadeFor) {
  const Config c = config();
  const MeanPredictor mean(Three(), c, 0);
  EXPECT_THROW(mean(two_frames(), {"edge", 1, 1}), Error);
}

}  // namespace
}  // namespace m3vit
