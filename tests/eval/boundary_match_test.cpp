#include "eval/edge/boundary_match.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "eval_testing.h"

namespace m3vit {
namespace {

struct Point {
  int y, x;
};

std::vector<Point> points_of(const Grid& g) {
  std::vector<Point> points;
  for (int y = 0; y < static_cast<int>(g.size()); ++y) {
    for (int x = 0; x < static_cast<int>(g.front().size()); ++x) {
      if (at(g, y, x) != 0) points.push_back({y, x});
    }
  }
  return points;
}

double distance(Point a, Point b) { return std::hypot(a.y - b.y, a.x - b.x); }

}  // namespace

int naive_match(const Grid& truth, const Grid& prediction, double max_distance) {
  const std::vector<Point> left = points_of(truth);
  const std::vector<Point> right = points_of(prediction);
  std::vector<int> mate(right.size(), -1);
  int matched = 0;
  for (std::size_t root = 0; root < left.size(); ++root) {
    std::vector<char> seen(right.size());
    const std::function<bool(std::size_t)> grow = [&](std::size_t l) {
      for (std::size_t r = 0; r < right.size(); ++r) {
        if (seen[r] != 0 || distance(left[l], right[r]) > max_distance) continue;
        seen[r] = 1;
        if (mate[r] < 0 || grow(static_cast<std::size_t>(mate[r]))) {
          mate[r] = static_cast<int>(l);
          return true;
        }
      }
      return false;
    };
    matched += grow(root) ? 1 : 0;
  }
  return matched;
}

namespace {

/// Cost of the cheapest assignment of an n×n matrix and its columns by row (Hungarian algorithm with potentials).
std::vector<int> cheapest_assignment(const std::vector<std::vector<double>>& cost) {
  const std::size_t n = cost.size();
  std::vector<double> u(n + 1), v(n + 1);
  std::vector<std::size_t> row_of(n + 1), way(n + 1);
  for (std::size_t i = 1; i <= n; ++i) {
    row_of[0] = i;
    std::size_t j0 = 0;
    std::vector<double> least(n + 1, std::numeric_limits<double>::infinity());
    std::vector<char> used(n + 1);
    do {
      used[j0] = 1;
      const std::size_t i0 = row_of[j0];
      double delta = std::numeric_limits<double>::infinity();
      std::size_t j1 = 0;
      for (std::size_t j = 1; j <= n; ++j) {
        if (used[j] != 0) continue;
        const double reduced = cost[i0 - 1][j - 1] - u[i0] - v[j];
        if (reduced < least[j]) least[j] = reduced, way[j] = j0;
        if (least[j] < delta) delta = least[j], j1 = j;
      }
      for (std::size_t j = 0; j <= n; ++j) {
        if (used[j] != 0) {
          u[row_of[j]] += delta, v[j] -= delta;
        } else {
          least[j] -= delta;
        }
      }
      j0 = j1;
    } while (row_of[j0] != 0);
    while (j0 != 0) row_of[j0] = row_of[way[j0]], j0 = way[j0];
  }
  std::vector<int> column(n);
  for (std::size_t j = 1; j <= n; ++j) column[row_of[j] - 1] = static_cast<int>(j) - 1;
  return column;
}

/// Matched pairs of the published assignment: real edges cost their length, every outlier 100 × the radius.
int assignment_match(const Grid& truth, const Grid& prediction, double radius) {
  const std::vector<Point> left = points_of(truth);
  const std::vector<Point> right = points_of(prediction);
  const std::size_t n = left.size() + right.size();
  if (n == 0) return 0;
  std::vector<std::vector<double>> cost(n, std::vector<double>(n, 100 * radius));
  for (std::size_t i = 0; i < left.size(); ++i) {
    for (std::size_t j = 0; j < right.size(); ++j) {
      const double d = distance(left[i], right[j]);
      cost[i][j] = d <= radius ? d : 1e9;
    }
  }
  int matched = 0;
  const std::vector<int> column = cheapest_assignment(cost);
  for (std::size_t i = 0; i < left.size(); ++i) matched += column[i] < static_cast<int>(right.size()) ? 1 : 0;
  return matched;
}

TEST(BoundaryMatcher, PairsEachPixelAtMostOnceWithinTheRadius) {
  const Grid truth{{1, 0, 0, 0, 0, 1}};
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 1.0).match(bitmap_of({{0, 1, 0, 0, 0, 0}})), 1);
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 0.9).match(bitmap_of({{0, 1, 0, 0, 0, 0}})), 0);
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 2.0).match(bitmap_of({{1, 1, 1, 0, 0, 0}})), 1);
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 5.0).match(bitmap_of({{0, 1, 1, 0, 0, 0}})), 2);
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 0.0).match(bitmap_of({{1, 0, 0, 0, 0, 0}})), 1);
}

