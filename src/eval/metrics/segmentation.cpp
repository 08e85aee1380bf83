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
  SegmentationMetric(int classes, bool skip_background, bool by_image)
      : classes_(classes),
        skip_background_(skip_background),
        by_image_(by_image),
        counts_(static_cast<std::size_t>(classes)) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("IoU", raw, channels, classes_, label, 1)) return;
    const std::size_t pixels = raw.size() / static_cast<std::size_t>(classes_);
    add_frame(label, [&](std::size_t i) { return best_class(raw, counts_.size(), pixels, i); });
  }

  void score(const ImageF32& prediction, const ImageF32& label) override {
    if (!check_finished("IoU", prediction, 1, label)) return;
    add_frame(label, [&](std::size_t i) {
      const float value = prediction.data[i];
      if (!(value >= 0) || value >= static_cast<float>(classes_)) {
        throw Error({.where = "IoU",
                     .field = "prediction",
                     .wanted = "0 … " + std::to_string(classes_ - 1),
                     .found = std::to_string(value)});
      }
      return static_cast<std::size_t>(value);
    });
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
    images_ += o.images_;
    image_iou_ += o.image_iou_;
    image_accuracy_ += o.image_accuracy_;
  }

  std::vector<MetricValue> compute() const override {
    if (valid_ == 0) {
      if (by_image_) return {{"mIoU", kNan}, {"pixel_acc", kNan}, {"mIoU_pooled", kNan}};
      return {{"mIoU", kNan}, {"mIoU_present", kNan}, {"pixel_acc", kNan}};
    }
    double sum = 0;
    int present = 0;
    std::int64_t correct = 0;
    for (const Count& c : counts_) {
      correct += c.both;
      if (c.united() == 0) continue;
      sum += static_cast<double>(c.both) / static_cast<double>(c.united());
      ++present;
    }
    if (by_image_) {
      const auto images = static_cast<double>(images_);
      return {{"mIoU", image_iou_ / images}, {"pixel_acc", image_accuracy_ / images}, {"mIoU_pooled", sum / classes_}};
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

  /// `predicted(i)`: the class at pixel i.
  template <class Predicted>
  void add_frame(const ImageF32& label, const Predicted& predicted) {
    if (skip_background_ && is_background(label)) return;
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    const std::size_t pixels = label.data.size() / stride;
    std::vector<Count> frame(counts_.size());
    std::int64_t valid = 0;
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
      const std::size_t best = predicted(i);
      ++valid;
      ++frame[best].predicted;
      ++frame[static_cast<std::size_t>(truth)].labelled;
      if (best == static_cast<std::size_t>(truth)) ++frame[best].both;
    }
    if (valid == 0) return;
    valid_ += valid;
    double iou = 0;
    std::int64_t correct = 0;
    int present = 0;
    for (std::size_t c = 0; c < frame.size(); ++c) {
      counts_[c].both += frame[c].both;
      counts_[c].labelled += frame[c].labelled;
      counts_[c].predicted += frame[c].predicted;
      correct += frame[c].both;
      if (frame[c].united() == 0) continue;
      iou += static_cast<double>(frame[c].both) / static_cast<double>(frame[c].united());
      ++present;
    }
    ++images_;
    image_iou_ += iou / present;
    image_accuracy_ += static_cast<double>(correct) / static_cast<double>(valid);
  }

  /// Every pixel 0. The published rule also skips frames that are 255 throughout, which count nothing anyway.
  static bool is_background(const ImageF32& label) {
    return std::ranges::all_of(label.data, [](float v) { return v == 0; });
  }

  int classes_;
  bool skip_background_;
  bool by_image_;  ///< MTAN: each image's mean over the classes in it, then the mean over images
  std::vector<Count> counts_;
  std::int64_t valid_ = 0, images_ = 0;
  double image_iou_ = 0, image_accuracy_ = 0;
};

}  // namespace

std::unique_ptr<Metric> make_segmentation_metric(int classes, bool skip_background, Protocol protocol) {
  if (classes < 1 || classes > 255) {
    throw Error({.where = "IoU", .field = "classes", .wanted = "1 … 255", .found = std::to_string(classes)});
  }
  return std::make_unique<SegmentationMetric>(classes, skip_background, protocol == Protocol::kMtan);
}

}  // namespace m3vit
