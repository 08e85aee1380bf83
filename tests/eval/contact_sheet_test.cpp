#include "eval/contact_sheet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/dataset.h"
#include "data/sample.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

using testing::ElementsAre;

std::array<int, 3> rgb(const ImageU8& image, int y, int x) {
  return {image.at(y, x, 0), image.at(y, x, 1), image.at(y, x, 2)};
}

TEST(ColorMap, PredictionAndEqualLabelHaveTheSameColours) {
  Rng rng(51);
  constexpr int kH = 6, kW = 9;
  std::vector<float> classes(kH * kW), scores(3 * kH * kW);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    classes[i] = static_cast<float>(rng.below(3));
    scores[static_cast<std::size_t>(classes[i]) * classes.size() + i] = 1;
  }
  EXPECT_EQ(color_prediction(TaskId::kSemseg, scores, 3, kH, kW),
            color_label(TaskId::kSemseg, map_of(kH, kW, classes)));

  std::vector<float> depth(kH * kW);
  for (float& d : depth) d = static_cast<float>(rng.uniform(1, 4));
  EXPECT_EQ(color_prediction(TaskId::kDepth, depth, 1, kH, kW), color_label(TaskId::kDepth, map_of(kH, kW, depth)));

  ImageF32 normals(kH, kW, 3);
  std::vector<float> planes(3 * kH * kW);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    for (std::size_t c = 0; c < 3; ++c)
      planes[c * classes.size() + i] = normals.data[i * 3 + c] = static_cast<float>(rng.normal());
  }
  EXPECT_EQ(color_prediction(TaskId::kNormals, planes, 3, kH, kW), color_label(TaskId::kNormals, normals));
}

TEST(ColorMap, UsesTheGivenPalette) {
  ColorOptions options;
  options.palette = {{1, 2, 3}, {4, 5, 6}};
  EXPECT_THAT(rgb(color_label(TaskId::kSemseg, map_of(1, 1, {1}), options), 0, 0), ElementsAre(4, 5, 6));
}

TEST(ColorMap, NearIsBrighterAndEqualRangesGiveEqualColours) {
  ColorOptions options;
  options.depth_min = 1;
  options.depth_max = 5;
  const ImageU8 image = color_label(TaskId::kDepth, map_of(1, 3, {1, 3, 5}), options);
  const auto brightness = [&](int x) { return image.at(0, x, 0) + image.at(0, x, 1) + image.at(0, x, 2); };
  EXPECT_GT(brightness(0), brightness(1));
  EXPECT_GT(brightness(1), brightness(2));
  EXPECT_EQ(rgb(image, 0, 1), rgb(color_label(TaskId::kDepth, map_of(1, 1, {3}), options), 0, 0));
}

TEST(ColorMap, UnknownIsADarkGreyHatchInEveryTask) {
  for (const TaskSpec& spec : kTasks) {
    const ImageU8 image = color_label(spec.id, ImageF32(8, 8, spec.label_channels, unknown_value(spec.id)));
    bool dark = false, light = false;
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        const auto c = rgb(image, y, x);
        EXPECT_TRUE(c[0] == c[1] && c[1] == c[2] && c[0] < 110) << spec.name;
        dark = dark || c[0] == 64;
        light = light || c[0] == 96;
      }
    }
    EXPECT_TRUE(dark && light) << spec.name;
  }
}

TEST(ColorMap, EdgeLabelShowsAnyAnnotator) {
  ImageF32 label(1, 3, 2);
  label.at(0, 0, 1) = 1;
  label.at(0, 1, 0) = kIgnore;
  label.at(0, 2, 0) = label.at(0, 2, 1) = kIgnore;
  const ImageU8 image = color_label(TaskId::kEdge, label);
  EXPECT_EQ(image.at(0, 0), 255);
  EXPECT_EQ(image.at(0, 1), 0);
  EXPECT_NE(image.at(0, 2), 0);
}

TEST(PredictionMap, HoldsTheFolderFormatsValues) {
  const SavedMap classes = prediction_map(TaskId::kSemseg, std::vector<float>{0, 1, 5, 2, 3, 7}, 3, 1, 2);
  EXPECT_THAT(classes.u8.data, ElementsAre(1, 2));
  const SavedMap depth = prediction_map(TaskId::kDepth, std::vector<float>{1.2345F, -1, 100, NAN}, 1, 1, 4);
  EXPECT_THAT(depth.u16.data, ElementsAre(1235, 1, 65535, 1));
  const SavedMap normals = prediction_map(TaskId::kNormals, std::vector<float>{0, 0, 7}, 3, 1, 1);
  EXPECT_THAT(normals.u16.data, ElementsAre(32768, 32768, 65535));
  const SavedMap edge = prediction_map(TaskId::kEdge, std::vector<float>{0.0F, -0.01F, 30}, 1, 1, 3);
  EXPECT_THAT(edge.u8.data, ElementsAre(128, 127, 255)) << "≥ 128 means p ≥ 0.5";
}

TEST(PredictionMap, NormalsSurviveDecodingToAHundredthOfADegree) {
  Rng rng(52);
  for (int i = 0; i < 100; ++i) {
    const double v[3] = {rng.normal(), rng.normal(), rng.normal()};
    const double norm = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    const SavedMap map = prediction_map(
        TaskId::kNormals,
        std::vector<float>{static_cast<float>(v[0]), static_cast<float>(v[1]), static_cast<float>(v[2])}, 3, 1, 1);
    double dot = 0, length = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      const double n = 2.0 * map.u16.data[c] / 65535 - 1;
      dot += n * v[c] / norm;
      length += n * n;
    }
    EXPECT_GT(dot / std::sqrt(length), std::cos(0.01 * 3.14159 / 180));
  }
}

TEST(ContactSheet, TilesStandInAGridOnWhiteWithTheirPixels) {
  const ImageU8 red(10, 20, 3, 200);
  const ImageU8 sheet = contact_sheet({{{red, "input"}, {ImageU8(5, 10, 1, 7), "grey"}}, {{ImageU8(), "blank"}}}, 40);
  EXPECT_EQ(sheet.channels, 3);
  EXPECT_EQ(rgb(sheet, 0, 0), (std::array<int, 3>{255, 255, 255}));
  EXPECT_EQ(sheet.width, 2 * 16 + 40 + 10 + 40);
  EXPECT_EQ(sheet.height, 2 * 16 + 2 * (22 + 20) + 10);
  EXPECT_EQ(rgb(sheet, 16 + 22 + 5, 16 + 5), (std::array<int, 3>{200, 200, 200}));
  EXPECT_EQ(rgb(sheet, 16 + 22 + 5, 16 + 50 + 5), (std::array<int, 3>{7, 7, 7}));
  bool caption = false;
  for (int x = 16; x < 56; ++x) caption = caption || sheet.at(16 + 12, x) < 128;
  EXPECT_TRUE(caption);
}

TEST(ContactSheet, WithoutAnyTileIsEmpty) {
  EXPECT_TRUE(contact_sheet({}, 40).empty());
  EXPECT_TRUE(contact_sheet({{}, {{ImageU8(), "nothing"}}}, 40).empty());
}

}  // namespace
}  // namespace m3vit
