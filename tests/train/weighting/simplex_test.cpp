#include "train/weighting/simplex.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"

namespace m3vit {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

MatrixXd random_gradients(Rng& rng, Index dim, Index tasks) {
  MatrixXd g(dim, tasks);
  for (double& v : g.reshaped()) v = rng.normal();
  return g;
}

/// Visits the simplex on a grid of 1/steps.
template <class Visit>
void on_grid(Index n, int steps, const Visit& visit) {
  VectorXd w = VectorXd::Zero(n);
  const auto fill = [&](const auto& self, Index i, int left) -> void {
    if (i == n - 1) {
      w[i] = static_cast<double>(left) / steps;
      visit(w);
      return;
    }
    for (int k = 0; k <= left; ++k) {
      w[i] = static_cast<double>(k) / steps;
      self(self, i + 1, left - k);
    }
  };
  fill(fill, 0, steps);
}

TEST(Simplex, MinNormPointOfTwoGradientsIsTheClosedForm) {  // Sener, Koltun 2018, eq. 4
  Rng rng{1};
  for (int i = 0; i < 200; ++i) {
    const MatrixXd g = random_gradients(rng, 3, 2);
    const VectorXd a = g.col(0), b = g.col(1);
    const double gamma = std::clamp((b - a).dot(b) / (a - b).squaredNorm(), 0.0, 1.0);
    EXPECT_NEAR(min_norm_point(g.transpose() * g)[0], gamma, 1e-9);
  }
}

TEST(Simplex, MinNormPointIsOptimalForUpToSixGradientsAlsoWhenTheyDependOnOneAnother) {
  Rng rng{2};
  for (int i = 0; i < 300; ++i) {
    const Index tasks = 1 + static_cast<Index>(rng.below(6)), dim = 1 + static_cast<Index>(rng.below(6));
    const MatrixXd g = random_gradients(rng, dim, tasks);
    const MatrixXd gram = g.transpose() * g;
    const VectorXd w = min_norm_point(gram);
    EXPECT_NEAR(w.sum(), 1, 1e-9);
    EXPECT_GE(w.minCoeff(), 0);
    // Optimality over the simplex: no task's gradient is shorter along the combination than the combination itself.
    EXPECT_GE((gram * w).minCoeff(), w.dot(gram * w) - 1e-7 * gram.trace()) << "case " << i;
  }
}

TEST(Simplex, OpposedGradientsCancel) {
  MatrixXd gram(2, 2);
  gram << 4, -2, -2, 1;  // g2 = −g1/2
  const VectorXd w = min_norm_point(gram);
  EXPECT_NEAR(w[0], 1.0 / 3, 1e-9);
  EXPECT_NEAR(w.dot(gram * w), 0, 1e-12);
}

TEST(Simplex, ProjectionIsTheNearestPoint) {
  Rng rng{3};
  for (int i = 0; i < 100; ++i) {
    const VectorXd x = 2 * random_gradients(rng, 3, 1);
    const VectorXd p = project_to_simplex(x);
    EXPECT_NEAR(p.sum(), 1, 1e-12);
    EXPECT_GE(p.minCoeff(), 0);
    on_grid(3, 40, [&](const VectorXd& w) { EXPECT_GE((w - x).norm(), (p - x).norm() - 1e-12); });
  }
}

TEST(Simplex, MinimizerIsNoWorseThanAnyGridPoint) {
  Rng rng{4};
  for (int i = 0; i < 30; ++i) {
    const MatrixXd g = random_gradients(rng, 4, 3);
    const MatrixXd q = g.transpose() * g;
    const VectorXd target = random_gradients(rng, 3, 1);
    const auto f = [&](const VectorXd& w, VectorXd& gradient) {
      gradient = 2 * q * (w - target);
      return (w - target).dot(q * (w - target));
    };
    VectorXd unused(3);
    const double least = f(minimize_on_simplex(f, VectorXd::Constant(3, 1.0 / 3)), unused);
    on_grid(3, 60, [&](const VectorXd& w) { EXPECT_LE(least, f(w, unused) + 1e-9); });
  }
}

}  // namespace
}  // namespace m3vit
