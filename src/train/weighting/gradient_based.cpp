/// Methods that look at the tasks' gradients, through their Gram matrix G[s,t] = ⟨g_s, g_t⟩.
#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/rng.h"
#include "train/weighting/methods.h"
#include "train/weighting/simplex.h"

namespace m3vit {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

class GradientBased : public TaskWeighting {
 public:
  bool needs_gradients() const final { return true; }
  VectorXd weights(const VectorXd& losses, const MatrixXd& gram) final {
    const double scale = gram.trace() / static_cast<double>(gram.rows());
    if (!(scale > 0)) return VectorXd::Ones(losses.size());  // no gradient, nothing to weigh
    return solve(losses, gram / scale);
  }

 protected:
  /// `gram` scaled to a mean diagonal of 1: no method depends on the gradients' unit.
  virtual VectorXd solve(const VectorXd& losses, const MatrixXd& gram) = 0;
};

/// GradNorm (Chen et al. 2018, eq. 2, algorithm 1): the weights follow the gradient of Σ_t |‖w_t·g_t‖ − Ḡ·r_t^α|, r_t
/// the loss's inverse training rate, and are renormalised to Σ w = T. The lengths are those of all shared parameters
/// (the paper: of the last shared layer), divided by their mean, so that `lr` does not depend on the network's size.
class Gradnorm final : public GradientBased {
 public:
  Gradnorm(int num_tasks, double lr, double alpha)
      : lr_(lr), alpha_(alpha), w_(VectorXd::Ones(num_tasks)), first_(VectorXd::Zero(num_tasks)) {}
  nlohmann::json state() const override { return {{"weights", saved(w_)}, {"first_losses", saved(first_)}}; }
  void restore(const nlohmann::json& state, const std::string& where) override {
    w_ = restored(state, "weights", w_.size(), where);
    first_ = restored(state, "first_losses", first_.size(), where);
  }

 protected:
  VectorXd solve(const VectorXd& losses, const MatrixXd& gram) override {
    VectorXd used = w_;
    if ((first_.array() == 0).all()) first_ = losses.cwiseMax(1e-12);
    const VectorXd lengths = gram.diagonal().cwiseSqrt();
    const VectorXd weighted = w_.cwiseProduct(lengths);
    const VectorXd progress = losses.cwiseQuotient(first_);
    const Eigen::ArrayXd rate = progress.array() / std::max(progress.mean(), 1e-12);
    const Eigen::ArrayXd target = weighted.mean() * rate.pow(alpha_);
    w_.array() -= lr_ * (weighted.array() - target).sign() * lengths.array();
    w_ = w_.cwiseMax(1e-3);
    w_ *= static_cast<double>(w_.size()) / w_.sum();
    return used;
  }

 private:
  double lr_, alpha_;
  VectorXd w_, first_;
};

/// Multiple-gradient descent (Sener, Koltun 2018, eq. 3): the convex combination of least norm, times T.
class Mgda final : public GradientBased {
 protected:
  VectorXd solve(const VectorXd& losses, const MatrixXd& gram) override {
    return static_cast<double>(losses.size()) * min_norm_point(gram);
  }
};

/// PCGrad (Yu et al. 2020, algorithm 1): each gradient loses its component against every other that it conflicts with,
/// in random order; the results are added.
class Pcgrad final : public GradientBased {
 public:
  explicit Pcgrad(std::uint64_t seed) : seed_(seed) {}
  nlohmann::json state() const override { return {{"steps", {steps_}}}; }
  void restore(const nlohmann::json& state, const std::string& where) override {
    steps_ = restored(state, "steps", 1, where)[0];
  }

 protected:
  VectorXd solve(const VectorXd& losses, const MatrixXd& gram) override {
    const Index n = losses.size();
    Rng rng{seed_, static_cast<std::uint64_t>(steps_)};
    ++steps_;
    VectorXd sum = VectorXd::Zero(n);
    std::vector<Index> order(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) {
      std::iota(order.begin(), order.end(), Index{0});
      for (std::size_t k = order.size() - 1; k > 0; --k) std::swap(order[k], order[rng.below(k + 1)]);
      VectorXd c = VectorXd::Unit(n, i);  // the projected gradient is Σ_t c_t·g_t
      for (const Index j : order) {
        const double along = gram.row(j).dot(c);
        if (j != i && along < 0) c[j] -= along / gram(j, j);
      }
      sum += c;
    }
    return sum;
  }

