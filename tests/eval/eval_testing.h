#pragma once
/// Shared by the tests of src/eval: small maps, metric values by name, and plain boolean images for naive references.
#include <cmath>
#include <string>
#include <vector>

#include "core/bitmap.h"
#include "core/rng.h"
#include "eval/metric.h"

namespace m3vit {

inline ImageF32 map_of(int height, int width, const std::vector<float>& values, int channels = 1) {
  ImageF32 map(height, width, channels);
  map.data = values;
  return map;
}

inline double value_of(const std::vector<MetricValue>& values, const std::string& name) {
  for (const MetricValue& m : values) {
    if (m.name == name) return m.value;
  }
  throw std::out_of_range("no metric " + name);
}
inline double value_of(const Metric& metric, const std::string& name) { return value_of(metric.compute(), name); }

/// Same names in the same order, values equal to within rounding (NaN equals NaN).
inline bool same_values(const std::vector<MetricValue>& a, const std::vector<MetricValue>& b, double tolerance) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].name != b[i].name) return false;
    if (std::isnan(a[i].value) != std::isnan(b[i].value)) return false;
    if (std::abs(a[i].value - b[i].value) > tolerance) return false;
  }
  return true;
}

inline float logit(double p) { return static_cast<float>(std::log(p / (1 - p))); }

using Grid = std::vector<std::vector<int>>;  // [y][x], 0 or 1

inline Bitmap bitmap_of(const Grid& grid) {
  Bitmap bits(static_cast<int>(grid.size()), static_cast<int>(grid.front().size()));
  for (int y = 0; y < bits.height(); ++y) {
    for (int x = 0; x < bits.width(); ++x) {
      if (grid[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] != 0) bits.set(y, x);
    }
  }
  return bits;
}

inline Grid grid_of(const Bitmap& bits) {
  Grid grid(static_cast<std::size_t>(bits.height()), std::vector<int>(static_cast<std::size_t>(bits.width())));
  bits.for_each([&](int y, int x) { grid[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] = 1; });
  return grid;
}

inline Grid random_grid(Rng& rng, int height, int width, double density) {
  Grid grid(static_cast<std::size_t>(height), std::vector<int>(static_cast<std::size_t>(width)));
  for (auto& row : grid) {
    for (int& v : row) v = rng.coin(density) ? 1 : 0;
  }
  return grid;
}

inline int at(const Grid& g, int y, int x) {
  if (y < 0 || x < 0 || y >= static_cast<int>(g.size()) || x >= static_cast<int>(g.front().size())) return 0;
  return g[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)];
}

/// Thinning as the published conditions read, pixel by pixel (thin_test.cpp).
Grid naive_thin(Grid image);
/// Maximum matching by plain augmenting paths over all pairs (boundary_match_test.cpp).
int naive_match(const Grid& truth, const Grid& prediction, double max_distance);

}  // namespace m3vit
