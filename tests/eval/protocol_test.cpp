// The published ways to score: hand-computed cases for each protocol, option and edge setting.
#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "core/error.h"
#include "core/label_outline.h"
#include "core/thin.h"
#include "data/sample.h"
#include "eval/edge/edge_options.h"
#include "eval/evaluate.h"
#include "eval/native_prediction.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

constexpr double kDegrees = 180 / std::numbers::pi;

// --------------------------------------------------------------------------------------------- native predictions

TEST(NativePrediction, OfClassesIsTheArgmaxResizedToTheNearest) {
  // [2 classes, 1 × 2]: class 1 left, class 0 right; a tie goes to the lower class.
  const std::vector<float> raw{0, 3, 1, 3};
  const ImageF32 map = native_prediction(TaskId::kSemseg, raw, 2, 1, 2, 2, 4, Protocol::kSurvey);
  EXPECT_EQ(map.data, (std::vector<float>{1, 1, 0, 0, 1, 1, 0, 0}));
}

TEST(NativePrediction, IsActivatedBeforeItIsResized) {
  // Probabilities 0.2 and 0.8 meet at 0.5 in the middle; so would the logits, but 0.1 and 0.8 tell them apart.
  const std::vector<float> raw{logit(0.1), logit(0.8)};
  const ImageF32 map = native_prediction(TaskId::kSal, raw, 1, 1, 2, 1, 4, Protocol::kSurvey);
  // Bilinear at the centres −0.25 → 0 (clamped), 0.25, 0.75, 1.25 → 1.
  EXPECT_NEAR(map.data[0], 0.1, 1e-6);
  EXPECT_NEAR(map.data[1], 0.1 + 0.25 * 0.7, 1e-6);
  EXPECT_NEAR(map.data[2], 0.1 + 0.75 * 0.7, 1e-6);
  EXPECT_NEAR(map.data[3], 0.8, 1e-6);
}

TEST(NativePrediction, MakesNormalsUnitVectorsFirst) {
  const std::vector<float> raw{10, 0, 0, 1, 0, 0};  // (10, 0, 0) and (0, 1, 0)
  const ImageF32 map = native_prediction(TaskId::kNormals, raw, 3, 1, 2, 1, 2, Protocol::kSurvey);
  EXPECT_EQ(map.data, (std::vector<float>{1, 0, 0, 0, 1, 0}));
}

TEST(NativePrediction, OfProtocolACutsThePaddingOff) {
  std::vector<float> raw(5 * 6);
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<float>(i);
  const ImageF32 map = native_prediction(TaskId::kDepth, raw, 1, 5, 6, 2, 3, Protocol::kAtrc);
  EXPECT_EQ(map.data, (std::vector<float>{7, 8, 9, 13, 14, 15}));  // from row (5−2)/2 = 1, column (6−3)/2 = 1
  EXPECT_THROW(native_prediction(TaskId::kDepth, raw, 1, 5, 6, 6, 3, Protocol::kAtrc), Error);
  EXPECT_THROW(native_prediction(TaskId::kDepth, raw, 1, 5, 5, 2, 3, Protocol::kSurvey), Error);
}

TEST(FinishedPrediction, ScoresAsTheRawOneDoesAtTheSameSize) {
  Rng rng{4};
  constexpr int kH = 24, kW = 32;
  for (const TaskSpec& t : kTasks) {
    const int channels = t.default_outputs > 0 ? t.default_outputs : 5;
    std::vector<float> raw(static_cast<std::size_t>(channels * kH * kW));
    for (float& v : raw) v = static_cast<float>(rng.normal());
    ImageF32 label(kH, kW, t.label_channels);
    for (float& v : label.data) {
      v = t.label == LabelKind::kClassIndex ? static_cast<float>(rng.below(5))
          : t.label == LabelKind::kBinary   ? static_cast<float>(rng.below(8) == 0)
                                            : static_cast<float>(rng.uniform(0.2, 2));
    }
    const auto by_raw = make_metric(t.id, channels, {});
    const auto finished = make_metric(t.id, channels, {});
    by_raw->update(raw, channels, label);
    finished->score(native_prediction(t.id, raw, channels, kH, kW, kH, kW, Protocol::kSurvey), label);
    EXPECT_TRUE(same_values(by_raw->compute(), finished->compute(), 2e-3)) << t.name;
  }
}

