/// Segmentation, human parts, depth and normals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "data/sample.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

/// Scores [C, H, W] whose argmax is `classes`.
std::vector<float> one_hot(const std::vector<int>& classes, int count) {
  std::vector<float> raw(classes.size() * static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < classes.size(); ++i) raw[static_cast<std::size_t>(classes[i]) * classes.size() + i] = 1;
  return raw;
}

TEST(SegmentationMetric, MatchesAHandComputedCase) {
  // class 0: 1 of 2, class 1: 2 of 3 united, class 2 absent; one pixel unlabelled
  const auto metric = make_metric(TaskId::kSemseg, 3, {});
  metric->update(one_hot({0, 1, 1, 1, 2}, 3), 3, map_of(1, 5, {0, 0, 1, 1, kIgnore}));
  EXPECT_NEAR(value_of(*metric, "mIoU"), (0.5 + 2.0 / 3) / 3, 1e-12) << "an absent class counts 0";
  EXPECT_NEAR(value_of(*metric, "mIoU_present"), (0.5 + 2.0 / 3) / 2, 1e-12);
  EXPECT_NEAR(value_of(*metric, "pixel_acc"), 0.75, 1e-12);
  const std::vector<double> iou = metric->per_class();
  ASSERT_EQ(iou.size(), 3U);
  EXPECT_NEAR(iou[0], 0.5, 1e-12);
  EXPECT_NEAR(iou[1], 2.0 / 3, 1e-12);
  EXPECT_TRUE(std::isnan(iou[2])) << "only predicted on an unlabelled pixel";
}

TEST(SegmentationMetric, LowerClassWinsATie) {
  const auto metric = make_metric(TaskId::kSemseg, 2, {});
  metric->update(std::vector<float>{0.5F, 0.5F}, 2, map_of(1, 1, {0}));
  EXPECT_DOUBLE_EQ(value_of(*metric, "pixel_acc"), 1);
}

TEST(SegmentationMetric, EqualsPlainLoopsAndMergesExactly) {
  Rng rng(41);
  constexpr int kClasses = 5;
  const auto whole = make_metric(TaskId::kSemseg, kClasses, {});
  const auto a = make_metric(TaskId::kSemseg, kClasses, {});
  const auto b = make_metric(TaskId::kSemseg, kClasses, {});
  double tp[kClasses] = {}, fp[kClasses] = {}, fn[kClasses] = {}, right = 0, valid = 0;
  for (int frame = 0; frame < 6; ++frame) {
    std::vector<int> predicted(63);
    std::vector<float> truth(63);
    for (std::size_t i = 0; i < 63; ++i) {
      truth[i] = rng.coin(0.1) ? kIgnore : static_cast<float>(rng.below(4));  // class 4 is never labelled
      predicted[i] = rng.coin(0.5) && truth[i] != kIgnore ? static_cast<int>(truth[i]) : static_cast<int>(rng.below(5));
      if (truth[i] == kIgnore) continue;
      ++valid;
      right += predicted[i] == static_cast<int>(truth[i]);
    }
    for (int c = 0; c < kClasses; ++c) {
      for (std::size_t i = 0; i < 63; ++i) {
        const bool p = predicted[i] == c, t = truth[i] == static_cast<float>(c), v = truth[i] != kIgnore;
        tp[c] += p && t && v, fp[c] += p && !t && v, fn[c] += !p && t && v;
      }
    }
    whole->update(one_hot(predicted, kClasses), kClasses, map_of(7, 9, truth));
    (frame < 2 ? a : b)->update(one_hot(predicted, kClasses), kClasses, map_of(7, 9, truth));
  }
  double mean = 0;
  for (int c = 0; c < kClasses; ++c) mean += tp[c] / std::max(tp[c] + fp[c] + fn[c], 1e-8) / kClasses;
  EXPECT_NEAR(value_of(*whole, "mIoU"), mean, 1e-12);
  EXPECT_NEAR(value_of(*whole, "pixel_acc"), right / valid, 1e-12);
  a->merge(*b);
  EXPECT_TRUE(same_values(a->compute(), whole->compute(), 0));
}

