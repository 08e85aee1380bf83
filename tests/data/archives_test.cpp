// Every loader gives back what was written into its archive, in every layout; PASCAL's generated labels by hand and
// against OpenCV.
#include <gmock/gmock.h>

#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "core/label_outline.h"
#include "core/rng.h"
#include "core/thin.h"
#include "data/archive_files.h"
#include "data/archives/class_lists.h"
#include "data/archives/nyud.h"
#include "data/archives/pascal_context.h"
#include "data/archives/pascal_labels.h"
#include "data/dataset.h"
#include "data/frames.h"
#include "data/loader.h"
#include "data/scratch.h"
#include "data/statistics.h"

namespace m3vit {
namespace {

using testing::ElementsAre;

std::unique_ptr<Dataset> open(ArchiveKind kind, const std::filesystem::path& root, const std::string& split,
                              const std::vector<TaskId>& tasks = {}) {
  return open_archive(archive_dataset(kind), root, split, 0, tasks, /*deep=*/true);
}

Image<std::int32_t> as_ids(const std::vector<std::vector<int>>& rows) {
  Image<std::int32_t> map(static_cast<int>(rows.size()), static_cast<int>(rows.front().size()), 1);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) map.at(y, x) = rows[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)];
  }
  return map;
}

/// cv2.Laplacian(map, CV_64F), |·| > 0.
Bitmap laplacian_of_opencv(const Image<std::int32_t>& map) {
  cv::Mat ids(map.height, map.width, CV_16U);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) ids.at<std::uint16_t>(y, x) = static_cast<std::uint16_t>(map.at(y, x));
  }
  cv::Mat out;
  cv::Laplacian(ids, out, CV_64F);
  Bitmap edges(map.height, map.width);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      if (out.at<double>(y, x) != 0) edges.set(y, x);
    }
  }
  return edges;
}

void expect_same_map(const ImageF32& got, const ImageF32& want, float tolerance, const std::string& what) {
  ASSERT_EQ(got.height, want.height) << what;
  ASSERT_EQ(got.width, want.width) << what;
  ASSERT_EQ(got.channels, want.channels) << what;
  for (std::size_t i = 0; i < want.data.size(); ++i) {
    ASSERT_NEAR(got.data[i], want.data[i], tolerance) << what << " at value " << i;
  }
}

class EveryArchive : public testing::TestWithParam<ArchiveKind> {
 protected:
  void SetUp() override { splits_ = write_archive(GetParam(), scratch_.path()); }
  Scratch scratch_;
  std::map<std::string, std::vector<Sample>> splits_;
};

TEST_P(EveryArchive, ComesBackAsWritten) {
  for (const auto& [split, samples] : splits_) {
    const auto data = open(GetParam(), scratch_.path(), split);
    ASSERT_EQ(data->size(), static_cast<std::int64_t>(samples.size()));
    EXPECT_TRUE(data->info().archive);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const Sample got = data->get(static_cast<std::int64_t>(i));
      EXPECT_EQ(got.id, samples[i].id);
      EXPECT_EQ(got.image, samples[i].image);
      for (const TaskSpec& t : kTasks) {
        if (GetParam() == ArchiveKind::kPascal && t.id == TaskId::kEdge) continue;  // has tests of its own
        const std::string what = split + "/" + got.id + " " + std::string(t.name);
        expect_same_map(got.label(t.id), samples[i].label(t.id), 1e-6F, what);
      }
    }
  }
}

TEST_P(EveryArchive, IsToldByItsDirectories) {
  EXPECT_EQ(dataset_at(scratch_.path()), archive_dataset(GetParam()));
  if (archive_dataset(GetParam()) != "nyud") return;
  const auto layout = find_nyud_layout(scratch_.path());
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout_name(*layout), archive_kind_name(GetParam()));
}

TEST_P(EveryArchive, OpensFromAConfigurationWithTheTasksItNames) {
  Config config;
  config.data.dataset = archive_dataset(GetParam());
  config.data.root = scratch_.path().string();
  config.data.train.frames = 2;
  config.tasks = {{.name = "semseg"}};
  const auto train = make_dataset(config, Split::kTrain);
  EXPECT_THAT(train->info().tasks, ElementsAre(TaskId::kSemseg));
  EXPECT_EQ(train->size(), 2);
  EXPECT_TRUE(train->get(0).label(TaskId::kDepth).empty());
  EXPECT_EQ(make_dataset(config, Split::kTest)->size(), 2);
  resolve_outputs(config, train->info(), "here");
  const int classes[] = {40, 40, 40, 13, 21, 7};
  EXPECT_EQ(config.tasks.front().outputs, classes[static_cast<std::size_t>(GetParam())]);
}