TEST(BoundaryMatcher, RadiusIsEuclideanAndInclusive) {
  const Grid truth{{1, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
  Grid prediction(5, std::vector<int>(4));
  prediction[4][3] = 1;
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 5.0).match(bitmap_of(prediction)), 1);
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 4.999).match(bitmap_of(prediction)), 0);
}

TEST(BoundaryMatcher, RearrangesGreedyPairsAlongAlternatingPaths) {
  // truth a b c at 0 3 6, prediction at 3 6 9 with radius 3: the zero-distance pairs (b, c) block a unless all shift
  const Grid truth{{1, 0, 0, 1, 0, 0, 1, 0, 0, 0}};
  const Grid prediction{{0, 0, 0, 1, 0, 0, 1, 0, 0, 1}};
  EXPECT_EQ(BoundaryMatcher(bitmap_of(truth), 3.0).match(bitmap_of(prediction)), 3);
}

TEST(BoundaryMatcher, FindsAMaximumMatchingOnRandomImages) {
  Rng rng(11);
  for (int round = 0; round < 300; ++round) {
    const int height = 1 + static_cast<int>(rng.below(12));
    const int width = 1 + static_cast<int>(rng.below(80));
    const Grid truth = random_grid(rng, height, width, rng.uniform(0, 0.4));
    const Grid prediction = random_grid(rng, height, width, rng.uniform(0, 0.4));
    const double radius = rng.uniform(0, 7);
    ASSERT_EQ(BoundaryMatcher(bitmap_of(truth), radius).match(bitmap_of(prediction)),
              naive_match(truth, prediction, radius))
        << "round " << round;
  }
}

TEST(BoundaryMatcher, EqualsTheMinimumCostAssignmentWithOutliers) {
  Rng rng(12);
  for (int round = 0; round < 60; ++round) {
    const int height = 1 + static_cast<int>(rng.below(7));
    const int width = 1 + static_cast<int>(rng.below(9));
    const Grid truth = random_grid(rng, height, width, rng.uniform(0.05, 0.5));
    const Grid prediction = random_grid(rng, height, width, rng.uniform(0.05, 0.5));
    const double radius = rng.uniform(1, 4);
    ASSERT_EQ(BoundaryMatcher(bitmap_of(truth), radius).match(bitmap_of(prediction)),
              assignment_match(truth, prediction, radius))
        << "round " << round;
  }
}

TEST(BoundaryMatcher, CountDoesNotDependOnThePredictionsMatchedBefore) {
  Rng rng(13);
  for (int round = 0; round < 20; ++round) {
    const Bitmap truth = bitmap_of(random_grid(rng, 30, 70, 0.15));
    BoundaryMatcher sweeping(truth, 2.5);
    for (int step = 0; step < 12; ++step) {
      const Bitmap prediction = bitmap_of(random_grid(rng, 30, 70, rng.uniform(0, 0.3)));
      const std::int64_t matched = sweeping.match(prediction);
      ASSERT_EQ(matched, BoundaryMatcher(truth, 2.5).match(prediction));
      Bitmap paired = sweeping.matched();
      EXPECT_EQ(paired.count(), matched);
      paired.subtract(prediction);
      EXPECT_EQ(paired.count(), 0) << "a pixel was paired that is not predicted";
    }
  }
}

TEST(BoundaryMatcher, FromScratchDependsOnThisPredictionAlone) {
  Rng rng(14);
  const Bitmap truth = bitmap_of(random_grid(rng, 20, 40, 0.1));
  const Bitmap prediction = bitmap_of(random_grid(rng, 20, 40, 0.3));
  BoundaryMatcher used(truth, 3.0);
  used.match(bitmap_of(random_grid(rng, 20, 40, 0.2)));
  used.match(prediction, /*from_scratch=*/true);
  BoundaryMatcher fresh(truth, 3.0);
  fresh.match(prediction);
  EXPECT_EQ(used.matched(), fresh.matched());
}

TEST(BoundaryMatcher, RadiusMayExceedTheImageAndAWord) {
  Bitmap truth(3, 200);
  Bitmap prediction(3, 200);
  truth.set(0, 0);
  truth.set(2, 199);
  prediction.set(1, 150);
  prediction.set(1, 70);
  EXPECT_EQ(BoundaryMatcher(truth, 1000).match(prediction), 2);
  EXPECT_EQ(BoundaryMatcher(truth, 80).match(prediction), 2);
  EXPECT_EQ(BoundaryMatcher(truth, 60).match(prediction), 1);
}

TEST(BoundaryMatcher, EmptySidesMatchNothing) {
  EXPECT_EQ(BoundaryMatcher(Bitmap(4, 4), 2).match(bitmap_of(Grid(4, std::vector<int>(4, 1)))), 0);
  EXPECT_EQ(BoundaryMatcher(bitmap_of(Grid(4, std::vector<int>(4, 1))), 2).match(Bitmap(4, 4)), 0);
}

}  // namespace
}  // namespace m3vit
