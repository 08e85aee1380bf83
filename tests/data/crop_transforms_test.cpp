// Protocols A and MTAN: where pixels go, what happens to depth and normals, what is unknown; by hand and by properties.
#include "data/crop_transforms.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "core/error.h"
#include "data/loader.h"
#include "data/random_sample.h"
#include "data/transforms.h"

namespace m3vit {
namespace {

/// Frames whose labels say where each pixel came from: semseg x, depth 1 + y, normals straight ahead.
Sample ramp(int height, int width) {
  Sample s;
  s.id = "ramp";
  s.image = ImageU8(height, width, 3);
  s.label(TaskId::kSemseg) = ImageF32(height, width, 1);
  s.label(TaskId::kDepth) = ImageF32(height, width, 1);
  s.label(TaskId::kNormals) = ImageF32(height, width, 3);
  s.label(TaskId::kHumanParts) = ImageF32(height, width, 1, 2);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) s.image.at(y, x, c) = static_cast<std::uint8_t>(4 * x + y);
      s.label(TaskId::kSemseg).at(y, x) = static_cast<float>(x);
      s.label(TaskId::kDepth).at(y, x) = static_cast<float>(1 + y);
      s.label(TaskId::kNormals).at(y, x, 0) = 0.6F;
      s.label(TaskId::kNormals).at(y, x, 2) = 0.8F;
    }
  }
  return s;
}

TEST(CentredPadding, PutsTheFrameInTheMiddleAndTheOddPixelBehind) {
  Sample s = ramp(3, 4);
  pad_centred(s, 6, 9);
  ASSERT_EQ(s.image.height, 6);
  ASSERT_EQ(s.image.width, 9);
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 9; ++x) {
      const bool inside = y >= 1 && y < 4 && x >= 2 && x < 6;
      EXPECT_EQ(s.label(TaskId::kSemseg).at(y, x), inside ? static_cast<float>(x - 2) : 255.0F);
      EXPECT_EQ(s.label(TaskId::kHumanParts).at(y, x), inside ? 2.0F : 255.0F);
      EXPECT_EQ(s.label(TaskId::kDepth).at(y, x), inside ? static_cast<float>(y) : 0.0F);
      EXPECT_EQ(s.label(TaskId::kNormals).at(y, x, 2), inside ? 0.8F : 0.0F);
      EXPECT_EQ(s.image.at(y, x, 0), inside ? 4 * (x - 2) + y - 1 : 124) << "ImageNet's mean red";
      EXPECT_EQ(s.image.at(y, x, 2), inside ? 4 * (x - 2) + y - 1 : 104);
    }
  }
}

TEST(CentredPadding, LeavesLargerSidesAlone) {
  Sample s = ramp(5, 3);
  pad_centred(s, 4, 5);
  EXPECT_EQ(s.image.height, 5);
  EXPECT_EQ(s.image.width, 5);
  EXPECT_EQ(s.label(TaskId::kSemseg).at(4, 1), 0);
}

TEST(ProtocolA, GivesTheAskedSizeWithLabelsThatStayTogether) {
  AugmentConfig config;
  config.flip = 0;
  config.scale = {0.5, 2.0};
  int padded = 0;
  int cropped = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng{seed};
    Sample s = ramp(20, 30);
    augment_atrc(s, config, 20, 30, rng);
    ASSERT_EQ(s.image.height, 20);
    ASSERT_EQ(s.image.width, 30);
    const ImageF32& classes = s.label(TaskId::kSemseg);
    const ImageF32& depth = s.label(TaskId::kDepth);
    std::set<float> columns;
    for (int y = 0; y < 20; ++y) {
      for (int x = 0; x < 30; ++x) {
        const bool unknown = classes.at(y, x) == kIgnore;
        ASSERT_EQ(depth.at(y, x) == 0, unknown);
        ASSERT_EQ(s.label(TaskId::kNormals).at(y, x, 2) == 0, unknown);
        if (!unknown) columns.insert(classes.at(y, x));
        if (!unknown && x > 0 && classes.at(y, x - 1) != kIgnore) {
          ASSERT_GE(classes.at(y, x), classes.at(y, x - 1)) << "not mirrored, not mixed";
        }
      }
    }
    padded += classes.at(0, 0) == kIgnore ? 1 : 0;
    cropped += columns.size() < 30 && classes.at(0, 0) != kIgnore ? 1 : 0;
  }
  EXPECT_GT(padded, 10);
  EXPECT_GT(cropped, 10);
}