TEST(FinishedPrediction, OfAnotherSizeIsRefused) {
  for (const TaskSpec& t : kTasks) {
    const auto metric = make_metric(t.id, std::max(5, t.default_outputs), {});
    EXPECT_THROW(metric->score(ImageF32(2, 3, t.label_channels), ImageF32(3, 2, t.label_channels, 1)), Error) << t.name;
    EXPECT_NO_THROW(metric->score(ImageF32(2, 3, t.label_channels), ImageF32())) << "no label, no score";
  }
}

// ------------------------------------------------------------------------------------------------------- MTAN's

TEST(MtanSegmentation, AveragesEachImagesMeanOverTheClassesInIt) {
  const auto metric = make_metric(TaskId::kSemseg, 3, {}, Protocol::kMtan);
  // Image 1: truth 0 0 1 1, prediction 0 1 1 1: IoU 1/2 and 2/3, class 2 absent; 3 of 4 right.
  metric->score(map_of(1, 4, {0, 1, 1, 1}), map_of(1, 4, {0, 0, 1, 1}));
  // Image 2: truth 2, void, void, void; prediction 0 everywhere: classes 0 and 2 are in it, both 0.
  metric->score(map_of(1, 4, {0, 0, 0, 0}), map_of(1, 4, {2, 255, 255, 255}));
  // Image 3 has no labelled pixel and does not count.
  metric->score(map_of(1, 2, {0, 0}), map_of(1, 2, {255, 255}));
  EXPECT_NEAR(value_of(*metric, "mIoU"), ((0.5 + 2.0 / 3) / 2 + 0) / 2, 1e-12);
  EXPECT_NEAR(value_of(*metric, "pixel_acc"), (0.75 + 0) / 2, 1e-12);
  // Pooled: class 0 has 1 of 3, class 1 has 2 of 3, class 2 has 0 of 1.
  EXPECT_NEAR(value_of(*metric, "mIoU_pooled"), (1.0 / 3 + 2.0 / 3 + 0) / 3, 1e-12);
}

TEST(MtanDepth, AddsErrorsAveragedOverImages) {
  const auto metric = make_metric(TaskId::kDepth, 1, {}, Protocol::kMtan);
  metric->score(map_of(1, 3, {3, 5, 9}), map_of(1, 3, {2, 4, 0}));  // |1|, |1| of 2 and 4
  metric->score(map_of(1, 1, {10}), map_of(1, 1, {5}));
  metric->score(map_of(1, 1, {10}), map_of(1, 1, {0}));  // nothing known: not an image of the mean
  EXPECT_NEAR(value_of(*metric, "abs_err"), (1 + 5) / 2.0, 1e-12);
  EXPECT_NEAR(value_of(*metric, "rel_err"), ((0.5 + 0.25) / 2 + 1) / 2, 1e-12);
  EXPECT_NEAR(value_of(*metric, "rmse"), std::sqrt((1 + 1 + 25) / 3.0), 1e-12) << "pooled as ever";
  EXPECT_EQ(metric_direction("abs_err"), Better::kLower);
}

TEST(MtanNormals, AreMeansOverImages) {
  const auto metric = make_metric(TaskId::kNormals, 3, {}, Protocol::kMtan);
  const auto at = [](double degrees) {
    return std::array{static_cast<float>(std::sin(degrees / kDegrees)), 0.0F,
                      static_cast<float>(std::cos(degrees / kDegrees))};
  };
  const auto image = [&](std::vector<double> angles) {
    ImageF32 prediction(1, static_cast<int>(angles.size()), 3), label(1, static_cast<int>(angles.size()), 3);
    for (int x = 0; x < label.width; ++x) {
      const auto v = at(angles[static_cast<std::size_t>(x)]);
      for (int c = 0; c < 3; ++c) prediction.at(0, x, c) = v[static_cast<std::size_t>(c)];
      label.at(0, x, 2) = 1;
    }
    metric->score(prediction, label);
  };
  image({10, 20, 60});  // mean 30, median 20
  image({5});
  EXPECT_NEAR(value_of(*metric, "mean"), (30 + 5) / 2.0, 1e-3);
  EXPECT_NEAR(value_of(*metric, "median"), (20 + 5) / 2.0, 1e-3);
  EXPECT_NEAR(value_of(*metric, "within_11.25"), (1.0 / 3 + 1) / 2, 1e-12);
}

