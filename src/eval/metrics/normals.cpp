/// Angle between predicted and true surface normal, over all valid pixels of the split (docs/metrics.md).
#include <algorithm>
#include <array>
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
  NormalsMetric(bool eight_bit, Protocol protocol) : eight_bit_(eight_bit), protocol_(protocol) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("normals", raw, channels, 3, label, 3)) return;
    const std::size_t pixels = raw.size() / 3;
    add_frame(label, [&](std::size_t i) {
      const Vector v{raw[i], raw[pixels + i], raw[2 * pixels + i]};
      if (!eight_bit_) return v;
      const double norm = std::max(v.norm(), 1e-12);
      return through_bytes({v.x / norm, v.y / norm, v.z / norm});
    });
  }

  void score(const ImageF32& prediction, const ImageF32& label) override {
    if (!check_finished("normals", prediction, 3, label)) return;
    add_frame(label, [&](std::size_t i) {
      const float* p = &prediction.data[3 * i];
      const Vector v{p[0], p[1], p[2]};
      return eight_bit_ ? through_bytes(v) : v;
    });
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const NormalsMetric&>(other);
    valid_ += o.valid_;
    not_a_number_ += o.not_a_number_;
    sum_ += o.sum_;
    squared_ += o.squared_;
    for (std::size_t k = 0; k < 3; ++k) within_[k] += o.within_[k];
    for (std::size_t k = 0; k < kBins; ++k) histogram_[k] += o.histogram_[k];
    images_ += o.images_;
    for (std::size_t k = 0; k < image_.size(); ++k) image_[k] += o.image_[k];
  }

  std::vector<MetricValue> compute() const override {
    const auto mean = [this](double sum) {
      return valid_ == 0 || not_a_number_ > 0 ? kNan : sum / static_cast<double>(valid_);
    };
    const auto share = [&](std::size_t k) { return mean(static_cast<double>(within_[k])); };
    if (protocol_ == Protocol::kMtan) {
      const auto by_image = [this](std::size_t k) {
        return images_ == 0 || not_a_number_ > 0 ? kNan : image_[k] / static_cast<double>(images_);
      };
      return {{"mean", by_image(0)},         {"median", by_image(1)},      {"rmse", std::sqrt(mean(squared_))},
              {"within_11.25", by_image(2)}, {"within_22.5", by_image(3)}, {"within_30", by_image(4)}};
    }
    return {{"mean", mean(sum_)},
            {"median", valid_ == 0 || not_a_number_ > 0 ? kNan : median()},
            {"rmse", std::sqrt(mean(squared_))},
            {"within_11.25", share(0)},
            {"within_22.5", share(1)},
            {"within_30", share(2)}};
  }

 private:
  /// The survey's files: v = trunc((n + 1)·255/2), read back as 2v/255 − 1.
  static Vector through_bytes(const Vector& n) {
    const auto stored = [](double c) { return 2 * std::floor(std::clamp((c + 1) * 127.5, 0.0, 255.0)) / 255 - 1; };
    return {stored(n.x), stored(n.y), stored(n.z)};
  }

  /// Degrees. Protocol A's formula has no rounding trouble near 0 and 180; the others' is the published one.
  double angle(const Vector& truth, const Vector& predicted) const {
    const double t = truth.norm();
    const double p = std::max(predicted.norm(), 1e-12);
    if (protocol_ == Protocol::kAtrc) {
      const Vector difference{predicted.x / p - truth.x / t, predicted.y / p - truth.y / t,
                              predicted.z / p - truth.z / t};
      const Vector sum{predicted.x / p + truth.x / t, predicted.y / p + truth.y / t, predicted.z / p + truth.z / t};
      return 2 * std::atan2(difference.norm(), sum.norm()) * (180.0 / std::numbers::pi);
    }
    // A zero vector points nowhere: 90°, as in the published scripts.
    const double dot = truth.x * predicted.x + truth.y * predicted.y + truth.z * predicted.z;
    return std::acos(std::clamp(dot / (p * t), -1.0, 1.0)) * (180.0 / std::numbers::pi);
  }

  template <class Predicted>
  void add_frame(const ImageF32& label, const Predicted& predicted) {
    const std::size_t stride = static_cast<std::size_t>(label.channels);
    const std::size_t pixels = label.data.size() / stride;
    double sum = 0;
    double squared = 0;
    std::array<double, 3> within{};
    std::vector<float> angles;
    for (std::size_t i = 0; i < pixels; ++i) {
      const float* t = &label.data[i * stride];
      const Vector truth{t[0], t[1], t[2]};
      if (!(truth.norm() > 0)) continue;
      const Vector p = predicted(i);
      if (std::isnan(p.norm())) {
        ++not_a_number_;
        continue;
      }
      const double degrees = angle(truth, p);
      ++valid_;
      sum += degrees;
      squared += degrees * degrees;
      for (std::size_t k = 0; k < 3; ++k) within[k] += degrees < kWithin[k] ? 1 : 0;
      ++histogram_[std::min(static_cast<std::size_t>(degrees * kBinsPerDegree), kBins - 1)];
      if (protocol_ == Protocol::kMtan) angles.push_back(static_cast<float>(degrees));
    }
    sum_ += sum;  // by frame, so that merging single frames in order gives the same bits
    squared_ += squared;
    for (std::size_t k = 0; k < 3; ++k) within_[k] += static_cast<std::int64_t>(within[k]);
    if (angles.empty()) return;
    const auto n = static_cast<double>(angles.size());
    ++images_;
    image_[0] += sum / n;
    image_[1] += exact_median(angles);
    for (std::size_t k = 0; k < 3; ++k) image_[k + 2] += within[k] / n;
  }

  static double exact_median(std::vector<float>& angles) {
    const auto middle = angles.begin() + static_cast<std::ptrdiff_t>(angles.size() / 2);
    std::nth_element(angles.begin(), middle, angles.end());
    if (angles.size() % 2 == 1) return static_cast<double>(*middle);
    return (static_cast<double>(*middle) + static_cast<double>(*std::max_element(angles.begin(), middle))) / 2;
  }

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

  bool eight_bit_;
  Protocol protocol_;
  std::int64_t valid_ = 0, not_a_number_ = 0;
  double sum_ = 0, squared_ = 0;
  std::int64_t within_[3] = {0, 0, 0};
  std::vector<std::int64_t> histogram_ = std::vector<std::int64_t>(kBins);
  std::int64_t images_ = 0;
  std::array<double, 5> image_{};  ///< MTAN: sums over images of mean, median and the three shares
};

}  // namespace

std::unique_ptr<Metric> make_normals_metric(const EvalConfig& config, Protocol protocol) {
  return std::make_unique<NormalsMetric>(config.eight_bit == EightBit::kAll, protocol);
}

}  // namespace m3vit