TEST(ProtocolA, DividesDepthByTheZoomUnlessToldNotTo) {
  AugmentConfig config;
  config.flip = 0;
  config.scale = {2.0, 2.0};
  for (const bool divide : {true, false}) {
    config.divide_depth = divide;
    Rng rng{5};
    Sample s = ramp(8, 8);
    for (float& v : s.label(TaskId::kDepth).data) v = 6;
    augment_atrc(s, config, 8, 8, rng);
    for (const float v : s.label(TaskId::kDepth).data) EXPECT_EQ(v, divide ? 3 : 6);
  }
}

TEST(ProtocolA, LooksForAWindowInWhichNoClassHasThreeQuarters) {
  // Class 1 fills the left 29 of 40 columns: a window of 10 is unbalanced at most places, balanced at some.
  AugmentConfig config;
  config.flip = 0;
  int balanced = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Sample s;
    s.image = ImageU8(10, 40, 3);
    s.label(TaskId::kSemseg) = ImageF32(10, 40, 1, 1);
    for (int y = 0; y < 10; ++y) {
      for (int x = 29; x < 40; ++x) s.label(TaskId::kSemseg).at(y, x) = 2;
    }
    Rng rng{seed};
    augment_atrc(s, config, 10, 10, rng);
    const auto& v = s.label(TaskId::kSemseg).data;
    const auto ones = std::count(v.begin(), v.end(), 1.0F);
    balanced += ones > 25 && ones < 75 ? 1 : 0;
  }
  // One draw of 31 places hits one of the 5 balanced ones; ten more tries miss all with probability (26/31)^11 = 0.145.
  EXPECT_GT(balanced, 70);
}

TEST(ProtocolA, KeepsColoursInRangeAndDistortsThem) {
  Rng rng{9};
  int changed = 0;
  for (int i = 0; i < 50; ++i) {
    ImageU8 image = ramp(6, 7).image;
    const ImageU8 before = image;
    distort_colours(image, rng);
    ASSERT_EQ(image.data.size(), before.data.size());
    changed += image == before ? 0 : 1;
  }
  EXPECT_GT(changed, 30);
  EXPECT_LT(changed, 50) << "each step is left out half of the time";
}

TEST(ProtocolMtan, CropsAndStretchesWithAlignedCorners) {
  AugmentConfig config;
  config.flip = 0;
  config.scales = {1.5};
  Rng rng{2};
  Sample s = ramp(12, 30);
  augment_mtan(s, config, rng);
  ASSERT_EQ(s.image.height, 12);
  ASSERT_EQ(s.image.width, 30);
  // A window of 8 × 20 at (top, left): corners on corners, so the first and last pixels are those of the window.
  const ImageF32& classes = s.label(TaskId::kSemseg);
  const float left = classes.at(0, 0);
  EXPECT_EQ(classes.at(0, 29), left + 19);
  const float top = s.label(TaskId::kDepth).at(0, 0) * 1.5F - 1;
  EXPECT_NEAR(top, std::round(top), 1e-5);
  for (int x = 0; x < 30; ++x) {
    const int cut = x * 20 / 30;
    EXPECT_EQ(classes.at(3, x), left + static_cast<float>(cut)) << "torch's nearest cuts the index off";
    const double column = left + x * 19.0 / 29;
    const double row = top + 3 * 7.0 / 11;
    EXPECT_NEAR(s.image.at(3, x, 1), 4 * column + row, 0.51);
    EXPECT_NEAR(s.label(TaskId::kNormals).at(3, x, 0), 0.6, 1e-6);
  }
  for (int y = 0; y < 12; ++y) {
    const int cut = y * 8 / 12;
    EXPECT_NEAR(s.label(TaskId::kDepth).at(y, 5), (1 + top + static_cast<float>(cut)) / 1.5, 1e-5);
  }
}

