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
  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("depth", raw, channels, 1, label, 1)) return;
    DepthMetric frame;  // summed on its own first, so that merging single frames in order gives the same bits
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      const double truth = label.data[i * stride];
      if (!(truth > 0) || !std::isfinite(truth)) continue;
      const double predicted = raw[i] <= 0 ? kSmallestDepth : static_cast<double>(raw[i]);
      const double difference = predicted - truth;
      const double log_difference = std::log(predicted) - std::log(truth);
      const double ratio = std::max(predicted / truth, truth / predicted);
      ++frame.valid_;
      frame.squared_ += difference * difference;
      frame.log_squared_ += log_difference * log_difference;
      frame.absolute_relative_ += std::abs(difference) / truth;
      frame.squared_relative_ += difference * difference / truth;
      frame.within_[0] += ratio < 1.25;
      frame.within_[1] += ratio < 1.25 * 1.25;
      frame.within_[2] += ratio < 1.25 * 1.25 * 1.25;
    }
    merge(frame);
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const DepthMetric&>(other);
    valid_ += o.valid_;
    squared_ += o.squared_;
    log_squared_ += o.log_squared_;
    absolute_relative_ += o.absolute_relative_;
    squared_relative_ += o.squared_relative_;
    for (std::size_t k = 0; k < 3; ++k) within_[k] += o.within_[k];
  }

  std::vector<MetricValue> compute() const override {
    const auto mean = [this](double sum) {
      return valid_ == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(valid_);
    };
    const auto share = [&](std::size_t k) { return mean(static_cast<double>(within_[k])); };
    return {{"rmse", std::sqrt(mean(squared_))},
            {"log_rmse", std::sqrt(mean(log_squared_))},
            {"abs_rel", mean(absolute_relative_)},
            {"sq_rel", mean(squared_relative_)},
            {"delta1", share(0)},
            {"delta2", share(1)},
            {"delta3", share(2)}};
  }

 private:
  std::int64_t valid_ = 0;
  double squared_ = 0, log_squared_ = 0, absolute_relative_ = 0, squared_relative_ = 0;
  std::int64_t within_[3] = {0, 0, 0};
};

}  // namespace

std::unique_ptr<Metric> make_depth_metric() { return std::make_unique<DepthMetric>(); }

}  // namespace m3vit
