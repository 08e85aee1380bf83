#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "data/sample.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

constexpr float kNo = -20.0F;  // logit of "surely no edge"
constexpr float kYes = 20.0F;

std::unique_ptr<Metric> edge_metric(double max_dist, int thresholds = 9) {
  EvalConfig config;
  config.edge_max_dist = max_dist;
  config.edge_thresholds = thresholds;
  return make_metric(TaskId::kEdge, 1, config);
}

struct Frame {
  std::vector<float> raw;
  ImageF32 label;
};

/// A noisy random contour with a random prediction near it.
Frame random_frame(Rng& rng, int height, int width, int annotators = 1) {
  Frame f{std::vector<float>(static_cast<std::size_t>(height * width)), ImageF32(height, width, annotators)};
  for (int a = 0; a < annotators; ++a) {
    double y = rng.uniform(0, height);
    for (int x = 0; x < width; ++x) {
      y = std::clamp(y + rng.uniform(-1, 1), 0.0, height - 1.0);
      f.label.at(static_cast<int>(y), x, a) = 1;
    }
  }
  for (int py = 0; py < height; ++py) {
    for (int px = 0; px < width; ++px) {
      double p = 0.3 * rng.uniform();
      for (int dy = -1; dy <= 1; ++dy) {
        const int ly = py + dy;
        if (ly >= 0 && ly < height && f.label.at(ly, px, 0) == 1 && rng.coin(0.7)) p = rng.uniform(0.3, 0.99);
      }
      f.raw[static_cast<std::size_t>(py * width + px)] = logit(p + 1e-3);
    }
  }
  return f;
}

/// The definition in docs/metrics.md, from plain grids, for one annotator.
std::array<double, 3> naive_scores(const std::vector<Frame>& frames, double max_dist, int n) {
  const std::size_t size = static_cast<std::size_t>(n);
  std::vector<double> matched(size), truth(size), predicted(size);
  double best_matched = 0, best_truth = 0, best_predicted = 0;
  const auto f_of = [](double m, double t, double p) {
    const double precision = p > 0 ? m / p : 0, recall = t > 0 ? m / t : 0;
    return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
  };
  for (const Frame& f : frames) {
    const int height = f.label.height, width = f.label.width;
    Grid gt(static_cast<std::size_t>(height), std::vector<int>(static_cast<std::size_t>(width)));
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x)
        gt[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] = f.label.at(y, x) == 1;
    }
    gt = naive_thin(gt);
    int num_truth = 0;
    for (const auto& row : gt) num_truth += static_cast<int>(std::count(row.begin(), row.end(), 1));
    double best_f = -1, bm = 0, bp = 0;
    for (int k = 1; k <= n; ++k) {
      Grid p = gt;
      int num_predicted = 0;
      for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
          const double probability = 1 / (1 + std::exp(-double{f.raw[static_cast<std::size_t>(y * width + x)]}));
          p[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] =
              std::floor(probability * 255) * (n + 1) >= 255 * k;
        }
      }
      p = naive_thin(p);
      for (const auto& row : p) num_predicted += static_cast<int>(std::count(row.begin(), row.end(), 1));
      const int m = naive_match(gt, p, max_dist * std::hypot(height, width));
      const std::size_t at = static_cast<std::size_t>(k - 1);
      matched[at] += m, truth[at] += num_truth, predicted[at] += num_predicted;
      if (f_of(m, num_truth, num_predicted) > best_f) {
        best_f = f_of(m, num_truth, num_predicted);
        bm = m, bp = num_predicted;
      }
    }
    best_matched += bm, best_truth += num_truth, best_predicted += bp;
  }
  double ods = 0;
  for (std::size_t k = 0; k < size; ++k) ods = std::max(ods, f_of(matched[k], truth[k], predicted[k]));
  // AP by brute force: at each recall 0, 0.01 … find the segment of the sorted curve around it
  std::vector<std::pair<double, double>> curve;
  for (std::size_t k = 0; k < size; ++k) {
    const double r = matched[k] / truth[k], p = predicted[k] > 0 ? matched[k] / predicted[k] : 0;
    if (std::none_of(curve.begin(), curve.end(), [&](auto c) { return c.first == r; })) curve.emplace_back(r, p);
  }
  std::sort(curve.begin(), curve.end());
  double ap = 0;
  for (int i = 0; i <= 100 && curve.size() > 1; ++i) {
    const double r = i / 100.0;
    for (std::size_t j = 1; j < curve.size(); ++j) {
      if (r < curve[j - 1].first || r > curve[j].first) continue;
      const double share = (r - curve[j - 1].first) / (curve[j].first - curve[j - 1].first);
      ap += 0.01 * (curve[j - 1].second + share * (curve[j].second - curve[j - 1].second));
      break;
    }
  }
  return {ods, f_of(best_matched, best_truth, best_predicted), ap};
}

