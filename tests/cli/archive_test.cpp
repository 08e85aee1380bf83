// The published archives from the command line: told by their directories, checked, looked at, evaluated.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "cli/program.h"
#include "core/npy.h"

namespace m3vit::cli_test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::int64_t kHeight = 32;
constexpr std::int64_t kWidth = 64;

/// Cityscapes as MTAN passes it on: two frames a split, left half flat and near, right half sky and unknown.
void write_cityscapes(const fs::path& root) {
  const std::size_t pixels = kHeight * kWidth;
  for (const std::string split : {"train", "val"}) {
    for (const char* folder : {"image", "label_7", "depth"}) fs::create_directories(root / split / folder);
    for (const std::string name : {"0.npy", "1.npy"}) {
      std::vector<float> image(pixels * 3, 0.25F);
      std::vector<float> label(pixels);
      std::vector<float> depth(pixels);
      for (std::size_t i = 0; i < pixels; ++i) {
        const bool left = i % kWidth < kWidth / 2;
        label[i] = left ? 0.0F : 4.0F;
        depth[i] = left ? 0.5F : 0.0F;
      }
      write_npy(root / split / "image" / name, std::vector<std::int64_t>{kHeight, kWidth, 3}, image);
      write_npy(root / split / "label_7" / name, std::vector<std::int64_t>{kHeight, kWidth}, label);
      write_npy(root / split / "depth" / name, std::vector<std::int64_t>{kHeight, kWidth, 1}, depth);
    }
  }
}

TEST(Archive, IsCheckedAsAWholeAndByFileAndField) {
  const Scratch scratch;
  write_cityscapes(scratch / "city");
  Outcome o = run({"data", "check", scratch / "city", "--dataset", "cityscapes", "--json"});
  EXPECT_EQ(o.exit_code, 0) << o.err;
  EXPECT_TRUE(o.json()["ok"]);
  EXPECT_EQ(o.json()["dataset"], "cityscapes");
  EXPECT_EQ(o.json()["splits"]["val"], 2);

  fs::remove(fs::path(scratch / "city") / "train/depth/0.npy");
  fs::resize_file(fs::path(scratch / "city") / "val/label_7/1.npy", 200);
  o = run({"data", "check", scratch / "city", "--json"});
  EXPECT_EQ(o.exit_code, 2);
  const auto problems = o.json()["problems"];
  ASSERT_EQ(problems.size(), 2U);
  EXPECT_EQ(problems[0]["split"], "train");
  EXPECT_THAT(problems[0]["file"].get<std::string>(), testing::EndsWith("train/depth/0.npy"));
  EXPECT_EQ(problems[0]["field"], "depth");
  EXPECT_EQ(problems[0]["found"], "no such file");
  EXPECT_THAT(problems[1]["file"].get<std::string>(), testing::EndsWith("val/label_7/1.npy"));
  EXPECT_EQ(problems[1]["field"], "semseg.data");
  EXPECT_EQ(run({"data", "check", scratch / "city", "--tasks", "semseg", "--split", "train"}).exit_code, 0);
  const Outcome text = run({"data", "check", scratch / "city"});
  EXPECT_THAT(text.out, HasSubstr("train/depth/0.npy: depth: want"));
}

TEST(Archive, IsLookedAtLikeAnyDataSet) {
  const Scratch scratch;
  write_cityscapes(scratch / "city");
  const Outcome stats = run({"data", "stats", scratch / "city", "--json"});
  ASSERT_EQ(stats.exit_code, 0) << stats.err;
  EXPECT_EQ(stats.json()["name"], "cityscapes");
  EXPECT_EQ(stats.json()["splits"]["val"]["tasks"]["semseg"]["labelled"], 1.0);
  EXPECT_EQ(stats.json()["splits"]["val"]["tasks"]["depth"]["labelled"], 0.5);
  const Outcome show = run({"data", "show", scratch / "city", "--out", scratch / "sheet.png"});
  EXPECT_EQ(show.exit_code, 0) << show.err;
  EXPECT_TRUE(fs::exists(scratch / "sheet.png"));
}

TEST(Archive, IsEvaluatedByARecipeAndTheDocumentNamesItsProtocol) {
  const Scratch scratch;
  write_cityscapes(scratch / "city");
  const Outcome o = run({"eval", std::string(M3VIT_SOURCE_DIR) + "/configs/cityscapes/tiny_m3vit.yaml", "--engine",
                         "mean", "--set", "data.root=" + (scratch / "city"), "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_EQ(o.json()["protocol"], "MTAN");
  EXPECT_EQ(o.json()["metrics"]["semseg"]["mIoU"], 1.0) << "every frame looks the same";
  EXPECT_LT(o.json()["metrics"]["depth"]["abs_err"].get<double>(), 1e-6);
}

TEST(Archive, ThatIsNoneSaysWhatWasLookedFor) {
  const Scratch scratch;
  fs::create_directories(fs::path(scratch / "empty"));
  const Outcome o = run({"data", "check", scratch / "empty", "--dataset", "nyud"});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.out, HasSubstr("layout: want one of NYUD-v2's archives"));
}

}  // namespace
}  // namespace m3vit::cli_test
