/// Boundary benchmark: odsF, oisF and AP (docs/metrics.md).
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/error.h"
#include "data/sample.h"
#include "eval/edge/boundary_match.h"
#include "eval/edge/edge_reader.h"
#include "eval/edge/thin.h"
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
  explicit EdgeMetric(const EvalConfig& config)
      : config_(config), by_threshold_(static_cast<std::size_t>(config.edge_thresholds)) {}

  void update(std::span<const float> raw, int channels, const ImageF32& label) override {
    if (!check_frame("edge", raw, channels, 1, label, 1)) return;
    const double radius = config_.edge_max_dist * std::hypot(label.height, label.width);
    Bitmap unknown(label.height, label.width);
    std::vector<BoundaryMatcher> annotators = read_truth(label, radius, unknown);
    if (annotators.empty()) return;
    const std::vector<Counts> counts = sweep(raw, annotators, unknown);
    ++frames_;
    const Counts* best = &counts.front();
    for (std::size_t k = 0; k < counts.size(); ++k) {
      by_threshold_[k].add(counts[k]);
      if (counts[k].f() > best->f()) best = &counts[k];
    }
    best_by_image_.add(*best);
  }

  void merge(const Metric& other) override {
    const auto& o = dynamic_cast<const EdgeMetric&>(other);
    assert(o.config_.edge_max_dist == config_.edge_max_dist && o.by_threshold_.size() == by_threshold_.size() &&
           o.config_.edge_nms == config_.edge_nms);
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
  /// One matcher for each annotator that labelled anything; `unknown` = pixels that none of these labelled.
  static std::vector<BoundaryMatcher> read_truth(const ImageF32& label, double radius, Bitmap& unknown) {
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
  std::vector<Counts> sweep(std::span<const float> raw, std::vector<BoundaryMatcher>& annotators,
                            const Bitmap& unknown) const {
    const int height = unknown.height();
    const int width = unknown.width();
    const int n = config_.edge_thresholds;
    const std::vector<std::uint16_t> levels =
        config_.edge_nms ? read_edge_nms(raw, height, width, n) : read_edge_plain(raw, n);
    std::vector<std::vector<int>> at_level(static_cast<std::size_t>(n) + 1);
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (levels[i] > 0) at_level[levels[i]].push_back(static_cast<int>(i));
    }
    Counts counts;
    for (const BoundaryMatcher& a : annotators) counts.truth += a.truth_pixels();
    std::vector<Counts> by_threshold(static_cast<std::size_t>(n), counts);
    Bitmap passed(height, width);
    for (std::size_t k = static_cast<std::size_t>(n); k > 0; --k) {  // from few pixels to many
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

  EvalConfig config_;
  std::int64_t frames_ = 0;
  std::vector<Counts> by_threshold_;
  Counts best_by_image_;
};

}  // namespace

std::unique_ptr<Metric> make_edge_metric(const EvalConfig& config) {
  if (!(config.edge_max_dist >= 0 && config.edge_max_dist <= 1)) {
    throw Error({.where = "eval",
                 .field = "edge_max_dist",
                 .wanted = "0 … 1 (share of the image diagonal)",
                 .found = std::to_string(config.edge_max_dist)});
  }
  if (config.edge_thresholds < 1 || config.edge_thresholds > 9999) {
    throw Error({.where = "eval",
                 .field = "edge_thresholds",
                 .wanted = "1 … 9999",
                 .found = std::to_string(config.edge_thresholds)});
  }
  return std::make_unique<EdgeMetric>(config);
}

}  // namespace m3vit