 private:
  std::uint64_t seed_;
  double steps_ = 0;
};

/// CAGrad (Liu et al. 2021, eq. 4): the direction d within c·‖ḡ‖ of the mean gradient ḡ that serves the worst task
/// best. Its dual: min over the simplex of ⟨g_w, ḡ⟩ + c·‖ḡ‖·‖g_w‖, then d = ḡ + c·‖ḡ‖·g_w/‖g_w‖; T·d here (theirs: d).
class Cagrad final : public GradientBased {
 public:
  explicit Cagrad(double c) : c_(c) {}

 protected:
  VectorXd solve(const VectorXd& losses, const MatrixXd& gram) override {
    const auto n = static_cast<double>(losses.size());
    const VectorXd mean = VectorXd::Constant(losses.size(), 1 / n);
    const VectorXd to_mean = gram * mean;
    const double radius = c_ * std::sqrt(std::max(mean.dot(to_mean), 0.0));
    const auto length = [&](const VectorXd& w) { return std::sqrt(std::max(w.dot(gram * w), kTiny)); };
    const VectorXd w = minimize_on_simplex(
        [&](const VectorXd& x, VectorXd& gradient) {
          gradient = to_mean + radius / length(x) * (gram * x);
          return x.dot(to_mean) + radius * length(x);
        },
        mean);
    return n * (mean + radius / length(w) * w);
  }

 private:
  static constexpr double kTiny = 1e-12;
  double c_;
};

/// Nash-MTL (Navon et al. 2022, eq. 2): the bargaining solution G·α = 1/α, which is where the strictly convex
/// ½·αᵀGα − Σ log α has its minimum; found by damped Newton steps. G is divided by ‖G‖/√T (theirs: ‖G‖).
class NashMtl final : public GradientBased {
 protected:
  VectorXd solve(const VectorXd& losses, const MatrixXd& raw) override {
    const Index n = losses.size();
    MatrixXd gram = raw * (std::sqrt(static_cast<double>(n)) / raw.norm());
    gram.diagonal().array() += kRidge;
    VectorXd a = VectorXd::Ones(n);
    for (int i = 0; i < 200; ++i) {
      const VectorXd inverse = a.cwiseInverse();
      const VectorXd gradient = gram * a - inverse;
      MatrixXd hessian = gram;
      hessian.diagonal() += inverse.cwiseAbs2();
      const VectorXd step = hessian.llt().solve(gradient);
      const double decrement = std::sqrt(std::max(gradient.dot(step), 0.0));
      a -= step / (1 + decrement);  // a self-concordant function: this keeps a > 0 and converges from anywhere
      if (decrement < 1e-12) break;
    }
    return a;
  }

 private:
  static constexpr double kRidge = 1e-9;  ///< keeps opposed gradients (no bargain) from weights without bound
};

/// Aligned-MTL (Senushkin et al. 2023, algorithm 1): the gradients are made orthogonal and equally long, as long as the
/// least principal component: w = √λ_min · V·Λ^(−1/2)·Vᵀ·1 over the nonzero eigenvalues of G.
class AlignedMtl final : public GradientBased {
 protected:
  VectorXd solve(const VectorXd& losses, const MatrixXd& gram) override {
    const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(gram);
    const VectorXd& values = eigen.eigenvalues();  // ascending
    const double floor = values.maxCoeff() * static_cast<double>(values.size()) * kRank;
    VectorXd w = VectorXd::Zero(losses.size());
    double least = 0;
    for (Index i = 0; i < values.size(); ++i) {
      if (values[i] <= floor) continue;
      if (least == 0) least = values[i];
      const VectorXd v = eigen.eigenvectors().col(i);
      w += v * (v.sum() / std::sqrt(values[i]));
    }
    return std::sqrt(least) * w;
  }

 private:
  static constexpr double kRank = 1e-7;  ///< float32's resolution: the gradients it comes from have no more
};

}  // namespace

std::unique_ptr<TaskWeighting> make_gradient_based(const WeightingConfig& config, int num_tasks, std::uint64_t seed) {
  switch (config.method) {
    case Weighting::kGradnorm:
      return std::make_unique<Gradnorm>(num_tasks, config.lr, config.alpha);
    case Weighting::kMgda:
      return std::make_unique<Mgda>();
    case Weighting::kPcgrad:
      return std::make_unique<Pcgrad>(seed);
    case Weighting::kCagrad:
      return std::make_unique<Cagrad>(config.c);
    case Weighting::kNashMtl:
      return std::make_unique<NashMtl>();
    default:
      return std::make_unique<AlignedMtl>();
  }
}

}  // namespace m3vit
