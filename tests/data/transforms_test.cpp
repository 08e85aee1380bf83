#include "data/transforms.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "core/image_io.h"
#include "data/random_sample.h"

namespace m3vit {
namespace {

using Vec = std::array<double, 3>;

double dot(const Vec& a, const Vec& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Vec unit(Vec v) {
  const double n = std::sqrt(dot(v, v));
  for (double& x : v) x /= n;
  return v;
}

double degrees_between(const Vec& a, const Vec& b) {
  return std::acos(std::clamp(dot(unit(a), unit(b)), -1.0, 1.0)) * 180 / std::numbers::pi;
}

/// Turned counter-clockwise as the viewer sees it, in the frame x right, y up.
Vec turned(const Vec& n, double degrees) {
  const double a = degrees * std::numbers::pi / 180;
  return {std::cos(a) * n[0] - std::sin(a) * n[1], std::sin(a) * n[0] + std::cos(a) * n[1], n[2]};
}

constexpr int kHeight = 97;
constexpr int kWidth = 121;
constexpr double kFocal = 110;

/// Pinhole camera in the middle of the picture; the plane { P : n·P = −distance }, z towards the viewer.
double plane_depth(const Vec& n, double distance, double focal, double u, double v) {
  const Vec ray{(u - (kWidth - 1) / 2.0) / focal, -(v - (kHeight - 1) / 2.0) / focal, -1};
  return -distance / dot(n, ray);
}

Sample plane(const Vec& n, double distance) {
  Sample s;
  s.image = ImageU8(kHeight, kWidth, 3, 90);
  s.label(TaskId::kDepth) = ImageF32(kHeight, kWidth, 1);
  s.label(TaskId::kNormals) = ImageF32(kHeight, kWidth, 3);
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      s.label(TaskId::kDepth).at(y, x) = static_cast<float>(plane_depth(n, distance, kFocal, x, y));
      for (int c = 0; c < 3; ++c) {
        s.label(TaskId::kNormals).at(y, x, c) = static_cast<float>(n[static_cast<std::size_t>(c)]);
      }
    }
  }
  return s;
}

/// The normal of the plane whose depth this is. 1/Z is affine in the pixel, 1/Z = a·u + b·v + c, and the plane's normal
/// is ∝ (−a·focal, b·focal, c); least squares over all known pixels averages the nearest-neighbour steps away.
Vec normal_of_depth(const ImageF32& depth, double focal) {
  std::array<std::array<double, 4>, 3> m{};  // normal equations, augmented
  for (int y = 0; y < depth.height; ++y) {
    for (int x = 0; x < depth.width; ++x) {
      if (depth.at(y, x) == 0) continue;
      const Vec row{x - (depth.width - 1) / 2.0, y - (depth.height - 1) / 2.0, 1};
      for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t j = 0; j < 3; ++j) m[i][j] += row[i] * row[j];
        m[i][3] += row[i] / depth.at(y, x);
      }
    }
  }
  for (std::size_t p = 0; p < 3; ++p) {  // Gauss–Jordan; positive definite, so no pivoting
    for (std::size_t i = 0; i < 3; ++i) {
      const double f = i == p ? 0 : m[i][p] / m[p][p];
      for (std::size_t j = 0; j < 4; ++j) m[i][j] -= f * m[p][j];
    }
  }
  return unit({-m[0][3] / m[0][0] * focal, m[1][3] / m[1][1] * focal, m[2][3] / m[2][2]});
}

Vec normal_at(const Sample& s, int y, int x) {
  const ImageF32& n = s.label(TaskId::kNormals);
  return {n.at(y, x, 0), n.at(y, x, 1), n.at(y, x, 2)};
}

const std::vector<Vec> kPlanes{unit({0.3, 0.2, 1}), unit({-0.4, 0.1, 1}), unit({0.05, 0.5, 1}), unit({0, 0, 1})};

