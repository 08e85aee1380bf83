/// Angle between predicted and true surface normal, over all valid pixels of the split (docs/metrics.md).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Angles for the median are counted in bins of 0.01°; the error of the median is at most half a bin.
constexpr int kBinsPerDegree = 100;
constexpr std::size_t kBins = 180 * kBinsPerDegree + 1;
constexpr double kWithin[3] = {11.25, 22.5, 30.0};

struct Vector {
  double x, y, z;
  double norm() const { return std::sqrt(x * x + y * y + z * z); }
};

class NormalsMetric final : public Metric {
 public:
  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("normals", raw, channels, 3, label, 3)) return;
    const std::size_t pixels = raw.size() / 3;
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    double sum = 0;
    double squared = 0;
    for (std::size_t i = 0; i < pixels; ++i) {
      const float* t = &label.data[i * stride];
      const Vector truth{t[0], t[1], t[2]};
      const double truth_norm = truth.norm();
      if (!(truth_norm > 0)) continue;
      const Vector predicted{raw[i], raw[pixels + i], raw[2 * pixels + i]};
      const double dot = truth.x * predicted.x + truth.y * predicted.y + truth.z * predicted.z;
      // A zero vector points nowhere: 90°, as in the published scripts.
      const double cosine = dot / (std::max(predicted.norm(), 1e-12) * truth_norm);
      if (std::isnan(cosine)) {
        ++not_a_number_;
        continue;
      }
      const double degrees = std::acos(std::clamp(cosine, -1.0, 1.0)) * (180.0 / std::numbers::pi);
      ++valid_;
      sum += degrees;
      squared += degrees * degrees;
      for (std::size_t k = 0; k < 3; ++k) within_[k] += degrees < kWithin[k];
      ++histogram_[static_cast<std::size_t>(degrees * kBinsPerDegree)];
    }
    sum_ += sum;  // by frame, so that merging single frames in order gives the same bits
    squared_ += squared;
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const NormalsMetric&>(other);
    valid_ += o.valid_;
    not_a_number_ += o.not_a_number_;
    sum_ += o.sum_;
    squared_ += o.squared_;
    for (std::size_t k = 0; k < 3; ++k) within_[k] += o.within_[k];
    for (std::size_t k = 0; k < kBins; ++k) histogram_[k] += o.histogram_[k];
  }

  std::vector<MetricValue> compute() const override {
    const auto mean = [this](double sum) {
      return valid_ == 0 || not_a_number_ > 0 ? kNan : sum / static_cast<double>(valid_);
    };
    const auto share = [&](std::size_t k) { return mean(static_cast<double>(within_[k])); };
    return {{"mean", mean(sum_)},
            {"median", valid_ == 0 || not_a_number_ > 0 ? kNan : median()},
            {"rmse", std::sqrt(mean(squared_))},
            {"within_11.25", share(0)},
            {"within_22.5", share(1)},
            {"within_30", share(2)}};
  }

 private:
  /// Centre of the bin that holds the k-th smallest angle (k from 0).
  double order_statistic(std::int64_t k) const {
    std::int64_t seen = 0;
    for (std::size_t b = 0; b < kBins; ++b) {
      seen += histogram_[b];
      if (seen > k) return std::min((static_cast<double>(b) + 0.5) / kBinsPerDegree, 180.0);
    }
    return kNan;
  }
  double median() const { return (order_statistic((valid_ - 1) / 2) + order_statistic(valid_ / 2)) / 2; }

  std::int64_t valid_ = 0, not_a_number_ = 0;
  double sum_ = 0, squared_ = 0;
  std::int64_t within_[3] = {0, 0, 0};
  std::vector<std::int64_t> histogram_ = std::vector<std::int64_t>(kBins);
};

}  // namespace

std::unique_ptr<Metric> make_normals_metric() { return std::make_unique<NormalsMetric>(); }

}  // namespace m3vit
