/// Saliency: mIoU and maxF of the survey's protocol, and the data-set-level F with β² = 0.3 (docs/metrics.md).
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "data/sample.h"
#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

constexpr std::size_t kLevels = 256;
constexpr int kSurveyThresholds = 15;   // 0.20, 0.25 … 0.90
constexpr int kDatasetThresholds = 19;  // 0.05, 0.10 … 0.95

/// First 8-bit level v with v/255 > t, for t = (4 + k)/20, in whole numbers so that ties are exact.
constexpr std::size_t survey_level(int k) { return static_cast<std::size_t>(255 * (4 + k) / 20 + 1); }
static_assert(survey_level(0) == 52 && survey_level(14) == 230);

struct Counts {
  std::int64_t tp = 0, fp = 0, fn = 0;
};

class SaliencyMetric final : public Metric {
 public:
  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("sal", raw, channels, 1, label, 1)) return;
    // How many salient and other pixels have each level; "at or above" is then a running sum from the top.
    std::array<std::int64_t, kLevels> salient{};
    std::array<std::int64_t, kLevels> other{};
    std::array<std::int64_t, kDatasetThresholds + 1> salient_passed{};  // by number of thresholds ≤ p
    std::array<std::int64_t, kDatasetThresholds + 1> other_passed{};
    std::int64_t num_salient = 0;
    std::int64_t valid = 0;
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      const float truth = label.data[i * stride];
      if (truth == kIgnore) continue;
      ++valid;
      const double p = sigmoid(raw[i]);
      const std::size_t level = p > 0 ? static_cast<std::size_t>(p * 255.0) : 0;
      const std::size_t passed = p > 0 ? static_cast<std::size_t>(std::min(p * 20.0, double{kDatasetThresholds})) : 0;
      if (truth > 0.5F) {
        ++num_salient;
        ++salient[level];
        ++salient_passed[passed];
      } else {
        ++other[level];
        ++other_passed[passed];
      }
    }
    if (valid == 0) return;
    ++frames_;
    std::array<Counts, kLevels> at_level;
    Counts c{.tp = 0, .fp = 0, .fn = num_salient};
    for (std::size_t v = kLevels; v-- > 0;) {
      c.tp += salient[v];
      c.fp += other[v];
      c.fn -= salient[v];
      at_level[v] = c;
    }
    for (int k = 0; k < kSurveyThresholds; ++k) {
      const auto [tp, fp, fn] = at_level[survey_level(k)];
      const auto ratio = [](std::int64_t part, std::int64_t whole, double empty) {
        return whole == 0 ? empty : static_cast<double>(part) / static_cast<double>(whole);
      };
      const auto at = static_cast<std::size_t>(k);
      iou_[at] += ratio(tp, tp + fp + fn, 1.0);  // nothing salient and nothing predicted is right
      precision_[at] += ratio(tp, tp + fp, 0.0);
      recall_[at] += ratio(tp, tp + fn, 0.0);
    }
    Counts d{.tp = 0, .fp = 0, .fn = num_salient};
    for (std::size_t k = kDatasetThresholds; k > 0; --k) {
      d.tp += salient_passed[k];
      d.fp += other_passed[k];
      d.fn -= salient_passed[k];
      dataset_[k - 1].tp += d.tp;
      dataset_[k - 1].fp += d.fp;
      dataset_[k - 1].fn += d.fn;
    }
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const SaliencyMetric&>(other);
    frames_ += o.frames_;
    for (std::size_t k = 0; k < iou_.size(); ++k) {
      iou_[k] += o.iou_[k];
      precision_[k] += o.precision_[k];
      recall_[k] += o.recall_[k];
    }
    for (std::size_t k = 0; k < dataset_.size(); ++k) {
      dataset_[k].tp += o.dataset_[k].tp;
      dataset_[k].fp += o.dataset_[k].fp;
      dataset_[k].fn += o.dataset_[k].fn;
    }
  }

  std::vector<MetricValue> compute() const override {
    if (frames_ == 0) {
      constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
      return {{"mIoU", kNan}, {"maxF", kNan}, {"maxF_beta0.3", kNan}};
    }
    const auto frames = static_cast<double>(frames_);
    double best_f = 0;
    for (std::size_t k = 0; k < iou_.size(); ++k) {
      best_f = std::max(best_f, f_measure(precision_[k] / frames, recall_[k] / frames, 1.0));
    }
    double best_dataset_f = 0;
    for (const Counts& c : dataset_) {
      const auto tp = static_cast<double>(c.tp);
      if (c.tp == 0) continue;
      const double precision = tp / static_cast<double>(c.tp + c.fp);
      const double recall = tp / static_cast<double>(c.tp + c.fn);
      best_dataset_f = std::max(best_dataset_f, f_measure(precision, recall, 0.3));
    }
    return {{"mIoU", *std::max_element(iou_.begin(), iou_.end()) / frames},
            {"maxF", best_f},
            {"maxF_beta0.3", best_dataset_f}};
  }

 private:
  static double f_measure(double precision, double recall, double beta2) {
    const double below = beta2 * precision + recall;
    return below > 0 ? (1 + beta2) * precision * recall / below : 0;
  }

  std::int64_t frames_ = 0;
  std::array<double, kSurveyThresholds> iou_{}, precision_{}, recall_{};  // sums over frames
  std::array<Counts, kDatasetThresholds> dataset_{};
};

}  // namespace

std::unique_ptr<Metric> make_saliency_metric() { return std::make_unique<SaliencyMetric>(); }

}  // namespace m3vit
