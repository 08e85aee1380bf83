/// Boundary benchmark: odsF, oisF and AP (docs/metrics.md).
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/error.h"
#include "core/label_outline.h"
#include "core/thin.h"
#include "data/sample.h"
#include "eval/edge/boundary_match.h"
#include "eval/edge/edge_options.h"
#include "eval/edge/edge_reader.h"
#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

struct Counts {
  std::int64_t matched_truth = 0, truth = 0, matched_predicted = 0, predicted = 0;  // cntR, sumR, cntP, sumP

  void add(const Counts& o) {
    matched_truth += o.matched_truth;
    truth += o.truth;
    matched_predicted += o.matched_predicted;
    predicted += o.predicted;
  }
  static double ratio(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  }
  double recall() const { return ratio(matched_truth, truth); }
  double precision() const { return ratio(matched_predicted, predicted); }
  double f() const {
    const double sum = precision() + recall();
    return sum > 0 ? 2 * precision() * recall() / sum : 0;
  }
};

/// Precision, linear in recall between the measured points, summed at recall 0, 0.01 … 1; 0 outside them.
double average_precision(const std::vector<Counts>& by_threshold) {
  std::vector<std::pair<double, double>> curve;  // recall, precision
  curve.reserve(by_threshold.size());
  for (const Counts& c : by_threshold) curve.emplace_back(c.recall(), c.precision());
  // Of equal recalls the lowest threshold counts, as MATLAB's unique() keeps the first.
  std::stable_sort(curve.begin(), curve.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  curve.erase(std::unique(curve.begin(), curve.end(), [](const auto& a, const auto& b) { return a.first == b.first; }),
              curve.end());
  if (curve.size() < 2) return 0;
  double area = 0;
  std::size_t next = 1;
  for (int i = 0; i <= 100; ++i) {
    const double recall = i / 100.0;
    if (recall < curve.front().first || recall > curve.back().first) continue;
    while (next + 1 < curve.size() && curve[next].first < recall) ++next;
    const auto [r0, p0] = curve[next - 1];
    const auto [r1, p1] = curve[next];
    area += (p0 + (p1 - p0) * (recall - r0) / (r1 - r0)) / 100;
  }
  return area;
}

class EdgeMetric final : public Metric {
 public:
  EdgeMetric(EdgeOptions options, bool eight_bit)
      : options_(std::move(options)), eight_bit_(eight_bit), by_threshold_(options_.thresholds.size()) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("edge", raw, channels, 1, label, 1)) return;
    std::vector<float> map(raw.size());
    std::transform(raw.begin(), raw.end(), map.begin(), [&](float v) { return stored(sigmoid(v)); });
    add_frame(std::move(map), label);
  }

  void score(const ImageF32& prediction, const ImageF32& label) override {
    if (!check_finished("edge", prediction, 1, label)) return;
    std::vector<float> map(prediction.data.size());
    std::transform(prediction.data.begin(), prediction.data.end(), map.begin(),
                   [&](float v) { return stored(static_cast<double>(v)); });
    add_frame(std::move(map), label);
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const EdgeMetric&>(other);
    assert(o.options_.max_dist == options_.max_dist && o.options_.thresholds == options_.thresholds &&
           o.options_.nms == options_.nms && o.options_.outline == options_.outline);
    frames_ += o.frames_;
    best_by_image_.add(o.best_by_image_);
    for (std::size_t k = 0; k < by_threshold_.size(); ++k) by_threshold_[k].add(o.by_threshold_[k]);
  }

  std::vector<MetricValue> compute() const override {
    if (frames_ == 0) {
      constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
      return {{"odsF", kNan}, {"oisF", kNan}, {"AP", kNan}};
    }
    double best = 0;
    for (const Counts& c : by_threshold_) best = std::max(best, c.f());
    return {{"odsF", best}, {"oisF", best_by_image_.f()}, {"AP", average_precision(by_threshold_)}};
  }

 private:
  /// A probability as the reader finds it in the file, v/255; NaN is 0.
  float stored(double p) const {
    if (eight_bit_) return static_cast<float>(stored_level(p)) / 255.0F;
    return p > 0 ? static_cast<float>(p) : 0.0F;
  }

  void add_frame(std::vector<float> map, const ImageF32& label) {
    const double radius = options_.max_dist * std::hypot(label.height, label.width);
    Bitmap unknown(label.height, label.width);
    std::vector<BoundaryMatcher> annotators = read_truth(label, radius, unknown);
    if (annotators.empty()) return;
    const std::vector<Counts> counts = sweep(std::move(map), annotators, unknown);
    ++frames_;
    const Counts* best = &counts.front();
    for (std::size_t k = 0; k < counts.size(); ++k) {
      by_threshold_[k].add(counts[k]);
      if (counts[k].f() > best->f()) best = &counts[k];
    }
    best_by_image_.add(*best);
  }

  /// bdet's truth for NYUD: the edge map goes through seg2bmap as if it were a label map, so each line gives its
  /// outline.
  static Bitmap outlined(const Bitmap& lines) {
    Image<std::int32_t> as_labels(lines.height(), lines.width(), 1);
    lines.for_each([&](int y, int x) { as_labels.at(y, x) = 1; });
    return label_outline(as_labels);
  }

  /// One matcher for each annotator that labelled anything; `unknown` = pixels that none of these labelled.
  std::vector<BoundaryMatcher> read_truth(const ImageF32& label, double radius, Bitmap& unknown) const {
    std::vector<BoundaryMatcher> annotators;
    std::vector<int> labelled(static_cast<std::size_t>(label.height) * static_cast<std::size_t>(label.width));
    for (int a = 0; a < label.channels; ++a) {
      Bitmap truth(label.height, label.width);
      bool any = false;
      for (int y = 0; y < label.height; ++y) {
        for (int x = 0; x < label.width; ++x) {
          const float value = label.at(y, x, a);
          if (value == kIgnore) continue;
          any = true;
          ++labelled[static_cast<std::size_t>(y) * static_cast<std::size_t>(label.width) + static_cast<std::size_t>(x)];
          if (value > 0.5F) truth.set(y, x);
        }
      }
      if (!any) continue;
      if (options_.outline) truth = outlined(truth);
      thin(truth);
      annotators.emplace_back(truth, radius);
    }
    for (int y = 0; y < label.height; ++y) {
      for (int x = 0; x < label.width; ++x) {
        const std::size_t i =
            static_cast<std::size_t>(y) * static_cast<std::size_t>(label.width) + static_cast<std::size_t>(x);
        if (labelled[i] == 0) unknown.set(y, x);
      }
    }
    return annotators;
  }

  /// Counts of one frame at every threshold, the lowest first.
  std::vector<Counts> sweep(std::vector<float> map, std::vector<BoundaryMatcher>& annotators,
                            const Bitmap& unknown) const {
    const int height = unknown.height();
    const int width = unknown.width();
    const std::size_t n = options_.thresholds.size();
    const std::vector<std::uint16_t> levels = options_.nms
                                                  ? read_edge_nms(std::move(map), height, width, options_.thresholds)
                                                  : read_edge_plain(map, options_.thresholds);
    std::vector<std::vector<int>> at_level(n + 1);
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (levels[i] > 0) at_level[levels[i]].push_back(static_cast<int>(i));
    }
    Counts counts;
    for (const BoundaryMatcher& a : annotators) counts.truth += a.truth_pixels();
    std::vector<Counts> by_threshold(n, counts);
    Bitmap passed(height, width);
    for (std::size_t k = n; k > 0; --k) {  // from few pixels to many
      if (!at_level[k].empty()) {
        for (const int i : at_level[k]) passed.set(i / width, i % width);
        counts = score(passed, annotators, unknown);
      }
      by_threshold[k - 1] = counts;
    }
    return by_threshold;
  }

  static Counts score(const Bitmap& passed, std::vector<BoundaryMatcher>& annotators, const Bitmap& unknown) {
    Bitmap contour = passed;
    thin(contour);
    contour.subtract(unknown);
    Counts c{.predicted = contour.count()};
    if (annotators.size() == 1) {
      c.truth = annotators.front().truth_pixels();
      c.matched_truth = c.matched_predicted = annotators.front().match(contour);
      return c;
    }
    Bitmap any(contour.height(), contour.width());
    for (BoundaryMatcher& a : annotators) {
      c.truth += a.truth_pixels();
      c.matched_truth += a.match(contour, /*from_scratch=*/true);
      any.unite(a.matched());
    }
    c.matched_predicted = any.count();
    return c;
  }

  EdgeOptions options_;
  bool eight_bit_;
  std::int64_t frames_ = 0;
  std::vector<Counts> by_threshold_;
  Counts best_by_image_;
};

}  // namespace

std::unique_ptr<Metric> make_edge_metric(const EvalConfig& config) {
  return std::make_unique<EdgeMetric>(edge_options(config), config.eight_bit != EightBit::kNone);
}

}  // namespace m3vit