TEST(LibMtlDelta, AveragesOverTheMetricsOfATaskFirst) {
  EvalResult mine, single;
  mine.metrics["semseg"] = {{"mIoU", 0.6}, {"pixel_acc", 0.9}};
  single.metrics["semseg"] = {{"mIoU", 0.5}, {"pixel_acc", 0.9}};  // +20 %, 0 %
  mine.metrics["depth"] = {{"abs_err", 0.8}, {"rel_err", 0.2}};
  single.metrics["depth"] = {{"abs_err", 1.0}, {"rel_err", 0.1}};  // +20 %, −100 %
  mine.metrics["sal"] = {{"mIoU", 0.6}};                           // no row to compare with
  EXPECT_NEAR(delta_m_by_metric(mine, single), (10 - 40) / 2.0, 1e-9);
  EXPECT_TRUE(std::isnan(delta_m_by_metric(mine, {})));
}

TEST(DeltaM, WithoutEdgeLeavesThatTaskOutAndNothingElse) {
  EvalResult mine, single;
  mine.metrics["semseg"] = {{"mIoU", 0.6}};
  single.metrics["semseg"] = {{"mIoU", 0.5}};
  mine.metrics["edge"] = {{"odsF", 0.4}};
  single.metrics["edge"] = {{"odsF", 0.5}};
  EXPECT_NEAR(delta_m(mine, single, nullptr), 0, 1e-9);
  EXPECT_NEAR(delta_m_without_edge(mine, single), 20, 1e-9);
  single.metrics.erase("edge");
  EXPECT_TRUE(std::isnan(delta_m_without_edge(mine, single))) << "edge did not count anyway";
}

// -------------------------------------------------------------------------------------------------- A's and quirks

TEST(NormalsOfProtocolA, AreTheSameAnglesWithoutRoundingAtTheEnds) {
  Rng rng{8};
  const auto s = make_metric(TaskId::kNormals, 3, {}, Protocol::kSurvey);
  const auto a = make_metric(TaskId::kNormals, 3, {}, Protocol::kAtrc);
  ImageF32 prediction(8, 8, 3), label(8, 8, 3);
  for (float& v : prediction.data) v = static_cast<float>(rng.normal());
  for (float& v : label.data) v = static_cast<float>(rng.normal());
  s->score(prediction, label);
  a->score(prediction, label);
  EXPECT_TRUE(same_values(s->compute(), a->compute(), 1e-6));
  const auto zero = make_metric(TaskId::kNormals, 3, {}, Protocol::kAtrc);
  zero->score(map_of(1, 1, {0, 0, 0}, 3), map_of(1, 1, {0, 0, 1}, 3));
  EXPECT_NEAR(value_of(*zero, "mean"), 90, 1e-9) << "2·atan2(1, 1)";
}

TEST(EightBit, AllStoresNormalsAsTheSurveyDoes) {
  EvalConfig config;
  config.eight_bit = EightBit::kAll;
  const auto metric = make_metric(TaskId::kNormals, 3, config);
  metric->score(map_of(1, 1, {0, 0, 1}, 3), map_of(1, 1, {0, 0, 1}, 3));
  // (0 + 1)·127.5 is cut to 127: −1/255; z stays 255: 1.
  const double c = -1.0 / 255;
  EXPECT_NEAR(value_of(*metric, "mean"), std::acos(1 / std::sqrt(1 + 2 * c * c)) * kDegrees, 1e-9);
}

