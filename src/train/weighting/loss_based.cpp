/// Methods that look at the losses alone.
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "train/weighting/methods.h"

namespace m3vit {
namespace {

using Eigen::ArrayXd;
using Eigen::MatrixXd;
using Eigen::VectorXd;

VectorXd softmax(const VectorXd& x) {
  const ArrayXd e = (x.array() - x.maxCoeff()).exp();
  return (e / e.sum()).matrix();
}

/// The recipe's loss_weight alone.
class Fixed final : public TaskWeighting {
 public:
  VectorXd weights(const VectorXd& losses, const MatrixXd&) override { return VectorXd::Ones(losses.size()); }
};

/// Kendall, Gal, Cipolla 2018, with one learned log-variance s a task: the objective is Σ_t exp(−s_t)·L_t + s_t (twice
/// the regression form of eq. 7), differentiated by s here and by the parameters in the step.
class Uncertainty final : public TaskWeighting {
 public:
  Uncertainty(int num_tasks, double lr) : lr_(lr), s_(VectorXd::Zero(num_tasks)) {}
  VectorXd weights(const VectorXd& losses, const MatrixXd&) override {
    const ArrayXd w = (-s_.array()).exp();
    s_.array() -= lr_ * (1.0 - w * losses.array());
    return w.matrix();
  }
  nlohmann::json state() const override { return {{"log_variance", saved(s_)}}; }
  void restore(const nlohmann::json& state, const std::string& where) override {
    s_ = restored(state, "log_variance", s_.size(), where);
  }

 private:
  double lr_;
  VectorXd s_;
};

/// Dynamic weight average (Liu, Johns, Davison 2019, eq. 7): w_t = T·softmax(r / temperature), r_t the ratio of the
/// last two epochs' mean losses; 1 in the first two epochs.
class Dwa final : public TaskWeighting {
 public:
  Dwa(int num_tasks, double temperature)
      : temperature_(temperature), last_(VectorXd::Zero(num_tasks)), before_(VectorXd::Zero(num_tasks)) {}
  VectorXd weights(const VectorXd& losses, const MatrixXd&) override {
    if ((before_.array() <= 0).any()) return VectorXd::Ones(losses.size());
    const VectorXd ratio = last_.cwiseQuotient(before_);
    return static_cast<double>(losses.size()) * softmax(ratio / temperature_);
  }
  void epoch_ended(const VectorXd& losses) override {
    before_ = last_;
    last_ = losses;
  }
  nlohmann::json state() const override { return {{"last", saved(last_)}, {"before", saved(before_)}}; }
  void restore(const nlohmann::json& state, const std::string& where) override {
    last_ = restored(state, "last", last_.size(), where);
    before_ = restored(state, "before", before_.size(), where);
  }

 private:
  double temperature_;
  VectorXd last_, before_;
};

/// FAMO (Liu, Feng, Stone, Liu 2023, algorithm 1): w_t = c·z_t / L_t with z = softmax(ξ) and c so that Σ w = T (theirs:
/// 1); ξ follows the observed change of log L by Adam with decay, as in the authors' code.
class Famo final : public TaskWeighting {
 public:
  Famo(int num_tasks, double lr, double decay)
      : lr_(lr),
        decay_(decay),
        xi_(VectorXd::Zero(num_tasks)),
        mean_(VectorXd::Zero(num_tasks)),
        square_(VectorXd::Zero(num_tasks)) {}
  bool needs_losses_after() const override { return true; }
  VectorXd weights(const VectorXd& losses, const MatrixXd&) override {
    before_ = losses;
    const ArrayXd ratio = softmax(xi_).array() / (losses.array() + kTiny);
    return (static_cast<double>(losses.size()) * ratio / ratio.sum()).matrix();
  }
  void stepped(const VectorXd& losses) override {
    const VectorXd delta = ((before_.array() + kTiny).log() - (losses.array() + kTiny).log()).matrix();
    const VectorXd z = softmax(xi_);
    // Jᵀδ of softmax, and the decay ξ·γ.
    const VectorXd gradient = (z.array() * (delta.array() - z.dot(delta))).matrix() + decay_ * xi_;
    ++steps_;
    mean_ = kBeta1 * mean_ + (1 - kBeta1) * gradient;
    square_ = kBeta2 * square_ + (1 - kBeta2) * gradient.cwiseAbs2();
    const double unbias1 = 1 - std::pow(kBeta1, steps_), unbias2 = 1 - std::pow(kBeta2, steps_);
    xi_.array() -= lr_ * (mean_.array() / unbias1) / ((square_.array() / unbias2).sqrt() + kTiny);
  }
  nlohmann::json state() const override {
    return {{"xi", saved(xi_)}, {"mean", saved(mean_)}, {"square", saved(square_)}, {"steps", {steps_}}};
  }
  void restore(const nlohmann::json& state, const std::string& where) override {
    xi_ = restored(state, "xi", xi_.size(), where);
    mean_ = restored(state, "mean", xi_.size(), where);
    square_ = restored(state, "square", xi_.size(), where);
    steps_ = restored(state, "steps", 1, where)[0];
  }

 private:
  static constexpr double kTiny = 1e-8, kBeta1 = 0.9, kBeta2 = 0.999;
  double lr_, decay_;
  VectorXd xi_, mean_, square_, before_;
  double steps_ = 0;
};

}  // namespace

std::unique_ptr<TaskWeighting> make_loss_based(const WeightingConfig& config, int num_tasks) {
  if (config.method == Weighting::kUncertainty) return std::make_unique<Uncertainty>(num_tasks, config.lr);
  if (config.method == Weighting::kDwa) return std::make_unique<Dwa>(num_tasks, config.temperature);
  if (config.method == Weighting::kFamo) return std::make_unique<Famo>(num_tasks, config.lr, config.decay);
  return std::make_unique<Fixed>();
}

}  // namespace m3vit