TEST_P(EveryArchive, GivesTheSameEpochWhateverTheNumberOfWorkers) {
  const auto data = open(GetParam(), scratch_.path(), "train");
  AugmentConfig augment;
  augment.rotate = 20;
  augment.scales = {1.0, 1.2, 1.5};
  LoaderOptions options;
  options.height = 16;
  options.width = 16;
  options.batch_size = 2;
  options.drop_last = false;
  options.augment = &augment;
  std::vector<std::vector<float>> first;
  for (const int workers : {1, 4}) {
    options.workers = workers;
    Loader loader(*data, options);
    std::size_t k = 0;
    while (const auto batch = loader.next()) {
      for (const std::vector<float>& values : {batch->images, batch->labels[0], batch->labels[2]}) {
        if (workers == 1) {
          first.push_back(values);
        } else {
          EXPECT_EQ(values, first.at(k++));
        }
      }
    }
  }
}

TEST_P(EveryArchive, HasStatistics) {
  const auto data = open(GetParam(), scratch_.path(), "train");
  Statistics statistics(data->info());
  for_each_frame(*data, data->size(), 2, [&](std::int64_t, const Sample& sample) {
    statistics.add(sample);
    return true;
  });
  EXPECT_EQ(statistics.frames(), 3);
  EXPECT_EQ(statistics.task(TaskId::kSemseg).frames, 3);
  EXPECT_EQ(statistics.smallest(), (std::array{kArchiveHeight, kArchiveWidth}));
}

INSTANTIATE_TEST_SUITE_P(Layouts, EveryArchive, testing::ValuesIn(kArchiveKinds),
                         [](const auto& p) { return std::string(archive_kind_name(p.param)); });

// ------------------------------------------------------------------------------------------------ PASCAL-Context

TEST(PascalEdges, AreTheThinnedLaplacianOfOpenCv) {
  Rng rng{3};
  for (int round = 0; round < 20; ++round) {
    Image<std::int32_t> map(24, 31, 1);
    for (int y = 0; y < map.height; ++y) {
      for (int x = 0; x < map.width; ++x) {
        map.at(y, x) = (y / 5 + x / 7 + round) % 3 == 0 ? 440 : static_cast<int>(rng.below(3)) * 100 / (round + 1);
      }
    }
    Bitmap want = laplacian_of_opencv(map);
    thin(want);
    const ImageF32 got = laplacian_edges(map);
    for (int y = 0; y < map.height; ++y) {
      for (int x = 0; x < map.width; ++x) ASSERT_EQ(got.at(y, x), want.get(y, x) ? 1 : 0) << x << ' ' << y;
    }
  }
}

TEST(PascalEdges, MissABorderWhoseNeighboursCancelAsThePublishedLabelDoes) {
  // The middle column's Laplacian is (1 − 2) + (3 − 2) = 0 although it differs from both sides.
  const Bitmap raw = laplacian_of_opencv(as_ids({{1, 1, 2, 3, 3}, {1, 1, 2, 3, 3}, {1, 1, 2, 3, 3}}));
  EXPECT_FALSE(raw.get(1, 2));
  const ImageF32 edges = laplacian_edges(as_ids({{1, 1, 2, 3, 3}, {1, 1, 2, 3, 3}, {1, 1, 2, 3, 3}}));
  EXPECT_EQ(edges.at(1, 2), 0);
  EXPECT_EQ(edges.at(1, 1), 1);
  EXPECT_EQ(edges.at(1, 3), 1);
}

TEST(LabelOutline, ComparesWithRightLowerAndLowerRightAndLeavesTheCornerOut) {
  // Worked by hand after seg2bmap: the last row looks right only, the last column down only.
  const Bitmap border = label_outline(as_ids({{1, 1, 2}, {1, 3, 3}, {1, 3, 4}}));
  const int want[3][3] = {{1, 1, 1}, {1, 1, 1}, {1, 1, 0}};
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 3; ++x) EXPECT_EQ(border.get(y, x), want[y][x] != 0) << x << ' ' << y;
  }
  const Bitmap flat = label_outline(as_ids({{5, 5}, {5, 5}}));
  EXPECT_EQ(flat.count(), 0);
}

TEST(PascalEdges, OfTheTestSplitAreTheOutline) {
  const Scratch scratch;
  write_archive(ArchiveKind::kPascal, scratch.path());
  Config config;
  config.data.dataset = "pascal_context";
  config.data.root = scratch.path().string();
  config.tasks = {{.name = "edge"}};
  const ImageF32 test = make_dataset(config, Split::kTest)->get(0).label(TaskId::kEdge);
  const ImageF32 train = make_dataset(config, Split::kTrain)->get(0).label(TaskId::kEdge);
  for (int y = 0; y < kArchiveHeight; ++y) {
    for (int x = 0; x < kArchiveWidth; ++x) EXPECT_EQ(test.at(y, x), x == 7 ? 1 : 0) << x << ' ' << y;
  }
  EXPECT_NE(train, test);
  for (int y = 2; y < kArchiveHeight - 2; ++y) {
    EXPECT_EQ(train.at(y, 7) + train.at(y, 8), 1) << "a line two pixels wide thins to one";
  }
}