TEST(Transforms, FittedNormalOfAnUntouchedPlaneIsItsNormal) {  // checks the reference itself
  for (const Vec& n : kPlanes) {
    EXPECT_LT(degrees_between(normal_of_depth(plane(n, 3).label(TaskId::kDepth), kFocal), n), 1e-3);
  }
}

TEST(Transforms, RotateAndScaleKeepsDepthAndNormalsOfOnePlane) {
  for (const Vec& n : kPlanes) {
    for (const double degrees : {-20.0, -7.5, 0.0, 13.0, 20.0, 90.0}) {
      for (const double scale : {0.75, 1.0, 1.25, 1.5}) {
        for (const bool divide : {true, false}) {
          SCOPED_TRACE(testing::Message() << "normal " << n[0] << " " << n[1] << ", " << degrees << " degrees, scale "
                                          << scale << ", divide " << divide);
          Sample s = plane(n, 3);
          rotate_scale(s, degrees, scale, divide);
          const Vec want = turned(n, degrees);
          const ImageF32& depth = s.label(TaskId::kDepth);
          EXPECT_LT(degrees_between(normal_of_depth(depth, kFocal * scale), want), 0.25);
          int known = 0;
          for (int y = 0; y < kHeight; ++y) {
            for (int x = 0; x < kWidth; ++x) {
              if (depth.at(y, x) == 0) {
                EXPECT_EQ(normal_at(s, y, x), (Vec{0, 0, 0}));
                continue;
              }
              ++known;
              ASSERT_LT(degrees_between(normal_at(s, y, x), want), 0.05) << x << " " << y;
              const double distance = divide ? 3 / scale : 3;
              const double expected = plane_depth(want, distance, kFocal * scale, x, y);
              // nearest: up to 0.71 source pixels off; the steepest plane here changes 1.1 % a pixel
              ASSERT_NEAR(depth.at(y, x), expected, 0.02 * expected) << x << " " << y;
            }
          }
          EXPECT_GT(known, kHeight * kWidth / 3);
        }
      }
    }
  }
}

TEST(Transforms, FlipKeepsDepthAndNormalsOfOnePlane) {
  for (const Vec& n : kPlanes) {
    Sample s = plane(n, 2);
    flip_horizontal(s);
    const Vec want{-n[0], n[1], n[2]};
    EXPECT_LT(degrees_between(normal_of_depth(s.label(TaskId::kDepth), kFocal), want), 1e-3);
    EXPECT_LT(degrees_between(normal_at(s, 40, 40), want), 1e-3);
  }
}

bool same(const Sample& a, const Sample& b) { return a.image == b.image && a.labels == b.labels; }

TEST(Transforms, FlippingTwiceChangesNothing) {
  for (const int width : {1, 2, 7, 8}) {
    const Sample s = random_sample(3, 5, width, 2);
    Sample twice = s;
    flip_horizontal(twice);
    EXPECT_FALSE(same(twice, s));
    EXPECT_EQ(twice.image.at(2, 0, 1), s.image.at(2, width - 1, 1));
    flip_horizontal(twice);
    EXPECT_TRUE(same(twice, s));
  }
}

TEST(Transforms, NoRotationAtScaleOneChangesNothing) {
  const Sample s = random_sample(4, 33, 47, 3);
  Sample t = s;
  rotate_scale(t, 0, 1, true);
  EXPECT_TRUE(same(t, s));
  // Through the interpolation, too: four quarter turns of a square frame, where every pixel meets a pixel.
  const Sample square = random_sample(5, 31, 31, 5);
  Sample full = square;
  for (int i = 0; i < 4; ++i) rotate_scale(full, 90, 1, true);
  EXPECT_EQ(full.image, square.image);
  for (const TaskSpec& task : kTasks) {
    if (task.label != LabelKind::kNormals) {
      EXPECT_EQ(full.label(task.id), square.label(task.id)) << task.name;
      continue;
    }
    for (std::size_t i = 0; i < full.label(task.id).data.size(); ++i) {
      ASSERT_NEAR(full.label(task.id).data[i], square.label(task.id).data[i], 1e-5);
    }
  }
}