TEST(SegmentationMetric, RejectsALabelOutsideTheClasses) {
  const auto metric = make_metric(TaskId::kSemseg, 3, {});
  EXPECT_THROW(metric->update(one_hot({0}, 3), 3, map_of(1, 1, {3})), Error);
  EXPECT_THROW(metric->update(one_hot({0}, 3), 3, map_of(1, 1, {-1})), Error);
  EXPECT_THROW(metric->update(one_hot({0}, 2), 2, map_of(1, 1, {0})), Error);
  EXPECT_THROW(make_metric(TaskId::kSemseg, 0, {}), Error);
}

TEST(HumanPartsMetric, SkipsImagesThatAreOnlyBackgroundOrOnlyUnlabelled) {
  const auto metric = make_metric(TaskId::kHumanParts, 7, {});
  metric->update(one_hot({1, 1}, 7), 7, map_of(1, 2, {0, 0}));
  metric->update(one_hot({1, 1}, 7), 7, map_of(1, 2, {kIgnore, kIgnore}));
  EXPECT_TRUE(std::isnan(value_of(*metric, "mIoU")));
  metric->update(one_hot({0, 2}, 7), 7, map_of(1, 2, {0, 2}));
  EXPECT_NEAR(value_of(*metric, "mIoU"), 2.0 / 7, 1e-12);
  EXPECT_DOUBLE_EQ(value_of(*metric, "mIoU_present"), 1);
  // the published rule looks for one single value: {0, 255} does count
  metric->update(one_hot({1, 1}, 7), 7, map_of(1, 2, {0, kIgnore}));
  EXPECT_NEAR(value_of(*metric, "mIoU"), (0.5 + 1) / 7, 1e-12);
}

TEST(SegmentationMetric, BackgroundOnlyImagesCountForSemseg) {
  const auto metric = make_metric(TaskId::kSemseg, 2, {});
  metric->update(one_hot({0, 0}, 2), 2, map_of(1, 2, {0, 0}));
  EXPECT_DOUBLE_EQ(value_of(*metric, "mIoU_present"), 1);
}

TEST(DepthMetric, MatchesAHandComputedCase) {
  const auto metric = make_metric(TaskId::kDepth, 1, {});
  metric->update(std::vector<float>{1, 2.5F, 9}, 1, map_of(1, 3, {2, 2, 0}));
  EXPECT_NEAR(value_of(*metric, "rmse"), std::sqrt((1 + 0.25) / 2), 1e-12);
  EXPECT_NEAR(value_of(*metric, "abs_rel"), (0.5 + 0.25) / 2, 1e-12);
  EXPECT_NEAR(value_of(*metric, "sq_rel"), (0.5 + 0.125) / 2, 1e-12);
  EXPECT_NEAR(value_of(*metric, "log_rmse"), std::sqrt((std::pow(std::log(2), 2) + std::pow(std::log(1.25), 2)) / 2),
              1e-12);
  EXPECT_DOUBLE_EQ(value_of(*metric, "delta1"), 0) << "ratios 2 and exactly 1.25: strict";
  EXPECT_DOUBLE_EQ(value_of(*metric, "delta2"), 0.5);
  EXPECT_DOUBLE_EQ(value_of(*metric, "delta3"), 0.5);
}

TEST(DepthMetric, NonPositivePredictionCountsAsANanometre) {
  const auto metric = make_metric(TaskId::kDepth, 1, {});
  metric->update(std::vector<float>{-3, 0}, 1, map_of(1, 2, {2, 2}));
  EXPECT_NEAR(value_of(*metric, "rmse"), 2, 1e-8);
  EXPECT_NEAR(value_of(*metric, "log_rmse"), std::log(2e9), 1e-6);
}

TEST(DepthMetric, PoolsAllPixelsRatherThanAveragingFrames) {
  const auto metric = make_metric(TaskId::kDepth, 1, {});
  metric->update(std::vector<float>{2}, 1, map_of(1, 1, {1}));
  metric->update(std::vector<float>{1, 1, 1}, 1, map_of(1, 3, {1, 1, 1}));
  EXPECT_NEAR(value_of(*metric, "rmse"), 0.5, 1e-12);
}

