// What the folder data set reads and writes.
#include "data/folder.h"

#include <cmath>

#include "data/folder_fixture.h"
#include "data/folder_spec.h"
#include "data/random_sample.h"

namespace m3vit {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

class FolderRead : public FolderFixture {};

TEST_F(FolderRead, FramesInTheSplitsOrderAndOnlyTheFirstWhenAsked) {
  text("splits/train.txt", "c\na\nb\n");
  const Folder all = open();
  ASSERT_EQ(all.size(), 3);
  EXPECT_EQ(all.get(0).id, "c");
  EXPECT_EQ(all.get(2).id, "b");
  EXPECT_EQ(Folder(root(), "train", 2).size(), 2);
  EXPECT_EQ(Folder(root(), "train", 9).size(), 3);
}

TEST_F(FolderRead, DepthIsStoredValueTimesScaleAndZeroUnknown) {
  ImageU16 wide(kHeight, kWidth, 1, 1500);
  wide.at(1, 2) = 0;
  wide.at(1, 3) = 65535;
  write_png(root() / "depth" / "a.png", wide);
  write_png(root() / "depth" / "b.png", ImageU8(kHeight, kWidth, 1, 200));
  const ImageF32 a = open().get(0).label(TaskId::kDepth);
  EXPECT_FLOAT_EQ(a.at(0, 0), 1.5F);
  EXPECT_EQ(a.at(1, 2), 0);
  EXPECT_FLOAT_EQ(a.at(1, 3), 65.535F);
  text("dataset.yaml", "tasks: [depth]\ndepth: {scale: 0.04}\n");
  EXPECT_FLOAT_EQ(open().get(1).label(TaskId::kDepth).at(0, 0), 8);
}

TEST_F(FolderRead, NormalsAreUnitVectorsOrUnknown) {
  text("dataset.yaml", "tasks: [normals]\n");
  ImageU8 narrow(kHeight, kWidth, 3, 0);
  const auto put = [&](int x, std::array<int, 3> v) {
    for (int c = 0; c < 3; ++c) narrow.at(0, x, c) = static_cast<std::uint8_t>(v[static_cast<std::size_t>(c)]);
  };
  put(1, {255, 128, 128});
  put(2, {128, 255, 128});  // up
  put(3, {128, 128, 255});  // to the viewer
  put(4, {128, 128, 128});  // no direction
  put(5, {0, 128, 255});
  write_png(root() / "normals" / "a.png", narrow);
  ImageU16 wide(kHeight, kWidth, 3, 32768);
  wide.at(0, 0, 2) = 65535;
  write_png(root() / "normals" / "b.png", wide);
  const ImageF32 a = open().get(0).label(TaskId::kNormals);
  const auto at = [&](int x) { return std::array<float, 3>{a.at(0, x, 0), a.at(0, x, 1), a.at(0, x, 2)}; };
  EXPECT_THAT(at(0), Each(0));
  EXPECT_THAT(at(1), ElementsAre(testing::FloatNear(1, 1e-4F), testing::FloatNear(0, 0.005F), testing::_));
  EXPECT_THAT(at(2), ElementsAre(testing::_, testing::FloatNear(1, 1e-4F), testing::_));
  EXPECT_THAT(at(3), ElementsAre(testing::_, testing::_, testing::FloatNear(1, 1e-4F)));
  EXPECT_THAT(at(4), Each(0));
  const float half = std::sqrt(0.5F);
  EXPECT_THAT(at(5), ElementsAre(testing::FloatNear(-half, 0.005F), testing::_, testing::FloatNear(half, 0.005F)));
  EXPECT_NEAR(std::hypot(at(5)[0], at(5)[1], at(5)[2]), 1, 1e-6);
  EXPECT_NEAR(open().get(1).label(TaskId::kNormals).at(0, 0, 2), 1, 1e-6);
}

TEST_F(FolderRead, EdgeAndSalAreTrueFrom128) {
  text("dataset.yaml", "tasks: [edge, sal]\n");
  ImageU8 map(kHeight, kWidth, 1, 127);
  map.at(2, 2) = 128;
  write_png(root() / "edge" / "a.png", map);
  write_png(root() / "sal" / "a.png", map);
  const Sample a = open().get(0);
  for (const TaskId t : {TaskId::kEdge, TaskId::kSal}) {
    EXPECT_EQ(a.label(t).at(2, 1), 0);
    EXPECT_EQ(a.label(t).at(2, 2), 1);
  }
}

TEST_F(FolderRead, SeveralAnnotatorsAreChannels) {
  remove("edge/a.png");
  for (int k = 1; k <= 3; ++k) {
    ImageU8 map(kHeight, kWidth, 1);
    map.at(0, k) = 255;
    write_png(root() / "edge" / ("a_" + std::to_string(k) + ".png"), map);
  }
  write_png(root() / "edge" / "a_5.png", ImageU8(kHeight, kWidth, 1));  // after a gap: not counted
  EXPECT_EQ(complaint(), "");
  const ImageF32 edge = open().get(0).label(TaskId::kEdge);
  ASSERT_EQ(edge.channels, 3);
  for (int k = 1; k <= 3; ++k) {
    for (int c = 0; c < 3; ++c) EXPECT_EQ(edge.at(0, k, c), c == k - 1 ? 1 : 0);
  }
}

TEST_F(FolderRead, LabelOfAnImageCalledLikeAnAnnotatorIsItsOwn) {
  write_png(root() / "images" / "a_1.png", ImageU8(2, 3, 3));
  write_png(root() / "edge" / "a_1.png", ImageU8(2, 3, 1));
  text("splits/train.txt", "a\na_1\nb\n");
  EXPECT_EQ(complaint(), "");
  EXPECT_EQ(open().get(0).label(TaskId::kEdge).channels, 1);
  EXPECT_EQ(open().get(1).label(TaskId::kEdge).width, 3);
}

TEST_F(FolderRead, HumanPartsAreAlwaysPascalsSeven) {
  text("dataset.yaml", "tasks: [human_parts]\n");
  write_png(root() / "human_parts" / "a.png", ImageU8(kHeight, kWidth, 1, 6));
  const Folder folder = open("train", true);
  EXPECT_EQ(folder.info().classes[static_cast<std::size_t>(TaskId::kHumanParts)].size(), 7U);
  write_png(root() / "human_parts" / "a.png", ImageU8(kHeight, kWidth, 1, 7));
  EXPECT_THAT(complaint("train", true), HasSubstr("0 to 6"));
}

DatasetInfo all_tasks() {
  DatasetInfo info;
  info.name = "random";
  for (const TaskSpec& t : kTasks) info.tasks.push_back(t.id);
  info.classes[static_cast<std::size_t>(TaskId::kSemseg)] = {"a", "b", "c", "d", "e"};
  info.classes[static_cast<std::size_t>(TaskId::kHumanParts)].assign(kHumanParts.begin(), kHumanParts.end());
  info.semseg_colors.assign(5, {1, 2, 3});
  return info;
}

TEST(FolderWriter, RoundTripKeepsEveryLabelWithinItsQuantum) {
  const Scratch scratch;
  FolderWriter writer(scratch.path() / "new" / "set", all_tasks());
  std::vector<Sample> samples;
  for (std::uint64_t i = 0; i < 4; ++i) {
    samples.push_back(random_sample(i, 7 + static_cast<int>(i), 11, i == 2 ? 3 : 1));
    if (i == 1) samples.back().label(TaskId::kSal) = {};
    writer.add(samples.back(), i < 3 ? Split::kTrain : Split::kTest);
  }
  writer.finish();
  const Folder train(scratch.path() / "new" / "set", "train", 0, true);
  const Folder test(scratch.path() / "new" / "set", "test", 0, true);
  ASSERT_EQ(train.size(), 3);
  ASSERT_EQ(test.size(), 1);
  EXPECT_EQ(train.info().name, "random");
  EXPECT_EQ(train.info().tasks, all_tasks().tasks);
  EXPECT_EQ(train.info().classes, all_tasks().classes);
  EXPECT_EQ(train.info().semseg_colors, all_tasks().semseg_colors);
  for (std::size_t i = 0; i < 4; ++i) {
    const Sample back = i < 3 ? train.get(static_cast<std::int64_t>(i)) : test.get(0);
    const Sample& want = samples[i];
    EXPECT_EQ(back.id, want.id);
    EXPECT_EQ(back.image, want.image);
    for (const TaskSpec& t : kTasks) {
      const ImageF32& a = back.label(t.id);
      const ImageF32& b = want.label(t.id);
      ASSERT_EQ(a.data.size(), b.data.size()) << t.name;
      if (t.label != LabelKind::kDepth && t.label != LabelKind::kNormals) {
        EXPECT_EQ(a, b) << t.name;
        continue;
      }
      const double quantum = t.label == LabelKind::kDepth ? 0.0005 : 4.0 / 65535;
      for (std::size_t k = 0; k < a.data.size(); ++k) {
        ASSERT_NEAR(a.data[k], b.data[k], quantum * 1.001) << t.name;
        ASSERT_EQ(a.data[k] == 0, b.data[k] == 0) << t.name;  // known stays known
      }
    }
  }
}

TEST(FolderWriter, TinyDepthStaysKnown) {
  const Scratch scratch;
  DatasetInfo info;
  info.tasks = {TaskId::kDepth};
  info.name = "x";
  Sample s = random_sample(1, 2, 2);
  s.label(TaskId::kDepth).data = {0.0001F, 0, -3, INFINITY};
  FolderWriter writer(scratch.path() / "x", info);
  writer.add(s, Split::kTrain);
  writer.finish();
  EXPECT_THAT(Folder(scratch.path() / "x", "train", 0).get(0).label(TaskId::kDepth).data,
              ElementsAre(testing::FloatEq(0.001F), 0, 0, 0));
}

TEST(FolderWriter, RefusesWhatTheFormatCannotHold) {
  const Scratch scratch;
  int count = 0;
  const auto said = [&](auto change) {
    Sample s = random_sample(1, 3, 4);
    change(s);
    FolderWriter writer(scratch.path() / std::to_string(count++), all_tasks());
    try {
      writer.add(s, Split::kTrain);
      writer.add(s, Split::kTest);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(said([](Sample&) {}), HasSubstr("did not come before"));
  EXPECT_THAT(said([](Sample& s) { s.id = "../x"; }), HasSubstr("'../x'"));
  EXPECT_THAT(said([](Sample& s) { s.label(TaskId::kDepth).data[3] = 66; }), HasSubstr("at most 65.535"));
  EXPECT_THAT(said([](Sample& s) { s.label(TaskId::kSal).data[3] = 255; }), HasSubstr("no unknown pixels"));
  EXPECT_THAT(said([](Sample& s) { s.label(TaskId::kSemseg).data[3] = 2.5; }), HasSubstr("a class index"));
  EXPECT_THAT(said([](Sample& s) { s.label(TaskId::kSemseg).data[3] = NAN; }), HasSubstr("a class index"));
  EXPECT_THAT(said([](Sample& s) { s.label(TaskId::kNormals) = ImageF32(2, 4, 3); }), HasSubstr("4x2x3"));
}

TEST(FolderWriter, StartsOnlyInAnEmptyFolderAndIsCompleteOnlyAfterFinish) {
  const Scratch scratch;
  FolderWriter writer(scratch.path(), all_tasks());
  writer.add(random_sample(1, 3, 4), Split::kTrain);
  EXPECT_THROW(Folder(scratch.path(), "train", 0), Error);
  writer.finish();
  EXPECT_EQ(Folder(scratch.path(), "train", 0).size(), 1);
  EXPECT_THAT([&] { FolderWriter(scratch.path(), all_tasks()); },
              testing::ThrowsMessage<Error>(HasSubstr("an empty folder")));
}

}  // namespace
}  // namespace m3vit