TEST(EightBit, NoneThresholdsSaliencyAndEdgesAsFloats) {
  EvalConfig none;
  none.eight_bit = EightBit::kNone;
  // 0.2015·255 = 51.4 is stored as 51/255 = 0.2, which does not pass t > 0.2; the float does.
  const ImageF32 prediction = map_of(1, 2, {0.2015F, 0}), label = map_of(1, 2, {1, 0});
  const auto stored = make_metric(TaskId::kSal, 1, {});
  const auto exact = make_metric(TaskId::kSal, 1, none);
  stored->score(prediction, label);
  exact->score(prediction, label);
  EXPECT_EQ(value_of(*stored, "mIoU"), 0);
  EXPECT_EQ(value_of(*exact, "mIoU"), 1);
}

TEST(InvptSaliency, PutsASecondSigmoidOnTheProbability) {
  EvalConfig config;
  config.sal_invpt = true;
  const auto metric = make_metric(TaskId::kSal, 1, config);
  // sigmoid(0.3) = .574 passes t = .55 as sigmoid(0.25) = .562 does; no threshold lies between them, so 0.3 | 0.25
  // cannot be told apart: precision 1/2, recall 1.
  metric->score(map_of(1, 2, {0.30F, 0.25F}), map_of(1, 2, {1, 0}));
  EXPECT_NEAR(value_of(*metric, "maxF_invpt"), 1.3 * 0.5 * 1 / (0.3 * 0.5 + 1), 1e-12);
  EXPECT_NEAR(value_of(*metric, "maxF_beta0.3"), 1, 1e-12) << "t = .30 tells them apart";
}

TEST(AstmtDepth, CountsEveryPixelAndAveragesOverImages) {
  EvalConfig config;
  config.depth_astmt = true;
  const auto metric = make_metric(TaskId::kDepth, 1, config);
  metric->score(map_of(1, 2, {3, 4}), map_of(1, 2, {2, 0}));  // errors 1 and 4 − 1e-9
  metric->score(map_of(1, 1, {5}), map_of(1, 1, {3}));
  EXPECT_NEAR(value_of(*metric, "rmse_astmt"), (std::sqrt((1 + 16) / 2.0) + 2) / 2, 1e-6);
  EXPECT_NEAR(value_of(*metric, "rmse"), std::sqrt((1 + 4) / 2.0), 1e-9);
}

// --------------------------------------------------------------------------------------------------------- edges

TEST(EdgeSettings, AreThePublishedQuadruples) {
  struct Setting {
    EdgeSetting setting;
    bool nms;
    std::size_t thresholds;
    double max_dist;
    std::string_view images;
    bool outline;
  };
  const Setting settings[] = {{EdgeSetting::kSurvey, false, 99, 0.0075, "test_new", false},
                              {EdgeSetting::kAstmt, true, 101, 0.0075, "val", false},
                              {EdgeSetting::kBdetPascal, true, 101, 0.0075, "test_new", false},
                              {EdgeSetting::kBdetNyud, true, 101, 0.011, "val", true}};
  for (const Setting& s : settings) {
    EvalConfig config;
    config.edge_setting = s.setting;
    const EdgeOptions o = edge_options(config);
    EXPECT_EQ(o.nms, s.nms);
    EXPECT_EQ(o.thresholds.size(), s.thresholds);
    EXPECT_EQ(o.max_dist, s.max_dist);
    EXPECT_EQ(o.image_set, s.images);
    EXPECT_EQ(o.outline, s.outline);
    EXPECT_TRUE(std::is_sorted(o.thresholds.begin(), o.thresholds.end()));
  }
  EvalConfig hed;
  hed.edge_setting = EdgeSetting::kAstmt;
  const auto t = edge_options(hed).thresholds;
  EXPECT_EQ(t.front(), 0.001F);
  EXPECT_EQ(t[1], 0.01F);
  EXPECT_EQ(t[50], 0.5F);
  EXPECT_EQ(t.back(), 0.999F);
  const nlohmann::json json = edge_options_json(hed);
  EXPECT_EQ(json["setting"], "astmt");
  EXPECT_EQ(json["reader"], "nms");
  EXPECT_EQ(json["max_dist"], 0.0075);
}