TEST(DepthMetric, EqualsPlainLoopsSkipsUnknownAndMerges) {
  Rng rng(42);
  const auto whole = make_metric(TaskId::kDepth, 1, {});
  const auto a = make_metric(TaskId::kDepth, 1, {});
  const auto b = make_metric(TaskId::kDepth, 1, {});
  double n = 0, se = 0, le = 0, ar = 0, sr = 0, d1 = 0;
  for (int frame = 0; frame < 4; ++frame) {
    std::vector<float> raw(40), truth(40);
    for (std::size_t i = 0; i < 40; ++i) {
      truth[i] = rng.coin(0.2) ? (rng.coin(0.5) ? 0.0F : INFINITY) : static_cast<float>(rng.uniform(0.5, 9));
      raw[i] = static_cast<float>(rng.uniform(0.5, 9));
      if (truth[i] == 0 || std::isinf(truth[i])) continue;
      const double p = raw[i], t = truth[i];
      ++n, se += (p - t) * (p - t), le += std::pow(std::log(p / t), 2), ar += std::abs(p - t) / t;
      sr += (p - t) * (p - t) / t, d1 += std::max(p / t, t / p) < 1.25;
    }
    whole->update(raw, 1, map_of(5, 8, truth));
    (frame < 1 ? a : b)->update(raw, 1, map_of(5, 8, truth));
  }
  EXPECT_NEAR(value_of(*whole, "rmse"), std::sqrt(se / n), 1e-12);
  EXPECT_NEAR(value_of(*whole, "log_rmse"), std::sqrt(le / n), 1e-12);
  EXPECT_NEAR(value_of(*whole, "abs_rel"), ar / n, 1e-12);
  EXPECT_NEAR(value_of(*whole, "sq_rel"), sr / n, 1e-12);
  EXPECT_NEAR(value_of(*whole, "delta1"), d1 / n, 1e-12);
  a->merge(*b);
  EXPECT_TRUE(same_values(a->compute(), whole->compute(), 1e-12));
}

TEST(DepthMetric, NothingSeenIsNanAndANanPredictionShows) {
  const auto metric = make_metric(TaskId::kDepth, 1, {});
  metric->update(std::vector<float>(4), 1, ImageF32());
  metric->update(std::vector<float>(4), 1, ImageF32(2, 2, 1));
  for (const MetricValue& m : metric->compute()) EXPECT_TRUE(std::isnan(m.value)) << m.name;
  metric->update(std::vector<float>{NAN, 1}, 1, map_of(1, 2, {1, 1}));
  EXPECT_TRUE(std::isnan(value_of(*metric, "rmse")));
}

/// Planes [3, 1, n] of predicted and an interleaved label of true vectors.
struct Normals {
  std::vector<float> raw;
  ImageF32 label;
};
Normals normals_of(const std::vector<std::array<double, 3>>& predicted,
                   const std::vector<std::array<double, 3>>& truth) {
  Normals n{{}, ImageF32(1, static_cast<int>(truth.size()), 3)};
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < predicted.size(); ++i) {
      n.raw.push_back(static_cast<float>(predicted[i][c]));
      n.label.data[i * 3 + c] = static_cast<float>(truth[i][c]);
    }
  }
  return n;
}

std::array<double, 3> tilted(double degrees) {
  const double r = degrees * std::numbers::pi / 180;
  return {std::sin(r), 0, std::cos(r)};
}

TEST(NormalsMetric, MatchesHandComputedAngles) {
  const std::array<double, 3> up{0, 0, 1};
  const auto metric = make_metric(TaskId::kNormals, 3, {});
  const Normals n = normals_of({tilted(0), tilted(10), tilted(20), tilted(50), {1, 2, 3}}, {up, up, up, up, {0, 0, 0}});
  metric->update(n.raw, 3, n.label);
  EXPECT_NEAR(value_of(*metric, "mean"), 20, 1e-4);
  EXPECT_NEAR(value_of(*metric, "median"), 15, 0.02);
  EXPECT_NEAR(value_of(*metric, "rmse"), std::sqrt((100 + 400 + 2500) / 4.0), 1e-4);
  EXPECT_DOUBLE_EQ(value_of(*metric, "within_11.25"), 0.5);
  EXPECT_DOUBLE_EQ(value_of(*metric, "within_22.5"), 0.75);
  EXPECT_DOUBLE_EQ(value_of(*metric, "within_30"), 0.75);
}

