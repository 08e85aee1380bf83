/// Macro IoU from global true-positive, false-positive and false-negative counts (docs/metrics.md).
#include <algorithm>
#include <cassert>
#include <cstdint>
#include <limits>

#include "core/error.h"
#include "data/sample.h"
#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

class SegmentationMetric final : public Metric {
 public:
  SegmentationMetric(int classes, bool skip_background)
      : classes_(classes), skip_background_(skip_background), counts_(static_cast<std::size_t>(classes)) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("IoU", raw, channels, classes_, label, 1)) return;
    if (skip_background_ && is_background(label)) return;
    const std::size_t pixels = raw.size() / static_cast<std::size_t>(classes_);
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    for (std::size_t i = 0; i < pixels; ++i) {
      const float value = label.data[i * stride];
      if (value == kIgnore) continue;
      const int truth = static_cast<int>(value);
      if (!(value >= 0) || truth >= classes_) {
        throw Error({.where = "IoU",
                     .field = "label",
                     .wanted = "0 … " + std::to_string(classes_ - 1) + " or 255",
                     .found = std::to_string(value)});
      }
      std::size_t best = 0;  // the lower class wins a tie
      for (std::size_t c = 1; c < counts_.size(); ++c) {
        if (raw[c * pixels + i] > raw[best * pixels + i]) best = c;
      }
      ++valid_;
      ++counts_[best].predicted;
      ++counts_[static_cast<std::size_t>(truth)].labelled;
      if (best == static_cast<std::size_t>(truth)) ++counts_[best].both;
    }
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const SegmentationMetric&>(other);
    assert(o.classes_ == classes_ && o.skip_background_ == skip_background_);
    valid_ += o.valid_;
    for (std::size_t c = 0; c < counts_.size(); ++c) {
      counts_[c].both += o.counts_[c].both;
      counts_[c].labelled += o.counts_[c].labelled;
      counts_[c].predicted += o.counts_[c].predicted;
    }
  }

  std::vector<MetricValue> compute() const override {
    if (valid_ == 0) return {{"mIoU", kNan}, {"mIoU_present", kNan}, {"pixel_acc", kNan}};
    double sum = 0;
    int present = 0;
    std::int64_t correct = 0;
    for (const Count& c : counts_) {
      correct += c.both;
      if (c.united() == 0) continue;
      sum += static_cast<double>(c.both) / static_cast<double>(c.united());
      ++present;
    }
    return {{"mIoU", sum / classes_},
            {"mIoU_present", sum / present},
            {"pixel_acc", static_cast<double>(correct) / static_cast<double>(valid_)}};
  }

  std::vector<double> per_class() const override {
    std::vector<double> iou;
    for (const Count& c : counts_) {
      iou.push_back(c.united() == 0 ? kNan : static_cast<double>(c.both) / static_cast<double>(c.united()));
    }
    return iou;
  }

 private:
  struct Count {
    std::int64_t both = 0, labelled = 0, predicted = 0;
    std::int64_t united() const { return labelled + predicted - both; }
  };

  /// Every pixel 0. The published rule also skips frames that are 255 throughout, which count nothing anyway.
  static bool is_background(const ImageF32& label) {
    return std::ranges::all_of(label.data, [](float v) { return v == 0; });
  }

  int classes_;
  bool skip_background_;
  std::vector<Count> counts_;
  std::int64_t valid_ = 0;
};

}  // namespace

std::unique_ptr<Metric> make_segmentation_metric(int classes, bool skip_background) {
  if (classes < 1 || classes > 255) {
    throw Error({.where = "IoU", .field = "classes", .wanted = "1 … 255", .found = std::to_string(classes)});
  }
  return std::make_unique<SegmentationMetric>(classes, skip_background);
}

}  // namespace m3vit
