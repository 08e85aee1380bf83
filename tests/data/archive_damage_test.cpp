// A damaged archive is reported by file and field, whatever the damage; and all of it at once.
#include <gmock/gmock.h>

#include <fstream>
#include <functional>

#include "core/image_io.h"
#include "core/npy.h"
#include "data/archive_files.h"
#include "data/dataset.h"
#include "data/problems.h"
#include "data/scratch.h"

namespace m3vit {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kH = kArchiveHeight;
constexpr int kW = kArchiveWidth;

Problems check(ArchiveKind kind, const fs::path& root, const std::string& split,
               const std::vector<TaskId>& tasks = {}) {
  try {
    open_archive(archive_dataset(kind), root, split, 0, tasks, /*deep=*/true);
  } catch (const ProblemsError& e) {
    return e.problems;
  } catch (const Error& e) {
    Problems one;
    one.add(e.parts());
    return one;
  }
  return {};
}

struct Damage {
  std::string name;
  ArchiveKind kind;
  std::function<void(const fs::path& root)> harm;
  std::string file, field;  ///< file: the end of the path, or of path:line
  std::vector<TaskId> tasks{};
  std::string split = "train";
  std::size_t count = 1;
};
void PrintTo(const Damage& d, std::ostream* out) { *out << d.name; }

class DamagedArchive : public testing::TestWithParam<Damage> {};

TEST_P(DamagedArchive, IsReportedByFileAndField) {
  const Damage& d = GetParam();
  const Scratch scratch;
  write_archive(d.kind, scratch.path());
  ASSERT_EQ(check(d.kind, scratch.path(), d.split, d.tasks).count(), 0U) << "whole before it is harmed";
  d.harm(scratch.path());
  const Problems found = check(d.kind, scratch.path(), d.split, d.tasks);
  EXPECT_EQ(found.count(), d.count);
  bool named = false;
  std::string all;
  for (const Error::Parts& p : found.list()) {
    all += std::string(Error(p).what()) + "\n";
    named = named || (p.where.ends_with(d.file) && p.field == d.field);
    EXPECT_FALSE(p.wanted.empty());
    EXPECT_FALSE(p.found.empty());
  }
  EXPECT_TRUE(named) << "want " << d.file << ": " << d.field << ", got\n" << all;
}

std::function<void(const fs::path&)> removed(const std::string& file) {
  return [file](const fs::path& root) { fs::remove_all(root / file); };
}
std::function<void(const fs::path&)> text(const std::string& file, const std::string& content) {
  return [=](const fs::path& root) { write_text(root / file, content); };
}
std::function<void(const fs::path&)> cut(const std::string& file, double share) {
  return [=](const fs::path& root) {
    fs::resize_file(root / file, static_cast<std::uintmax_t>(share * static_cast<double>(fs::file_size(root / file))));
  };
}
std::function<void(const fs::path&)> png(const std::string& file, int height, int width, int channels, int value) {
  return [=](const fs::path& root) {
    write_png(root / file, ImageU8(height, width, channels, static_cast<std::uint8_t>(value)));
  };
}
/// All ones but the value in the middle.
std::function<void(const fs::path&)> npy(const std::string& file, const std::vector<std::int64_t>& shape, float value) {
  return [=](const fs::path& root) {
    std::size_t n = 1;
    for (const std::int64_t d : shape) n *= static_cast<std::size_t>(d);
    std::vector<float> data(n, 1.0F);
    data[n / 2] = value;
    write_npy(root / file, shape, data);
  };
}
std::function<void(const fs::path&)> mat(const std::string& file, const char* name, int height, int width,
                                         float value) {
  return
      [=](const fs::path& root) { write_mat(root / file, name, ImageF32(height, width, 1, value), MatClass::kDouble); };
}
std::function<void(const fs::path&)> bytes(const std::string& file, std::streamoff at, const std::string& with) {
  return [=](const fs::path& root) {
    std::fstream f(root / file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(at);
    f << with;
  };
}
std::function<void(const fs::path&)> anno(const std::vector<AnnotatedObject>& objects, bool with_parts = true) {
  return [=](const fs::path& root) { write_anno(root / "human_parts/a.mat", objects, with_parts); };
}

const ImageF32 kMask(kH, kW, 1, 1.0F);
const float kNan = std::nanf("");
constexpr auto kSurvey = ArchiveKind::kSurvey;
constexpr auto kAtrc = ArchiveKind::kAtrc;
constexpr auto kAstmt = ArchiveKind::kAstmt;
constexpr auto kMtan = ArchiveKind::kMtan;
constexpr auto kPascal = ArchiveKind::kPascal;
constexpr auto kCity = ArchiveKind::kCityscapes;
const std::vector<TaskId> kParts{TaskId::kHumanParts};

std::vector<Damage> damages() {
  return {
      // NYUD, the survey's layout
      {"ImageMissing", kSurvey, removed("images/b.jpg"), "images/b.jpg", "image"},
      {"ImageCut", kSurvey, cut("images/b.jpg", 0.5), "images/b.jpg", "image"},
      {"ImageNoPicture", kSurvey, text("images/b.jpg", "hello"), "images/b.jpg", "image"},
      {"ImageEmpty", kSurvey, text("images/b.jpg", ""), "images/b.jpg", "image"},
      {"SemsegMissing", kSurvey, removed("segmentation/b.png"), "segmentation/b.png", "semseg"},
      {"SemsegClassTooLarge", kSurvey, png("segmentation/b.png", kH, kW, 1, 41), "segmentation/b.png", "semseg"},
      {"SemsegInColour", kSurvey, png("segmentation/b.png", kH, kW, 3, 1), "segmentation/b.png", "semseg"},
      {"SemsegSixteenBits", kSurvey,
       [](const fs::path& root) { write_png(root / "segmentation/b.png", ImageU16(kH, kW, 1, 7)); },
       "segmentation/b.png", "semseg"},
      {"SemsegOfAnotherSize", kSurvey, png("segmentation/b.png", kH, kW + 1, 1, 1), "segmentation/b.png", "size"},
      {"SemsegCut", kSurvey, cut("segmentation/b.png", 0.7), "segmentation/b.png", "semseg"},
      {"DepthCut", kSurvey, cut("depth/a.npy", 0.6), "depth/a.npy", "depth.data"},
      {"DepthNoArray", kSurvey, text("depth/a.npy", "what?"), "depth/a.npy", "depth.magic"},
      {"DepthNotANumber", kSurvey, npy("depth/a.npy", {kH, kW}, kNan), "depth/a.npy", "depth"},
      {"DepthNegative", kSurvey, npy("depth/a.npy", {kH, kW}, -1), "depth/a.npy", "depth"},
      {"DepthInColour", kSurvey, npy("depth/a.npy", {kH, kW, 3}, 1), "depth/a.npy", "depth.shape"},
      {"DepthFlat", kSurvey, npy("depth/a.npy", {kH * kW}, 1), "depth/a.npy", "depth.shape"},
      {"NormalsWithoutChannels", kSurvey, npy("normals/a.npy", {kH, kW}, 1), "normals/a.npy", "normals.shape"},
      {"NormalsTooLong", kSurvey, npy("normals/a.npy", {kH, kW, 3}, 7), "normals/a.npy", "normals"},
      {"EdgeNotBinary", kSurvey, npy("edge/a.npy", {kH, kW}, 3), "edge/a.npy", "edge"},
      {"FolderMissing", kSurvey, removed("depth"), "depth", "depth"},
      {"ListMissing", kSurvey, removed("gt_sets/train.txt"), "gt_sets/train.txt", "split"},
      {"ListEmpty", kSurvey, text("gt_sets/train.txt", "\n\n"), "gt_sets/train.txt", "split"},
      {"ListTwice", kSurvey, text("gt_sets/train.txt", "a\nb\na\n"), "gt_sets/train.txt:3", "ID"},
      {"ListOutOfTheFolder", kSurvey, text("gt_sets/train.txt", "a\n../b\n"), "gt_sets/train.txt:2", "ID"},
      {"ListOfNobody", kSurvey, text("gt_sets/train.txt", "a\nz\n"), "images/z.jpg", "image", {}, "train", 5},
      // NYUD, ATRC's
      {"EdgeInColour", kAtrc, png("edge/a.png", kH, kW, 3, 255), "edge/a.png", "edge"},
      {"NormalsGrey", kAtrc, png("normals/a.png", kH, kW, 1, 255), "normals/a.png", "normals"},
      {"DepthBigEndian", kAtrc, bytes("depth/a.npy", 21, ">"), "depth/a.npy", "depth.descr"},
      {"NormalsOfAnotherSize", kAtrc, png("normals/a.png", kH - 1, kW, 3, 255), "normals/a.png", "size"},
      // NYUD, ASTMT's
      {"MatNoMatlab", kAstmt, text("segmentation/a.mat", std::string(200, 'x')), "segmentation/a.mat", "header"},
      {"MatShort", kAstmt, text("segmentation/a.mat", "MATLAB"), "segmentation/a.mat", "header"},
      {"MatOfVersion73", kAstmt, bytes("segmentation/a.mat", 125, "\x02"), "segmentation/a.mat", "version"},
      {"MatWithoutTheVariable", kAstmt, mat("segmentation/a.mat", "other", kH, kW, 1), "segmentation/a.mat",
       "segmentation"},
      {"MatCut", kAstmt, cut("depth/a.mat", 0.8), "depth/a.mat", "variable"},
      {"MatOfText", kAstmt, [](const fs::path& root) { write_mat_text(root / "depth/a.mat", "depth", "deep"); },
       "depth/a.mat", "depth"},
      {"MatOfThreeDimensions", kAstmt,
       [](const fs::path& root) { write_mat_rank3(root / "depth/a.mat", "depth", kH, kW); }, "depth/a.mat", "depth"},
      {"MatOfFractions", kAstmt, mat("segmentation/a.mat", "segmentation", kH, kW, 1.5F), "segmentation/a.mat",
       "segmentation"},
      {"MatOfAnotherSize", kAstmt, mat("segmentation/a.mat", "segmentation", kW, kH, 1), "segmentation/a.mat", "size"},
      {"MatGarbled", kAstmt, bytes("depth/a.mat", 150, std::string(40, '\xA5')), "depth/a.mat", "depth"},
      // NYUD, MTAN's
      {"IndexMissing", kMtan, removed("train/depth/1.npy"), "train/depth/1.npy", "depth"},
      {"StrangeFile", kMtan, text("train/normal/x.npy", ""), "train/normal/x.npy", "normals"},
      {"ImageInBytes", kMtan, npy("train/image/0.npy", {kH, kW, 3}, 200), "train/image/0.npy", "image"},
      {"LabelTooLarge", kMtan, npy("train/label/0.npy", {kH, kW}, 13), "train/label/0.npy", "semseg"},
      {"LabelFraction", kMtan, npy("train/label/0.npy", {kH, kW}, 0.5F), "train/label/0.npy", "semseg"},
      {"DepthOfAnotherSize", kMtan, npy("train/depth/0.npy", {kH, kW - 2, 1}, 1), "train/depth/0.npy", "size"},
      {"FolderEmpty", kMtan, removed("val/normal"), "val/normal", "normals", {}, "val"},
      // Cityscapes
      {"CityLabelTooLarge", kCity, npy("train/label_7/0.npy", {kH, kW}, 7), "train/label_7/0.npy", "semseg"},
      {"CityDepthInfinite", kCity, npy("train/depth/2.npy", {kH, kW, 1}, INFINITY), "train/depth/2.npy", "depth"},
      {"CityWithoutVal", kCity, removed("val"), "val", "split", {}, "val"},
      {"CityImageMissing", kCity, removed("train/image/2.npy"), "train/image/2.npy", "image"},
      // PASCAL-Context
      {"LabelMapTooLarge", kPascal, mat("pascal-context/trainval/a.mat", "LabelMap", kH, kW, 600),
       "pascal-context/trainval/a.mat", "LabelMap"},
      {"LabelMapMissing", kPascal, removed("pascal-context/trainval/b.mat"), "pascal-context/trainval/b.mat", "edge"},
      {"LabelMapOfNormalsMissing",
       kPascal,
       removed("pascal-context/trainval/b.mat"),
       "pascal-context/trainval/b.mat",
       "normals",
       {TaskId::kNormals}},
      {"LabelMapOfAnotherSize",
       kPascal,
       mat("pascal-context/trainval/a.mat", "LabelMap", kH + 1, kW, 2),
       "pascal-context/trainval/a.mat",
       "size",
       {},
       "train",
       2},
      {"NormalsOfPascalGrey", kPascal, png("normals_distill/a.png", kH, kW, 1, 9), "normals_distill/a.png", "normals"},
      {"SaliencyInColour", kPascal, png("sal_distill/a.png", kH, kW, 3, 9), "sal_distill/a.png", "sal"},
      {"VocClassTooLarge", kPascal, png("semseg/VOC12/a.png", kH, kW, 1, 21), "semseg/VOC12/a.png", "semseg"},
      {"SemsegInNeitherFolder", kPascal, removed("semseg/pascal-context/b.png"), "semseg/pascal-context/b.png",
       "semseg"},
      {"AnnoAMatrix", kPascal, mat("human_parts/a.mat", "anno", 2, 2, 1), "human_parts/a.mat", "anno", kParts},
      {"AnnoOfAnotherName", kPascal, mat("human_parts/a.mat", "ano", 2, 2, 1), "human_parts/a.mat", "anno", kParts},
      {"ObjectMaskOfAnotherSize", kPascal, anno({{.mask = ImageF32(3, 3, 1, 1.0F), .parts = {{"head", kMask}}}}),
       "human_parts/a.mat", "anno.objects.mask", kParts},
      {"PartMaskOfAnotherSize", kPascal,
       anno({{.mask = kMask, .parts = {{"head", kMask}, {"torso", ImageF32(kH, kW + 1, 1, 1.0F)}}}}),
       "human_parts/a.mat", "anno.objects.parts(2).mask", kParts},
      {"ObjectsWithoutParts", kPascal, anno({{.mask = kMask}}, false), "human_parts/a.mat", "anno.objects.parts",
       kParts},
      {"CacheNoJson", kPascal,
       [](const fs::path& root) {
         fs::create_directories(root / "ImageSets/Parts");
         write_text(root / "ImageSets/Parts/train.txt", "a b c");
       },
       "ImageSets/Parts/train.txt", "human_parts", kParts},
  };
}

INSTANTIATE_TEST_SUITE_P(Kinds, DamagedArchive, testing::ValuesIn(damages()),
                         [](const auto& p) { return p.param.name; });

TEST(ArchiveCheck, NamesEveryDamageAtOnceInTheOrderOfTheList) {
  const Scratch scratch;
  write_archive(kSurvey, scratch.path());
  for (const auto& harm :
       {removed("segmentation/a.png"), removed("depth/c.npy"), png("segmentation/b.png", kH, kW, 1, 99),
        npy("normals/b.npy", {kH, kW, 3}, kNan), text("images/c.jpg", "no")}) {
    harm(scratch.path());
  }
  const Problems found = check(kSurvey, scratch.path(), "train");
  ASSERT_EQ(found.count(), 5U);
  const char* const files[] = {"segmentation/a.png", "depth/c.npy", "segmentation/b.png", "normals/b.npy",
                               "images/c.jpg"};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_THAT(found.list()[i].where, testing::EndsWith(files[i]));
}

TEST(ArchiveCheck, OfSomeTasksDoesNotMissTheOthersFiles) {
  const Scratch scratch;
  write_archive(kSurvey, scratch.path());
  fs::remove_all(scratch.path() / "edge");
  fs::remove_all(scratch.path() / "normals");
  EXPECT_EQ(check(kSurvey, scratch.path(), "train", {TaskId::kSemseg, TaskId::kDepth}).count(), 0U);
  EXPECT_EQ(check(kSurvey, scratch.path(), "train").count(), 2U);
}

TEST(ArchiveCheck, OfAFolderThatIsNoArchiveSaysWhatWasExpected) {
  const Scratch scratch;
  fs::create_directories(scratch.path() / "stuff");
  const Problems found = check(kSurvey, scratch.path(), "train");
  ASSERT_EQ(found.count(), 1U);
  EXPECT_EQ(found.list().front().field, "layout");
  EXPECT_THAT(found.list().front().wanted, HasSubstr("gt_sets"));
}

}  // namespace
}  // namespace m3vit