TEST(NormalsMetric, LengthOfThePredictionDoesNotMatterAndOppositeIs180) {
  const auto metric = make_metric(TaskId::kNormals, 3, {});
  const Normals n = normals_of({{0, 0, 37}, {0, 0, 0.01}, {0, 0, -5}}, {{0, 0, 1}, {0, 0, 1}, {0, 0, 1}});
  metric->update(n.raw, 3, n.label);
  EXPECT_NEAR(value_of(*metric, "mean"), 60, 1e-6);
  EXPECT_NEAR(value_of(*metric, "median"), 0, 0.01);
}

TEST(NormalsMetric, AZeroPredictionIsAtRightAngles) {
  const auto metric = make_metric(TaskId::kNormals, 3, {});
  const Normals n = normals_of({{0, 0, 0}}, {{0, 1, 0}});
  metric->update(n.raw, 3, n.label);
  EXPECT_NEAR(value_of(*metric, "mean"), 90, 1e-9);
}

TEST(NormalsMetric, EqualsPlainLoopsAndMerges) {
  Rng rng(43);
  const auto whole = make_metric(TaskId::kNormals, 3, {});
  const auto a = make_metric(TaskId::kNormals, 3, {});
  const auto b = make_metric(TaskId::kNormals, 3, {});
  std::vector<double> angles;
  for (int frame = 0; frame < 5; ++frame) {
    std::vector<std::array<double, 3>> predicted, truth;
    for (int i = 0; i < 101; ++i) {
      const auto draw = [&] { return std::array<double, 3>{rng.normal(), rng.normal(), rng.normal()}; };
      predicted.push_back(draw());
      truth.push_back(rng.coin(0.2) ? std::array<double, 3>{0, 0, 0} : draw());
      double dot = 0, p2 = 0, t2 = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        dot += predicted.back()[c] * truth.back()[c];
        p2 += predicted.back()[c] * predicted.back()[c], t2 += truth.back()[c] * truth.back()[c];
      }
      if (t2 > 0) angles.push_back(std::acos(dot / std::sqrt(p2 * t2)) * 180 / std::numbers::pi);
    }
    const Normals n = normals_of(predicted, truth);
    whole->update(n.raw, 3, n.label);
    (frame < 2 ? a : b)->update(n.raw, 3, n.label);
  }
  std::sort(angles.begin(), angles.end());
  double sum = 0, squared = 0, within = 0;
  for (const double d : angles) sum += d, squared += d * d, within += d < 30;
  const double n = static_cast<double>(angles.size());
  EXPECT_NEAR(value_of(*whole, "mean"), sum / n, 1e-4);
  EXPECT_NEAR(value_of(*whole, "rmse"), std::sqrt(squared / n), 1e-4);
  EXPECT_NEAR(value_of(*whole, "within_30"), within / n, 1e-12);
  const double median = (angles[(angles.size() - 1) / 2] + angles[angles.size() / 2]) / 2;
  EXPECT_NEAR(value_of(*whole, "median"), median, 0.011);
  a->merge(*b);
  EXPECT_TRUE(same_values(a->compute(), whole->compute(), 1e-9));
}

TEST(NormalsMetric, NothingSeenIsNanAndANanPredictionShows) {
  const auto metric = make_metric(TaskId::kNormals, 3, {});
  metric->update(std::vector<float>(12), 3, ImageF32());
  metric->update(std::vector<float>(12), 3, ImageF32(2, 2, 3));
  for (const MetricValue& m : metric->compute()) EXPECT_TRUE(std::isnan(m.value)) << m.name;
  const Normals n = normals_of({{NAN, 0, 1}, {0, 0, 1}}, {{0, 0, 1}, {0, 0, 1}});
  metric->update(n.raw, 3, n.label);
  for (const MetricValue& m : metric->compute()) EXPECT_TRUE(std::isnan(m.value)) << m.name;
}

TEST(Metrics, PrimaryMetricOfTheTaskTableComesFirst) {
  for (const TaskSpec& spec : kTasks) {
    const auto metric = make_metric(spec.id, std::max(1, spec.default_outputs), {});
    const auto values = metric->compute();
    EXPECT_EQ(values.front().name, spec.primary_metric) << spec.name;
    EXPECT_EQ(metric_direction(values.front().name), spec.better) << spec.name;
  }
}

}  // namespace
}  // namespace m3vit