TEST(Transforms, ImageAndLabelsMoveTogetherCounterClockwise) {
  Sample s;
  s.image = ImageU8(81, 81, 3);
  s.label(TaskId::kSemseg) = ImageF32(81, 81, 1);
  for (int y = 38; y <= 42; ++y) {  // a blob to the right of the middle
    for (int x = 63; x <= 67; ++x) {
      for (int c = 0; c < 3; ++c) s.image.at(y, x, c) = 200;
      s.label(TaskId::kSemseg).at(y, x) = 1;
    }
  }
  rotate_scale(s, 30, 1.2, true);
  std::array<double, 3> image{}, label{};  // x, y, weight
  for (int y = 0; y < 81; ++y) {
    for (int x = 0; x < 81; ++x) {
      const double w = s.image.at(y, x) > 115 ? 0 : s.image.at(y, x);  // (outside: mean colour, 124)
      const double blob = s.image.at(y, x) > 150 ? 200 : w;
      const bool is_label = s.label(TaskId::kSemseg).at(y, x) == 1;
      const bool inside = std::hypot(x - 40, y - 40) < 40;
      if (!inside) continue;
      image = {image[0] + blob * x, image[1] + blob * y, image[2] + blob};
      label = {label[0] + is_label * x, label[1] + is_label * y, label[2] + is_label};
    }
  }
  const double angle = 30 * std::numbers::pi / 180;
  const double want_x = 40 + 25 * 1.2 * std::cos(angle);
  const double want_y = 40 - 25 * 1.2 * std::sin(angle);  // up in the picture
  EXPECT_NEAR(image[0] / image[2], want_x, 0.3);
  EXPECT_NEAR(image[1] / image[2], want_y, 0.3);
  EXPECT_NEAR(label[0] / label[2], want_x, 0.3);
  EXPECT_NEAR(label[1] / label[2], want_y, 0.3);
}

std::set<float> values_of(const ImageF32& map) { return {map.data.begin(), map.data.end()}; }

TEST(Transforms, LabelsHoldOnlyOldValuesOrUnknown) {
  const auto check = [](const Sample& before, const Sample& after) {
    for (const TaskId t : {TaskId::kSemseg, TaskId::kEdge, TaskId::kSal, TaskId::kHumanParts, TaskId::kDepth}) {
      std::set<float> allowed = values_of(before.label(t));
      allowed.insert(unknown_value(t));
      for (const float v : values_of(after.label(t))) EXPECT_TRUE(allowed.count(v)) << task_spec(t).name << " " << v;
    }
    const ImageF32& n = after.label(TaskId::kNormals);
    for (std::size_t i = 0; i < n.data.size(); i += 3) {
      const double norm = std::hypot(n.data[i], n.data[i + 1], n.data[i + 2]);
      ASSERT_TRUE(norm == 0 || std::abs(norm - 1) < 1e-5) << norm;
    }
  };
  const Sample s = random_sample(6, 45, 60, 5);
  for (const double degrees : {-20.0, 11.0}) {
    for (const double scale : {0.7, 1.3}) {
      Sample t = s;
      rotate_scale(t, degrees, scale, /*divide_depth=*/false);
      check(s, t);
    }
  }
  for (const auto& [h, w] : {std::pair{20, 30}, {91, 120}, {45, 61}}) {
    for (const bool antialias : {false, true}) {
      Sample t = s;
      resize(t, h, w, antialias);
      EXPECT_EQ(t.image.height, h);
      EXPECT_EQ(t.label(TaskId::kEdge).width, w);
      EXPECT_EQ(t.label(TaskId::kEdge).channels, 5);
      check(s, t);
    }
  }
}