TEST(EdgeMetric, IsOneForAPerfectPredictionAndZeroForAFarOne) {
  ImageF32 label(20, 30, 1);
  std::vector<float> right(600, kNo), wrong(600, kNo);
  for (int x = 0; x < 30; ++x) {
    label.at(5, x) = 1;
    right[static_cast<std::size_t>(5 * 30 + x)] = kYes;
    wrong[static_cast<std::size_t>(15 * 30 + x)] = kYes;
  }
  const auto good = edge_metric(0.05);
  good->update(right, 1, label);
  EXPECT_DOUBLE_EQ(value_of(*good, "odsF"), 1);
  EXPECT_DOUBLE_EQ(value_of(*good, "oisF"), 1);
  const auto bad = edge_metric(0.05);
  bad->update(wrong, 1, label);
  EXPECT_DOUBLE_EQ(value_of(*bad, "odsF"), 0);
}

TEST(EdgeMetric, MatchesAHandComputedCase) {
  // a line of 10 pixels; 6 of them predicted, and 2 far from it: P = 6/8, R = 6/10, F = 2/3 at every threshold
  ImageF32 label(12, 10, 1);
  std::vector<float> raw(120, kNo);
  for (int x = 0; x < 10; ++x) label.at(2, x) = 1;
  for (int x = 0; x < 6; ++x) raw[static_cast<std::size_t>(2 * 10 + x)] = kYes;
  raw[11 * 10 + 1] = kYes;
  raw[11 * 10 + 8] = kYes;
  const auto metric = edge_metric(0.0);
  metric->update(raw, 1, label);
  EXPECT_NEAR(value_of(*metric, "odsF"), 2 * 0.75 * 0.6 / 1.35, 1e-12);
}

TEST(EdgeMetric, OdsUsesOneThresholdForAllFramesAndOisOneForEach) {
  // frame A is right at p = 0.9 only (a false line at 0.5), frame B's line has p = 0.3: no threshold suits both
  const auto make = [](double line, double clutter) {
    Frame f{std::vector<float>(400, kNo), ImageF32(20, 20, 1)};
    for (int x = 0; x < 20; ++x) {
      f.label.at(4, x) = 1;
      f.raw[static_cast<std::size_t>(4 * 20 + x)] = logit(line);
      if (clutter > 0) f.raw[static_cast<std::size_t>(14 * 20 + x)] = logit(clutter);
    }
    return f;
  };
  const auto metric = edge_metric(0.02);
  for (const Frame& f : {make(0.9, 0.5), make(0.3, 0)}) metric->update(f.raw, 1, f.label);
  EXPECT_DOUBLE_EQ(value_of(*metric, "oisF"), 1);
  // best of: low threshold P 2/3 R 1 → 0.8; high threshold P 1 R 1/2 → 2/3
  EXPECT_NEAR(value_of(*metric, "odsF"), 0.8, 1e-12);
}

TEST(EdgeMetric, EqualsTheNaiveBenchmarkOnRandomFrames) {
  Rng rng(21);
  for (const double max_dist : {0.0, 0.03, 0.08}) {
    std::vector<Frame> frames;
    const auto metric = edge_metric(max_dist, 11);
    for (int i = 0; i < 4; ++i) {
      frames.push_back(random_frame(rng, 15 + static_cast<int>(rng.below(10)), 20 + static_cast<int>(rng.below(60))));
      metric->update(frames.back().raw, 1, frames.back().label);
    }
    const auto [ods, ois, ap] = naive_scores(frames, max_dist, 11);
    EXPECT_NEAR(value_of(*metric, "odsF"), ods, 1e-12);
    EXPECT_NEAR(value_of(*metric, "oisF"), ois, 1e-12);
    EXPECT_NEAR(value_of(*metric, "AP"), ap, 1e-12);
    EXPECT_GT(ods, 0.05);
  }
}

TEST(EdgeMetric, MergedPartsEqualTheWholeExactly) {
  Rng rng(22);
  const auto whole = edge_metric(0.03), first = edge_metric(0.03), second = edge_metric(0.03);
  for (int i = 0; i < 6; ++i) {
    const Frame f = random_frame(rng, 20, 40);
    whole->update(f.raw, 1, f.label);
    (i < 2 ? first : second)->update(f.raw, 1, f.label);
  }
  second->merge(*first);
  EXPECT_TRUE(same_values(second->compute(), whole->compute(), 0));
}

TEST(EdgeMetric, PredictionsOnUnknownPixelsDoNotCount) {
  Rng rng(23);
  Frame f = random_frame(rng, 20, 40);
  // the right part is unknown: whatever is predicted there changes nothing (its last column is kept clear of the
  // border)
  for (int y = 0; y < 20; ++y) {
    for (int x = 25; x < 40; ++x) f.label.at(y, x) = kIgnore;
    for (int x = 22; x < 28; ++x) f.raw[static_cast<std::size_t>(y * 40 + x)] = kNo;
  }
  const auto before = edge_metric(0.03);
  before->update(f.raw, 1, f.label);
  for (int x = 29; x < 39; ++x) f.raw[static_cast<std::size_t>(7 * 40 + x)] = kYes;
  const auto after = edge_metric(0.03);
  after->update(f.raw, 1, f.label);
  EXPECT_TRUE(same_values(after->compute(), before->compute(), 0));
}

