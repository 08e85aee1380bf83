/// Depth errors over all valid pixels of the split (docs/metrics.md).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

/// What a non-positive prediction counts as, in metres (published scripts): log error stays finite, and is huge.
constexpr double kSmallestDepth = 1e-9;

class DepthMetric final : public Metric {
 public:
  DepthMetric(bool astmt, bool by_image) : astmt_(astmt), by_image_(by_image) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (check_frame("depth", raw, channels, 1, label, 1)) add_frame(raw, label);
  }

  void score(const ImageF32& prediction, const ImageF32& label) override {
    if (check_finished("depth", prediction, 1, label)) add_frame(prediction.data, label);
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const DepthMetric&>(other);
    valid_ += o.valid_;
    squared_ += o.squared_;
    log_squared_ += o.log_squared_;
    absolute_relative_ += o.absolute_relative_;
    squared_relative_ += o.squared_relative_;
    for (std::size_t k = 0; k < 3; ++k) within_[k] += o.within_[k];
    images_ += o.images_;
    image_absolute_ += o.image_absolute_;
    image_relative_ += o.image_relative_;
    astmt_images_ += o.astmt_images_;
    astmt_rmse_ += o.astmt_rmse_;
  }

  std::vector<MetricValue> compute() const override {
    const auto mean = [this](double sum) {
      return valid_ == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(valid_);
    };
    const auto share = [&](std::size_t k) { return mean(static_cast<double>(within_[k])); };
    std::vector<MetricValue> values{{"rmse", std::sqrt(mean(squared_))},
                                    {"log_rmse", std::sqrt(mean(log_squared_))},
                                    {"abs_rel", mean(absolute_relative_)},
                                    {"sq_rel", mean(squared_relative_)},
                                    {"delta1", share(0)},
                                    {"delta2", share(1)},
                                    {"delta3", share(2)}};
    const auto by_image = [](double sum, std::int64_t n) {
      return n == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n);
    };
    if (by_image_) {
      values.push_back({"abs_err", by_image(image_absolute_, images_)});
      values.push_back({"rel_err", by_image(image_relative_, images_)});
    }
    if (astmt_) values.push_back({"rmse_astmt", by_image(astmt_rmse_, astmt_images_)});
    return values;
  }

 private:
  void add_frame(std::span<const float> prediction, const ImageF32& label) {
    DepthMetric frame(astmt_, by_image_);  // summed by itself first, so that merging single frames gives the same bits
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    double absolute = 0;
    double all_squared = 0;
    for (std::size_t i = 0; i < prediction.size(); ++i) {
      const double truth = label.data[i * stride];
      const double predicted = prediction[i] <= 0 ? kSmallestDepth : static_cast<double>(prediction[i]);
      const bool known = truth > 0 && std::isfinite(truth);
      const double astmt = predicted - (known ? truth : kSmallestDepth);
      all_squared += astmt * astmt;
      if (!known) continue;
      const double difference = predicted - truth;
      const double log_difference = std::log(predicted) - std::log(truth);
      const double ratio = std::max(predicted / truth, truth / predicted);
      ++frame.valid_;
      frame.squared_ += difference * difference;
      frame.log_squared_ += log_difference * log_difference;
      frame.absolute_relative_ += std::abs(difference) / truth;
      frame.squared_relative_ += difference * difference / truth;
      absolute += std::abs(difference);
      frame.within_[0] += ratio < 1.25;
      frame.within_[1] += ratio < 1.25 * 1.25;
      frame.within_[2] += ratio < 1.25 * 1.25 * 1.25;
    }
    if (frame.valid_ > 0) {
      const auto valid = static_cast<double>(frame.valid_);
      frame.images_ = 1;
      frame.image_absolute_ = absolute / valid;
      frame.image_relative_ = frame.absolute_relative_ / valid;
    }
    frame.astmt_images_ = 1;
    frame.astmt_rmse_ = std::sqrt(all_squared / static_cast<double>(prediction.size()));
    merge(frame);
  }

  bool astmt_;     ///< adds ASTMT's rmse: its mask is built after 0 became 1e-9, so every pixel counts
  bool by_image_;  ///< adds MTAN's absolute and relative error: means over images of each image's mean
  std::int64_t valid_ = 0;
  double squared_ = 0, log_squared_ = 0, absolute_relative_ = 0, squared_relative_ = 0;
  std::int64_t within_[3] = {0, 0, 0};
  std::int64_t images_ = 0, astmt_images_ = 0;
  double image_absolute_ = 0, image_relative_ = 0, astmt_rmse_ = 0;
};

}  // namespace

std::unique_ptr<Metric> make_depth_metric(const EvalConfig& config, Protocol protocol) {
  return std::make_unique<DepthMetric>(config.depth_astmt, protocol == Protocol::kMtan);
}

}  // namespace m3vit