TEST(Transforms, OutsideTheOldPictureIsMeanColourAndUnknown) {
  Sample s = random_sample(7, 40, 40, 5);
  rotate_scale(s, 0, 0.5, true);
  for (const auto& [y, x] : {std::pair{0, 0}, {39, 39}, {5, 20}, {20, 34}}) {
    for (int c = 0; c < 3; ++c) EXPECT_NEAR(s.image.at(y, x, c), kImageMean[c] * 255, 0.51);
    for (const TaskSpec& t : kTasks) {
      const ImageF32& map = s.label(t.id);
      for (int c = 0; c < map.channels; ++c) EXPECT_EQ(map.at(y, x, c), unknown_value(t.id)) << t.name;
    }
  }
}

TEST(Transforms, UnknownNormalsDoNotBleed) {
  const Vec n = unit({0.6, -0.3, 0.7});
  for (const double degrees : {0.0, 17.0}) {
    Sample s = plane(n, 2);
    ImageF32& normals = s.label(TaskId::kNormals);
    Rng rng{1};
    for (std::size_t i = 0; i < normals.data.size(); i += 3) {
      if (rng.coin(0.5)) std::fill_n(&normals.data[i], 3, 0.0F);
    }
    Sample sized = s;
    rotate_scale(s, degrees, 1.1, true);
    resize(sized, 70, 200, false);
    const auto expect_exact = [](const Sample& t, const Vec& want) {
      int known = 0;
      for (int y = 0; y < t.image.height; ++y) {
        for (int x = 0; x < t.image.width; ++x) {
          const Vec got = normal_at(t, y, x);
          if (got == Vec{0, 0, 0}) continue;
          ++known;
          ASSERT_LT(degrees_between(got, want), 0.05);
        }
      }
      const double pixels = t.image.height * t.image.width;
      EXPECT_NEAR(known, pixels / 2, pixels / 8);
    };
    expect_exact(s, turned(n, degrees));
    expect_exact(sized, n);
  }
}

TEST(Transforms, CubicOvershootIsClippedNotWrapped) {
  Sample s;
  s.image = ImageU8(20, 40, 3);
  for (int y = 0; y < 20; ++y) {
    for (int x = 20; x < 40; ++x) {
      for (int c = 0; c < 3; ++c) s.image.at(y, x, c) = 255;
    }
  }
  Sample zoomed = s;
  rotate_scale(zoomed, 0, 1.37, true);
  resize(s, 20, 57, false);
  for (const ImageU8* image : {&zoomed.image, &s.image}) {
    for (int x = 1; x < image->width; ++x) EXPECT_GE(image->at(10, x), image->at(10, x - 1)) << x;
  }
}

TEST(Transforms, ResizedLabelIsTheSourcePixelUnderTheNewCentre) {
  const Sample s = random_sample(8, 12, 15);
  Sample twice = s;
  Sample third = s;
  resize(twice, 24, 30, false);
  resize(third, 4, 5, false);
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 30; ++x) {
      ASSERT_EQ(twice.label(TaskId::kSemseg).at(y, x), s.label(TaskId::kSemseg).at(y / 2, x / 2));
      if (y < 4 && x < 5) {
        ASSERT_EQ(third.label(TaskId::kDepth).at(y, x), s.label(TaskId::kDepth).at(3 * y + 1, 3 * x + 1));
      }
    }
  }
}

TEST(Transforms, ThinEdgesSurviveRotation) {
  Sample s;
  s.image = ImageU8(100, 100, 3);
  ImageF32& edge = s.label(TaskId::kEdge);
  edge = ImageF32(100, 100, 1);
  for (int i = 20; i < 80; ++i) edge.at(i, 50) = edge.at(50, i) = edge.at(i, i) = 1;
  const auto count = [](const Sample& t) {
    const auto& d = t.label(TaskId::kEdge).data;
    return static_cast<double>(std::count(d.begin(), d.end(), 1.0F));
  };
  const double before = count(s);
  for (const double degrees : {-20.0, -10.0, 3.0, 10.0, 20.0}) {
    Sample t = s;
    rotate_scale(t, degrees, 1, true);
    EXPECT_NEAR(count(t), before, 0.1 * before) << degrees;
  }
}