TEST(ProtocolMtan, FlipMirrorsNormals) {
  AugmentConfig config;
  config.flip = 1;
  Rng rng{2};
  Sample s = ramp(4, 6);
  augment_mtan(s, config, rng);
  EXPECT_EQ(s.label(TaskId::kSemseg).at(0, 0), 5);
  EXPECT_EQ(s.label(TaskId::kNormals).at(0, 0, 0), -0.6F);
  EXPECT_EQ(s.label(TaskId::kDepth).at(3, 0), 4) << "no scale, no division";
}

TEST(EmptyParts, BecomeUnlabelledAsEachProtocolHasIt) {
  const auto after = [](std::vector<float> values, Protocol protocol) {
    Sample s;
    s.label(TaskId::kHumanParts) = ImageF32(1, static_cast<int>(values.size()), 1);
    s.label(TaskId::kHumanParts).data = std::move(values);
    ignore_empty_parts(s, protocol);
    return s.label(TaskId::kHumanParts).data;
  };
  using Values = std::vector<float>;
  for (const Protocol p : {Protocol::kSurvey, Protocol::kAtrc, Protocol::kMtan}) {
    EXPECT_EQ(after({0, 0}, p), (Values{255, 255}));
    EXPECT_EQ(after({0, 3}, p), (Values{0, 3}));
  }
  EXPECT_EQ(after({0, 255}, Protocol::kSurvey), (Values{0, 255}));
  EXPECT_EQ(after({0, 255}, Protocol::kAtrc), (Values{255, 255}));
}

TEST(RotatedNormals, WithYDownTurnTheOtherWay) {
  // The published code: in_plane = atan2(nx, ny); nx' = sin(in_plane + rot)·r, ny' = cos(in_plane + rot)·r.
  const double degrees = 20;
  Sample s = ramp(9, 9);
  for (std::size_t i = 0; i < s.label(TaskId::kNormals).data.size(); i += 3) {
    s.label(TaskId::kNormals).data[i] = 0.48F;
    s.label(TaskId::kNormals).data[i + 1] = 0.36F;
  }
  rotate_scale(s, degrees, 1, true, /*normals_y_down=*/true);
  const double in_plane = std::atan2(0.48, 0.36) + degrees * 3.14159265358979 / 180;
  EXPECT_NEAR(s.label(TaskId::kNormals).at(4, 4, 0), 0.6 * std::sin(in_plane), 1e-5);
  EXPECT_NEAR(s.label(TaskId::kNormals).at(4, 4, 1), 0.6 * std::cos(in_plane), 1e-5);
}

class OneFrame final : public Dataset {
 public:
  explicit OneFrame(Sample s) : sample_(std::move(s)) {
    info_.name = "one";
    info_.archive = true;
    info_.tasks = {TaskId::kSemseg, TaskId::kDepth};
  }
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 1; }
  Sample get(std::int64_t) const override { return sample_; }

 private:
  Sample sample_;
  DatasetInfo info_;
};

TEST(LoaderProtocol, AOfATestFramePadsAndRefusesWhatIsLarger) {
  LoaderOptions options{.height = 8, .width = 8, .batch_size = 1, .shuffle = false};
  options.protocol = Protocol::kAtrc;
  const OneFrame small(ramp(4, 6));
  const auto batch = Loader(small, options).next();
  ASSERT_TRUE(batch);
  const std::vector<float>& classes = batch->labels[static_cast<std::size_t>(TaskId::kSemseg)];
  EXPECT_EQ(classes[0], kIgnore);
  EXPECT_EQ(classes[2 * 8 + 1], 0);
  EXPECT_EQ(classes[2 * 8 + 6], 5);
  const OneFrame large(ramp(4, 9));
  Loader loader(large, options);
  EXPECT_THROW(loader.next(), Error);
}

TEST(LoaderProtocol, NativeLabelsKeepTheirOwnSize) {
  LoaderOptions options{.height = 8, .width = 8, .batch_size = 1, .shuffle = false, .keep_samples = true};
  options.native_labels = true;
  const OneFrame data(ramp(4, 6));
  const auto batch = Loader(data, options).next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->images.size(), 3U * 64U);
  EXPECT_TRUE(batch->labels[0].empty());
  EXPECT_EQ(batch->samples[0].label(TaskId::kSemseg), ramp(4, 6).label(TaskId::kSemseg));
}

}  // namespace
}  // namespace m3vit
