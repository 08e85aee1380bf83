#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "data/sample.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

std::unique_ptr<Metric> sal() { return make_metric(TaskId::kSal, 1, {}); }

struct Frame {
  std::vector<float> raw;
  ImageF32 label;
};

Frame random_frame(Rng& rng, double unknown) {
  const int h = 1 + static_cast<int>(rng.below(9)), w = 1 + static_cast<int>(rng.below(9));
  Frame f{{}, ImageF32(h, w, 1)};
  const bool none = rng.coin(0.2);
  for (float& v : f.label.data) {
    v = !none && rng.coin(0.4) ? 1.0F : 0.0F;
    if (rng.coin(unknown)) v = kIgnore;
    f.raw.push_back(logit(std::clamp(0.3 * (v == 1) + 0.8 * rng.uniform(), 0.001, 0.999)));
  }
  return f;
}

/// The survey's eval_sal.py and the data-set-level F, in plain loops.
struct Naive {
  double miou = 0, maxf = 0, dataset = 0;
};
Naive naive(const std::vector<Frame>& frames) {
  Naive out;
  const auto prob = [](float x) { return 1 / (1 + std::exp(-double{x})); };
  for (int k = 0; k < 15; ++k) {
    double iou = 0, precision = 0, recall = 0, n = 0;
    for (const Frame& f : frames) {
      double tp = 0, fp = 0, fn = 0, valid = 0;
      for (std::size_t i = 0; i < f.raw.size(); ++i) {
        if (f.label.data[i] == kIgnore) continue;
        ++valid;
        const bool p = std::floor(prob(f.raw[i]) * 255) / 255 > 0.2 + 0.05 * k + 1e-9, t = f.label.data[i] == 1;
        tp += p && t, fp += p && !t, fn += !p && t;
      }
      if (valid == 0) continue;
      ++n;
      iou += tp + fp + fn == 0 ? 1 : tp / (tp + fp + fn);
      precision += tp / (tp + fp + 1e-12);
      recall += tp / (tp + fn + 1e-12);
    }
    iou /= n, precision /= n, recall /= n;
    out.miou = std::max(out.miou, iou);
    out.maxf = std::max(out.maxf, 2 * precision * recall / (precision + recall + 1e-12));
  }
  for (int k = 1; k <= 19; ++k) {
    double tp = 0, fp = 0, fn = 0;
    for (const Frame& f : frames) {
      for (std::size_t i = 0; i < f.raw.size(); ++i) {
        if (f.label.data[i] == kIgnore) continue;
        const bool p = prob(f.raw[i]) >= 0.05 * k, t = f.label.data[i] == 1;
        tp += p && t, fp += p && !t, fn += !p && t;
      }
    }
    if (tp == 0) continue;
    const double precision = tp / (tp + fp), recall = tp / (tp + fn);
    out.dataset = std::max(out.dataset, 1.3 * precision * recall / (0.3 * precision + recall));
  }
  return out;
}

TEST(SaliencyMetric, MatchesAHandComputedCase) {
  // salient: 2 of 4 pixels. Above 0.5: one hit, one false; IoU 1/3, P 1/2, R 1/2. Above 0.85: the hit alone, IoU 1/2.
  const auto metric = sal();
  metric->update(std::vector<float>{logit(0.95), logit(0.1), logit(0.6), logit(0.1)}, 1, map_of(2, 2, {1, 1, 0, 0}));
  EXPECT_NEAR(value_of(*metric, "mIoU"), 0.5, 1e-12);
  EXPECT_NEAR(value_of(*metric, "maxF"), 2 * 1 * 0.5 / 1.5, 1e-12);
  EXPECT_NEAR(value_of(*metric, "maxF_beta0.3"), 1.3 * 0.5 / (0.3 + 0.5), 1e-12);
}

TEST(SaliencyMetric, AveragesOverFramesBeforeTakingTheBestThreshold) {
  // frame 1 is right below 0.4 only, frame 2 above 0.6 only: no threshold reaches 1 although each frame could
  const auto metric = sal();
  metric->update(std::vector<float>{logit(0.4), logit(0.1)}, 1, map_of(1, 2, {1, 0}));
  metric->update(std::vector<float>{logit(0.95), logit(0.6)}, 1, map_of(1, 2, {1, 0}));
  EXPECT_NEAR(value_of(*metric, "mIoU"), 0.75, 1e-12);
}

TEST(SaliencyMetric, NothingSalientAndNothingPredictedIsRight) {
  const auto metric = sal();
  metric->update(std::vector<float>{logit(0.1)}, 1, map_of(1, 1, {0}));
  EXPECT_DOUBLE_EQ(value_of(*metric, "mIoU"), 1);
  EXPECT_DOUBLE_EQ(value_of(*metric, "maxF"), 0);
}

TEST(SaliencyMetric, ByteTruncationMakesTheThresholdStrict) {
  // 0.2019·255 = 51.5 is stored as 51 = 0.2·255, which is not above 0.2
  const auto metric = sal();
  metric->update(std::vector<float>{logit(0.2019)}, 1, map_of(1, 1, {1}));
  EXPECT_DOUBLE_EQ(value_of(*metric, "mIoU"), 0);
  const auto above = sal();
  above->update(std::vector<float>{logit(0.205)}, 1, map_of(1, 1, {1}));
  EXPECT_DOUBLE_EQ(value_of(*above, "mIoU"), 1);
}

TEST(SaliencyMetric, EqualsPlainLoopsOnRandomFrames) {
  Rng rng(31);
  for (int round = 0; round < 20; ++round) {
    std::vector<Frame> frames;
    const auto metric = sal();
    for (int i = 0; i < 8; ++i) {
      frames.push_back(random_frame(rng, 0.1));
      metric->update(frames.back().raw, 1, frames.back().label);
    }
    const Naive want = naive(frames);
    EXPECT_NEAR(value_of(*metric, "mIoU"), want.miou, 1e-9);
    EXPECT_NEAR(value_of(*metric, "maxF"), want.maxf, 1e-9);
    EXPECT_NEAR(value_of(*metric, "maxF_beta0.3"), want.dataset, 1e-9);
  }
}

TEST(SaliencyMetric, MergedPartsEqualTheWhole) {
  Rng rng(32);
  const auto whole = sal(), a = sal(), b = sal();
  for (int i = 0; i < 9; ++i) {
    const Frame f = random_frame(rng, 0.1);
    whole->update(f.raw, 1, f.label);
    (i < 4 ? a : b)->update(f.raw, 1, f.label);
  }
  a->merge(*b);
  EXPECT_TRUE(same_values(a->compute(), whole->compute(), 1e-12));
}

TEST(SaliencyMetric, FramesWithoutLabelAreSkippedAndNothingSeenIsNan) {
  const auto metric = sal();
  metric->update(std::vector<float>(4), 1, ImageF32());
  metric->update(std::vector<float>(4), 1, ImageF32(2, 2, 1, kIgnore));
  for (const MetricValue& m : metric->compute()) EXPECT_TRUE(std::isnan(m.value)) << m.name;
}

}  // namespace
}  // namespace m3vit