TEST(Transforms, AntialiasedResizeIsTheNetworksInputResize) {
  Sample s = random_sample(9, 60, 80);
  const ImageU8 want = resize_rgb(s.image, 23, 31);
  resize(s, 23, 31, true);
  EXPECT_EQ(s.image, want);
}

TEST(Augment, ConfiguredOffChangesNothing) {
  const AugmentConfig off{.flip = 0};
  const Sample s = random_sample(10, 20, 30);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Sample t = s;
    Rng rng{seed};
    augment(t, off, rng);
    EXPECT_TRUE(same(t, s));
  }
}

TEST(Augment, DrawsDoNotDependOnWhatIsSwitchedOn) {
  const AugmentConfig all{.flip = 0.5, .rotate = 20, .scale = {0.75, 1.25}, .brightness = 0.3};
  AugmentConfig dark = all;
  dark.brightness = 0;
  const Sample s = random_sample(11, 24, 24);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Sample a = s;
    Sample b = s;
    Rng rng_a{seed};
    Rng rng_b{seed};
    augment(a, all, rng_a);
    augment(b, dark, rng_b);
    EXPECT_EQ(a.labels, b.labels);
    EXPECT_NE(a.image, b.image);
    EXPECT_EQ(rng_a.state(), rng_b.state());
  }
}

TEST(Augment, FlipsAndScalesAsOftenAsAsked) {
  const AugmentConfig config{.flip = 0.5, .scales = {1.0, 1.25, 2.0}};
  Sample s;
  s.image = ImageU8(5, 8, 3);
  s.label(TaskId::kDepth) = ImageF32(5, 8, 1, 10.0F);
  s.label(TaskId::kSal) = ImageF32(5, 8, 1);
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 4; ++x) s.label(TaskId::kSal).at(y, x) = 1;
  }
  std::map<float, int> depths;
  int flips = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    Sample t = s;
    Rng rng{seed};
    augment(t, config, rng);
    ++depths[t.label(TaskId::kDepth).at(2, 4)];
    flips += t.label(TaskId::kSal).at(2, 2) == 0;
  }
  EXPECT_THAT(depths, testing::SizeIs(3));
  for (const float d : {10.0F, 8.0F, 5.0F}) EXPECT_NEAR(depths[d], 200, 50) << d;
  EXPECT_NEAR(flips, 300, 60);
}

TEST(Augment, ScaleStaysInItsRange) {
  const AugmentConfig config{.flip = 0, .scale = {0.8, 1.25}};
  double lowest = 10;
  double highest = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Sample t;
    t.image = ImageU8(5, 5, 3);
    t.label(TaskId::kDepth) = ImageF32(5, 5, 1, 1.0F);
    Rng rng{seed};
    augment(t, config, rng);
    const double scale = 1 / t.label(TaskId::kDepth).at(2, 2);
    lowest = std::min(lowest, scale);
    highest = std::max(highest, scale);
  }
  EXPECT_GE(lowest, 0.8 - 1e-6);
  EXPECT_LT(lowest, 0.82);
  EXPECT_LE(highest, 1.25 + 1e-6);
  EXPECT_GT(highest, 1.22);
}

TEST(Augment, BrightnessIsClipped) {
  const AugmentConfig config{.flip = 0, .brightness = 0.9};
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Sample t;
    t.image = ImageU8(1, 2, 3, 200);
    t.image.data[0] = 0;
    Rng rng{seed};
    augment(t, config, rng);
    EXPECT_EQ(t.image.data[0], 0);
    EXPECT_GE(t.image.data[1], 19);  // 200 · 0.1; a wrap would give any value
  }
}

}  // namespace
}  // namespace m3vit
