#include "train/weighting/simplex.h"

#include <Eigen/QR>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

namespace m3vit {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

VectorXd min_norm_point(const MatrixXd& gram) {
  const Index n = gram.rows();
  assert(n >= 1 && n <= 16 && gram.cols() == n);
  VectorXd best = VectorXd::Zero(n);
  double least = std::numeric_limits<double>::infinity();
  const double scale = gram.trace() > 0 ? gram.trace() : 1.0;
  for (unsigned support = 1; support < (1U << static_cast<unsigned>(n)); ++support) {
    std::vector<Index> in;
    for (Index i = 0; i < n; ++i) {
      if ((support >> static_cast<unsigned>(i) & 1U) != 0) in.push_back(i);
    }
    // Stationary in the support's plane: G_SS·a + μ·1 = 0, Σ a = 1. Where gradients depend on one another the solution
    // is not unique, but some smaller support with a unique one has the same length (Carathéodory).
    const auto k = static_cast<Index>(in.size());
    MatrixXd system = MatrixXd::Ones(k + 1, k + 1);
    system.topLeftCorner(k, k) = gram(in, in) / scale;
    system(k, k) = 0;
    const VectorXd a = system.completeOrthogonalDecomposition().solve(VectorXd::Unit(k + 1, k)).head(k);
    if (a.minCoeff() < 0 || std::abs(a.sum() - 1) > 1e-6) continue;
    const double norm = a.dot(system.topLeftCorner(k, k) * a);
    if (norm < least) {
      least = norm;
      best.setZero();
      for (std::size_t i = 0; i < in.size(); ++i) best[in[i]] = a[static_cast<Index>(i)];
    }
  }
  return best;
}

VectorXd project_to_simplex(const VectorXd& x) {
  std::vector<double> sorted(x.data(), x.data() + x.size());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double sum = 0, shift = 0;
  for (std::size_t k = 0; k < sorted.size(); ++k) {
    sum += sorted[k];
    const double candidate = (sum - 1) / static_cast<double>(k + 1);
    if (sorted[k] > candidate) shift = candidate;
  }
  return (x.array() - shift).max(0.0).matrix();
}

VectorXd minimize_on_simplex(const ConvexFunction& f, VectorXd start) {
  VectorXd w = std::move(start), gradient(w.size()), unused(w.size());
  double value = f(w, gradient), step = 1.0;
  for (int i = 0; i < 10000; ++i) {
    step *= 2;
    VectorXd next = project_to_simplex(w - step * gradient);
    double next_value = f(next, unused);
    // Sufficient decrease for a projected step of a convex function.
    while (next_value > value + gradient.dot(next - w) + (next - w).squaredNorm() / (2 * step) && step > 1e-18) {
      step /= 2;
      next = project_to_simplex(w - step * gradient);
      next_value = f(next, unused);
    }
    const double moved = (next - w).norm();
    w = std::move(next);
    value = f(w, gradient);
    if (moved < 1e-10) break;
  }
  return w;
}

}  // namespace m3vit
