#pragma once
/// Two small convex problems over the probability simplex {w ≥ 0, Σ w = 1}, for as many variables as there are tasks.
#include <Eigen/Core>
#include <functional>

namespace m3vit {

/// argmin wᵀGw over the simplex, the convex combination of least norm (Sener, Koltun 2018, eq. 3). G [T, T] symmetric
/// positive semidefinite, T ≤ 16. Exact: the optimum of every support is tried, 2^T − 1 linear systems.
Eigen::VectorXd min_norm_point(const Eigen::MatrixXd& gram);

/// The point of the simplex nearest to `x` (Held, Wolfe, Crowder 1974).
Eigen::VectorXd project_to_simplex(const Eigen::VectorXd& x);

/// A convex function's value and, in `gradient`, its gradient at w.
using ConvexFunction = std::function<double(const Eigen::VectorXd& w, Eigen::VectorXd& gradient)>;

/// argmin f over the simplex by projected gradient with backtracking, to a projected step of 1e-10 or 10,000 steps.
Eigen::VectorXd minimize_on_simplex(const ConvexFunction& f, Eigen::VectorXd start);

}  // namespace m3vit