TEST(HumanParts, AreGroupedBySixAsPublished) {
  const std::map<int, std::vector<std::string>> groups{
      {1, {"hair", "head", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"}},
      {2, {"neck", "torso"}},
      {3, {"luarm", "ruarm"}},
      {4, {"llarm", "rlarm", "lhand", "rhand"}},
      {5, {"luleg", "ruleg"}},
      {6, {"llleg", "rlleg", "lfoot", "rfoot"}},
      {0, {"", "tail", "Head", "lhandle"}}};
  for (const auto& [part, names] : groups) {
    for (const std::string& name : names) EXPECT_EQ(part_of_name(name), part) << name;
  }
}

TEST(HumanParts, AloneLeaveOutImagesWithoutAPerson) {
  const Scratch scratch;
  write_archive(ArchiveKind::kPascal, scratch.path());
  const auto alone = open(ArchiveKind::kPascal, scratch.path(), "train", {TaskId::kHumanParts});
  ASSERT_EQ(alone->size(), 2);
  EXPECT_EQ(alone->get(0).id, "a");
  EXPECT_EQ(alone->get(1).id, "c");
  const auto both = open(ArchiveKind::kPascal, scratch.path(), "train", {TaskId::kHumanParts, TaskId::kSal});
  EXPECT_EQ(both->size(), 3);
}

TEST(HumanParts, TakeThePersonsFromThePublishedCacheWhereThereIsOne) {
  const Scratch scratch;
  write_archive(ArchiveKind::kPascal, scratch.path());
  std::filesystem::create_directories(scratch.path() / "ImageSets" / "Parts");
  write_text(scratch.path() / "ImageSets" / "Parts" / "train.txt", R"({"a": [12, -1], "b": [3], "c": [12, 15]})");
  const auto alone = open(ArchiveKind::kPascal, scratch.path(), "train", {TaskId::kHumanParts});
  ASSERT_EQ(alone->size(), 1);
  EXPECT_EQ(alone->get(0).id, "c");
}

TEST(PascalNormals, CountOnClassesThatNyudHasToo) {
  EXPECT_TRUE(pascal_normals_valid(440)) << "wall";
  EXPECT_TRUE(pascal_normals_valid(158)) << "floor";
  EXPECT_TRUE(pascal_normals_valid(284)) << "person";
  EXPECT_TRUE(pascal_normals_valid(427)) << "tvmonitor, added by hand";
  EXPECT_FALSE(pascal_normals_valid(431)) << "unknown is in both lists and left out";
  EXPECT_FALSE(pascal_normals_valid(187)) << "grass";
  EXPECT_FALSE(pascal_normals_valid(360)) << "sky";
  EXPECT_FALSE(pascal_normals_valid(0));
  int valid = 0;
  for (int id = -1000; id < 1000; ++id) valid += pascal_normals_valid(id) ? 1 : 0;
  EXPECT_EQ(valid, 170);
}

TEST(PascalSaliency, IsBroughtToTheImagesSize) {
  const Scratch scratch;
  write_archive(ArchiveKind::kPascal, scratch.path());
  ImageU8 small(kArchiveHeight / 2, kArchiveWidth / 2, 1);
  small.at(1, 2) = 128;
  small.at(2, 2) = 127;
  write_png(scratch.path() / "sal_distill" / "a.png", small);
  const Sample s = open(ArchiveKind::kPascal, scratch.path(), "train", {TaskId::kSal})->get(0);
  for (int y = 0; y < kArchiveHeight; ++y) {
    for (int x = 0; x < kArchiveWidth; ++x) {
      EXPECT_EQ(s.label(TaskId::kSal).at(y, x), y / 2 == 1 && x / 2 == 2 ? 1 : 0);
    }
  }
}

TEST(ClassLists, HaveThePublishedLengthsAndNoNameTwice) {
  const std::pair<std::vector<std::string>, std::size_t> lists[] = {
      {pascal_classes(), 21}, {nyud_classes(), 40}, {nyud13_classes(), 13}, {cityscapes_classes(), 7}};
  for (auto [names, count] : lists) {
    EXPECT_EQ(names.size(), count);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  }
  EXPECT_EQ(nyud_classes()[19], "floor mat");
  EXPECT_EQ(pascal_classes()[15], "person");
}

}  // namespace
}  // namespace m3vit
