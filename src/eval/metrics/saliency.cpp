/// Saliency: mIoU and maxF of the survey's protocol, and the data-set-level F with β² = 0.3 (docs/metrics.md).
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "data/sample.h"
#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

constexpr std::size_t kSurveyThresholds = 15;   // 0.20, 0.25 … 0.90
constexpr std::size_t kDatasetThresholds = 19;  // 0.05, 0.10 … 0.95

/// In twentieths and divided once, so that v/255 equal to a threshold compares equal to it.
constexpr std::array<double, kSurveyThresholds> kSurvey = [] {
  std::array<double, kSurveyThresholds> t{};
  for (std::size_t k = 0; k < t.size(); ++k) t[k] = static_cast<double>(4 + k) / 20.0;
  return t;
}();

struct Counts {
  std::int64_t tp = 0, fp = 0, fn = 0;
  void add(const Counts& o) {
    tp += o.tp;
    fp += o.fp;
    fn += o.fn;
  }
};

/// Pixels of one frame by the number of thresholds that they pass.
template <std::size_t N>
struct Passed {
  std::array<std::int64_t, N + 1> salient{}, other{};
  std::array<std::int64_t, N + 1>& of(bool is_salient) { return is_salient ? salient : other; }
  /// Calls use(k, counts) for each threshold.
  template <class Use>
  void each(std::int64_t num_salient, const Use& use) const {
    Counts c{.tp = 0, .fp = 0, .fn = num_salient};
    for (std::size_t k = N; k > 0; --k) {
      c.tp += salient[k];
      c.fp += other[k];
      c.fn -= salient[k];
      use(k - 1, c);
    }
  }
};

class SaliencyMetric final : public Metric {
 public:
  SaliencyMetric(bool eight_bit, bool invpt) : eight_bit_(eight_bit), invpt_(invpt) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("sal", raw, channels, 1, label, 1)) return;
    add_frame(label, [&](std::size_t i) { return sigmoid(raw[i]); });
  }

  void score(const ImageF32& prediction, const ImageF32& label) override {
    if (!check_finished("sal", prediction, 1, label)) return;
    add_frame(label, [&](std::size_t i) { return static_cast<double>(prediction.data[i]); });
  }

 private:
  /// How many of the survey's thresholds p passes.
  std::size_t survey_passed(double p) const {
    const double v = eight_bit_ ? stored_level(p) / 255.0 : p;
    std::size_t n = 0;
    while (n < kSurveyThresholds && v > kSurvey[n]) ++n;
    return n;
  }
  static std::size_t dataset_passed(double p) {
    return p > 0 ? static_cast<std::size_t>(std::min(p * 20.0, double{kDatasetThresholds})) : 0;
  }

  template <class Probability>
  void add_frame(const ImageF32& label, const Probability& probability) {
    // How many salient and other pixels pass exactly so many thresholds; "at least k" is a running sum from the top.
    Passed<kSurveyThresholds> survey;
    Passed<kDatasetThresholds> dataset;
    Passed<kDatasetThresholds> twice;
    std::int64_t num_salient = 0;
    std::int64_t valid = 0;
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    const std::size_t pixels = label.data.size() / stride;
    for (std::size_t i = 0; i < pixels; ++i) {
      const float truth = label.data[i * stride];
      if (truth == kIgnore) continue;
      ++valid;
      const double p = probability(i);
      const bool salient = truth > 0.5F;
      num_salient += salient ? 1 : 0;
      ++survey.of(salient)[survey_passed(p)];
      ++dataset.of(salient)[dataset_passed(p)];
      if (invpt_) ++twice.of(salient)[dataset_passed(sigmoid(static_cast<float>(p)))];
    }
    if (valid == 0) return;
    ++frames_;
    survey.each(num_salient, [&](std::size_t k, const Counts& c) {
      const auto ratio = [](std::int64_t part, std::int64_t whole, double empty) {
        return whole == 0 ? empty : static_cast<double>(part) / static_cast<double>(whole);
      };
      iou_[k] += ratio(c.tp, c.tp + c.fp + c.fn, 1.0);  // nothing salient and nothing predicted is right
      precision_[k] += ratio(c.tp, c.tp + c.fp, 0.0);
      recall_[k] += ratio(c.tp, c.tp + c.fn, 0.0);
    });
    dataset.each(num_salient, [&](std::size_t k, const Counts& c) { dataset_[k].add(c); });
    if (invpt_) twice.each(num_salient, [&](std::size_t k, const Counts& c) { twice_[k].add(c); });
  }

 public:
  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const SaliencyMetric&>(other);
    frames_ += o.frames_;
    for (std::size_t k = 0; k < iou_.size(); ++k) {
      iou_[k] += o.iou_[k];
      precision_[k] += o.precision_[k];
      recall_[k] += o.recall_[k];
    }
    for (std::size_t k = 0; k < dataset_.size(); ++k) {
      dataset_[k].add(o.dataset_[k]);
      twice_[k].add(o.twice_[k]);
    }
  }

  std::vector<MetricValue> compute() const override {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    std::vector<MetricValue> values{{"mIoU", kNan}, {"maxF", kNan}, {"maxF_beta0.3", kNan}};
    if (invpt_) values.push_back({"maxF_invpt", kNan});
    if (frames_ == 0) return values;
    const auto frames = static_cast<double>(frames_);
    double best_f = 0;
    for (std::size_t k = 0; k < iou_.size(); ++k) {
      best_f = std::max(best_f, f_measure(precision_[k] / frames, recall_[k] / frames, 1.0));
    }
    values[0].value = *std::max_element(iou_.begin(), iou_.end()) / frames;
    values[1].value = best_f;
    values[2].value = dataset_f(dataset_);
    if (invpt_) values[3].value = dataset_f(twice_);
    return values;
  }

 private:
  static double f_measure(double precision, double recall, double beta2) {
    const double below = beta2 * precision + recall;
    return below > 0 ? (1 + beta2) * precision * recall / below : 0;
  }

  static double dataset_f(const std::array<Counts, kDatasetThresholds>& counts) {
    double best = 0;
    for (const Counts& c : counts) {
      if (c.tp == 0) continue;
      const auto tp = static_cast<double>(c.tp);
      best =
          std::max(best, f_measure(tp / static_cast<double>(c.tp + c.fp), tp / static_cast<double>(c.tp + c.fn), 0.3));
    }
    return best;
  }

  bool eight_bit_;
  bool invpt_;  ///< adds InvPT's meter: a sigmoid on top of the probability
  std::int64_t frames_ = 0;
  std::array<double, kSurveyThresholds> iou_{}, precision_{}, recall_{};  // sums over frames
  std::array<Counts, kDatasetThresholds> dataset_{}, twice_{};
};

}  // namespace

std::unique_ptr<Metric> make_saliency_metric(const EvalConfig& config) {
  return std::make_unique<SaliencyMetric>(config.eight_bit != EightBit::kNone, config.sal_invpt);
}

}  // namespace m3vit
