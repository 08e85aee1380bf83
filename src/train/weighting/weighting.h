#pragma once
/// How the tasks' losses become one update: task weighting and gradient surgery.
///
/// Every method here moves the shared parameters along Σ_t w_t·g_t, g_t being the gradient of task t's loss (already
/// multiplied by its `loss_weight`). So a method is a function from the tasks' losses and the Gram matrix of their
/// gradients, G[s,t] = ⟨g_s, g_t⟩, to the weights w: nothing in this room knows torch or the size of the network.
/// Weights are scaled so that tasks that do not differ (equal losses, orthogonal gradients of equal length) get 1 each,
/// the joint loss; where a publication scales otherwise (a mean instead of a sum), its constant is named beside it.
#include <Eigen/Core>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "core/config.h"

namespace m3vit {

class TaskWeighting {
 public:
  virtual ~TaskWeighting() = default;
  /// Whether `weights` reads the Gram matrix. Then every task's gradient is taken for itself, each step.
  virtual bool needs_gradients() const { return false; }
  /// Whether `stepped` wants the same batch's losses after the update: one more forward pass a step.
  virtual bool needs_losses_after() const { return false; }
  /// The weights w [T] for this step. `losses` [T] finite; `gram` [T, T], symmetric, empty unless needs_gradients().
  virtual Eigen::VectorXd weights(const Eigen::VectorXd& losses, const Eigen::MatrixXd& gram) = 0;
  /// After the parameters moved; `losses` [T] of the same batch, if needs_losses_after().
  virtual void stepped(const Eigen::VectorXd& /*losses*/) {}
  /// Mean losses [T] of the epoch that ended.
  virtual void epoch_ended(const Eigen::VectorXd& /*losses*/) {}
  /// What a resumed run needs to go on bit for bit; restore(state()) does nothing. `where` names the file in errors.
  virtual nlohmann::json state() const;
  virtual void restore(const nlohmann::json& state, const std::string& where);
};

/// `seed` draws PCGrad's order. Each method's source stands beside its class in loss_based.cpp and gradient_based.cpp.
std::unique_ptr<TaskWeighting> make_weighting(const WeightingConfig& config, int num_tasks, std::uint64_t seed);

}  // namespace m3vit