TEST(EdgeMetric, FramesWithoutLabelAreSkippedAndNothingSeenIsNan) {
  const auto metric = edge_metric(0.03);
  metric->update(std::vector<float>(100, kYes), 1, ImageF32());
  metric->update(std::vector<float>(100, kYes), 1, ImageF32(10, 10, 1, kIgnore));
  for (const MetricValue& m : metric->compute()) EXPECT_TRUE(std::isnan(m.value)) << m.name;
}

TEST(EdgeMetric, AnImageWithoutEdgesStillPunishesFalseOnes) {
  ImageF32 line(10, 10, 1);
  std::vector<float> raw(100, kNo);
  for (int x = 0; x < 10; ++x) line.at(5, x) = 1, raw[static_cast<std::size_t>(50 + x)] = kYes;
  const auto metric = edge_metric(0.0);
  metric->update(raw, 1, line);
  metric->update(raw, 1, ImageF32(10, 10, 1));
  EXPECT_NEAR(value_of(*metric, "odsF"), 2 * 0.5 * 1 / 1.5, 1e-12);
}

TEST(EdgeMetric, SeveralAnnotatorsSumRecallAndAnyOfThemMakesAPixelPrecise) {
  // annotator 1 draws row 2, annotator 2 row 7, both 10 px; predicted: both rows and row 12.
  // cntR/sumR = 20/20, cntP/sumP = 20/30
  ImageF32 label(15, 10, 2);
  std::vector<float> raw(150, kNo);
  for (int x = 0; x < 10; ++x) {
    label.at(2, x, 0) = 1;
    label.at(7, x, 1) = 1;
    for (const int y : {2, 7, 12}) raw[static_cast<std::size_t>(y * 10 + x)] = kYes;
  }
  const auto metric = edge_metric(0.0);
  metric->update(raw, 1, label);
  EXPECT_NEAR(value_of(*metric, "odsF"), 2 * (2.0 / 3) / (1 + 2.0 / 3), 1e-12);
}

TEST(EdgeMetric, APixelThatTwoAnnotatorsConfirmCountsOnceForPrecision) {
  // both draw row 2; predicted: rows 2 and 12. cntR/sumR = 20/20, cntP/sumP = 10/20
  ImageF32 label(15, 10, 2);
  std::vector<float> raw(150, kNo);
  for (int x = 0; x < 10; ++x) {
    label.at(2, x, 0) = label.at(2, x, 1) = 1;
    for (const int y : {2, 12}) raw[static_cast<std::size_t>(y * 10 + x)] = kYes;
  }
  const auto metric = edge_metric(0.0);
  metric->update(raw, 1, label);
  EXPECT_NEAR(value_of(*metric, "odsF"), 2 * 0.5 / 1.5, 1e-12);
}

TEST(EdgeMetric, AnAnnotatorThatLabelledNothingIsLeftOut) {
  Rng rng(24);
  const Frame f = random_frame(rng, 20, 40);
  ImageF32 two(20, 40, 2, kIgnore);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 40; ++x) two.at(y, x, 1) = f.label.at(y, x);
  }
  const auto one = edge_metric(0.03), both = edge_metric(0.03);
  one->update(f.raw, 1, f.label);
  both->update(f.raw, 1, two);
  EXPECT_TRUE(same_values(one->compute(), both->compute(), 0));
}

TEST(EdgeMetric, NmsReaderThinsABlurredLineThatThePlainReaderKeepsThick) {
  EvalConfig config;
  config.edge_nms = true;
  const auto nms = make_metric(TaskId::kEdge, 1, config);
  ImageF32 label(60, 60, 1);
  std::vector<float> raw(3600);
  for (int y = 0; y < 60; ++y) {
    for (int x = 0; x < 60; ++x) {
      if (x == 30 && y > 6 && y < 53) label.at(y, x) = 1;
      raw[static_cast<std::size_t>(y * 60 + x)] = logit(0.01 + 0.9 * std::exp(-std::pow(x - 30, 2) / 6.0));
    }
  }
  nms->update(raw, 1, label);
  EXPECT_GT(value_of(*nms, "odsF"), 0.9);
}

TEST(EdgeMetric, RejectsImpossibleOptionsAndSizes) {
  EXPECT_THROW(edge_metric(-0.1), Error);
  EXPECT_THROW(edge_metric(NAN), Error);
  EXPECT_THROW(edge_metric(0.01, 0), Error);
  const auto metric = edge_metric(0.01);
  EXPECT_THROW(metric->update(std::vector<float>(9), 1, ImageF32(2, 5, 1)), Error);
  EXPECT_THROW(metric->update(std::vector<float>(20), 2, ImageF32(2, 5, 1)), Error);
}

}  // namespace
}  // namespace m3vit