TEST(EdgeSettings, OfNyudTakeEachLinesOutlineForTruth) {
  EvalConfig config;
  config.edge_setting = EdgeSetting::kBdetNyud;
  constexpr int kH = 120, kW = 160;  // .011 of the diagonal is 2.2 pixels
  ImageF32 label(kH, kW, 1), prediction(kH, kW, 1);
  for (int y = 0; y < kH; ++y) label.at(y, 80) = prediction.at(y, 80) = 1;
  // By hand: column 79 differs from its right neighbour, column 80 too: a truth two pixels wide, thinned again to one.
  Image<std::int32_t> as_labels(kH, kW, 1);
  for (int y = 0; y < kH; ++y) as_labels.at(y, 80) = 1;
  Bitmap outline = label_outline(as_labels);
  EXPECT_EQ(outline.count(), 2 * kH);
  thin(outline);
  EXPECT_LE(outline.count(), kH);
  const auto metric = make_metric(TaskId::kEdge, 1, config);
  metric->score(prediction, label);
  EXPECT_GT(value_of(*metric, "odsF"), 0.8);
}

TEST(EdgeSettings, LeaveALineWithoutOutlineWhereTheyAreCustom) {
  ImageF32 label(20, 20, 1), prediction(20, 20, 1);
  for (int y = 0; y < 20; ++y) label.at(y, 10) = prediction.at(y, 10) = 1;
  const auto metric = make_metric(TaskId::kEdge, 1, {});
  metric->score(prediction, label);
  EXPECT_EQ(value_of(*metric, "odsF"), 1);
  EXPECT_EQ(value_of(*metric, "oisF"), 1);
}

// --------------------------------------------------------------------------------------------- evaluating an archive

class TwoSizes final : public Dataset {
 public:
  TwoSizes() {
    info_.name = "two";
    info_.archive = true;
    info_.tasks = {TaskId::kSemseg};
    info_.classes[0] = {"left", "right"};
  }
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 2; }
  Sample get(std::int64_t index) const override {
    const int width = index == 0 ? 6 : 10;
    Sample s;
    s.id = std::to_string(index);
    s.image = ImageU8(4, width, 3, 100);
    s.label(TaskId::kSemseg) = ImageF32(4, width, 1);
    for (int y = 0; y < 4; ++y) {
      for (int x = 0; x < width; ++x) s.label(TaskId::kSemseg).at(y, x) = x < width / 2 ? 0.0F : 1.0F;
    }
    return s;
  }

 private:
  DatasetInfo info_;
};

TEST(Evaluate, ScoresAnArchiveAtEachFramesOwnSize) {
  Config config;
  config.model.image_size = {4, 8};
  config.model.patch_size = 4;
  config.train.batch_size = 2;
  config.tasks = {{.name = "semseg", .outputs = 2}};
  // Left half 0, right half 1 but for one column too many of class 0.
  const Predictor predict = [](const Batch& batch, const TaskConfig&) {
    EXPECT_EQ(batch.width, 8);
    std::vector<float> raw;
    for (int b = 0; b < batch.size; ++b) {
      for (int c = 0; c < 2; ++c) {
        for (int i = 0; i < 4 * 8; ++i) raw.push_back((i % 8 < 5 ? 0 : 1) == c ? 1.0F : 0.0F);
      }
    }
    return raw;
  };
  EvalOptions options;
  options.quiet = true;
  const EvalResult result = evaluate(TwoSizes(), config, predict, options);
  // Width 6: pixel x takes column floor((x + .5)·8/6): 0 2 3 4 6 7 → 0 0 0 0 1 1. Width 10: 0 1 2 2 3 4 5 6 6 7
  // → six of class 0. Truth: 3 and 5 of each. One wrong pixel a row in both.
  const double class0 = (3.0 + 5) / (4 + 6);
  const double class1 = (2.0 + 4) / (3 + 5);
  EXPECT_NEAR(result.primary("semseg"), (class0 + class1) / 2, 1e-12);
  EXPECT_EQ(result.frames, 2);
}

}  // namespace
}  // namespace m3vit
