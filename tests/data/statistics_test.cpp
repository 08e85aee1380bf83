#include "data/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/frames.h"

namespace m3vit {
namespace {

DatasetInfo two_classes() {
  DatasetInfo info;
  info.name = "tiny";
  info.tasks = {TaskId::kSemseg, TaskId::kDepth, TaskId::kEdge};
  info.classes[static_cast<std::size_t>(TaskId::kSemseg)] = {"a", "b"};
  return info;
}

/// 1×4: classes a a b unlabelled; depth 1 2 unknown 3; edges 0 1 by one annotator, 0 0 by the other.
Sample hand_sample() {
  Sample s;
  s.image = ImageU8(1, 4, 3, 51);
  s.label(TaskId::kSemseg) = ImageF32(1, 4, 1);
  s.label(TaskId::kSemseg).data = {0, 0, 1, kIgnore};
  s.label(TaskId::kDepth) = ImageF32(1, 4, 1);
  s.label(TaskId::kDepth).data = {1, 2, 0, 3};
  s.label(TaskId::kEdge) = ImageF32(1, 4, 2);
  s.label(TaskId::kEdge).data = {0, 0, 1, 0, kIgnore, 0, kIgnore, kIgnore};
  return s;
}

TEST(Statistics, CountsWhatAHandCountFinds) {
  Statistics s(two_classes());
  s.add(hand_sample());
  Sample bare;
  bare.image = ImageU8(2, 2, 3, 51);
  s.add(bare);

  EXPECT_EQ(s.frames(), 2);
  EXPECT_EQ(s.smallest(), (std::array<int, 2>{1, 4}));
  EXPECT_EQ(s.largest(), (std::array<int, 2>{2, 2}));
  EXPECT_NEAR(s.mean(0), 0.2, 1e-12);
  EXPECT_NEAR(s.deviation(2), 0, 1e-6);

  const TaskStatistics& semseg = s.task(TaskId::kSemseg);
  EXPECT_EQ(semseg.frames, 1);
  EXPECT_EQ(semseg.labelled, 3);
  EXPECT_EQ(semseg.classes[0].pixels, 2);
  EXPECT_EQ(semseg.classes[1].pixels, 1);
  EXPECT_EQ(semseg.classes[1].frames, 1);

  EXPECT_EQ(s.task(TaskId::kDepth).labelled, 3);
  EXPECT_EQ(s.depth_min(), 1);
  EXPECT_EQ(s.depth_max(), 3);
  EXPECT_NEAR(s.depth_quantile(0.5), 2, 0.011);

  EXPECT_EQ(s.task(TaskId::kEdge).labelled, 3);
  EXPECT_EQ(s.task(TaskId::kEdge).positive, 1);
  EXPECT_EQ(s.task(TaskId::kSal).frames, 0);
}

TEST(Statistics, JsonNamesTheClassesAndLeavesOutMissingTasks) {
  Statistics s(two_classes());
  s.add(hand_sample());
  const nlohmann::json j = s.to_json();
  EXPECT_EQ(j["tasks"]["semseg"]["classes"][1]["name"], "b");
  EXPECT_EQ(j["tasks"]["depth"]["metres"]["max"], 3.0);
  EXPECT_NEAR(j["tasks"]["edge"]["positive"].get<double>(), 1.0 / 3, 1e-9);
  EXPECT_FALSE(j["tasks"].contains("sal"));
}

TEST(Statistics, NoDepthGivesNullsNotNumbers) {
  Statistics s(two_classes());
  EXPECT_TRUE(std::isnan(s.depth_min()));
  EXPECT_TRUE(std::isnan(s.depth_quantile(0.5)));
  EXPECT_EQ(s.to_json()["frames"], 0);
}

/// Frame i is i pixels wide; frame 7 of `broken` is an error.
class Numbered final : public Dataset {
 public:
  explicit Numbered(bool broken) : broken_(broken) {}
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 20; }
  Sample get(std::int64_t index) const override {
    if (broken_ && index == 7) throw Error{{.where = "frame 7", .found = "nothing"}};
    Sample s;
    s.image = ImageU8(1, static_cast<int>(index) + 1, 3);
    return s;
  }

 private:
  bool broken_;
  DatasetInfo info_;
};

TEST(ForEachFrame, HandsFramesOverInOrderForAnyNumberOfThreads) {
  for (const int threads : {1, 2, 7}) {
    std::vector<int> widths;
    for_each_frame(Numbered(false), 20, threads, [&](std::int64_t i, const Sample& s) {
      EXPECT_EQ(s.image.width, i + 1);
      widths.push_back(s.image.width);
      return true;
    });
    EXPECT_EQ(widths.size(), 20U);
  }
}

TEST(ForEachFrame, StopsWhenToldAndRethrows) {
  int used = 0;
  for_each_frame(Numbered(false), 20, 3, [&](std::int64_t, const Sample&) { return ++used < 5; });
  EXPECT_EQ(used, 5);
  used = 0;
  EXPECT_THROW(for_each_frame(Numbered(true), 20, 3,
                              [&](std::int64_t, const Sample&) {
                                ++used;
                                return true;
                              }),
               Error);
  EXPECT_EQ(used, 7);
}

}  // namespace
}  // namespace m3vit
