#pragma once
/// Forward and backward of one micro-batch over all tasks.
#include <torch/torch.h>

#include <array>
#include <vector>

#include "core/config.h"
#include "data/sample.h"
#include "model/network.h"
#include "train/gradient_conflict.h"
#include "train/weighting/weighting.h"

namespace m3vit {

/// A batch on its device.
struct BatchTensors {
  torch::Tensor images;                           ///< [B, 3, H, W]
  std::array<torch::Tensor, kNumTaskIds> labels;  ///< [B, label_channels, H, W]; undefined where the data lack it
};
/// On the CPU the tensors alias `batch`, which must outlive them.
BatchTensors to_tensors(const Batch& batch, torch::Device device);

struct StepLosses {
  std::vector<double> tasks;                       ///< per task, unweighted, the main prediction's alone
  std::vector<double> balance;                     ///< per task, unweighted; 0 without MoE
  double total = 0;                                ///< what is differentiated, before `scale`
  std::vector<std::vector<RoutingStats>> routing;  ///< [task][MoE layer]
  std::vector<double> weights;                     ///< per task, what the weighting chose; 1 when fixed
  std::vector<LayerConflict> conflict;             ///< when asked for

  /// Index of the first task whose loss is NaN or infinite, or −1.
  int first_bad_task() const;
};

struct StepOptions {
  double scale = 1;                    ///< of the gradient: 1 / micro-batches a step, times AMP's loss scale
  bool amp = false;                    ///< the forward runs under CUDA autocast; losses are float32
  bool conflict = false;               ///< measure the tasks' gradient conflict in this step
  TaskWeighting* weighting = nullptr;  ///< null: every task weighs 1 (times its loss_weight)
};

/// Adds the gradient of `scale · Σ_t w_t · (loss_weight_t · loss_t + balance_weight · balance_t)` to the parameters'
/// grads, w being the weighting's. The part of the network before the first router runs once. `joint` differentiates
/// the sum; `one_by_one` differentiates task after task down to the shared prefix and then the prefix once, so that one
/// task's activations are alive at a time. Both give the same gradient. TAM's extra predictions
/// (NetworkImpl::auxiliary) enter with their task's weight; they need all tasks at once, hence `joint`. Where the
/// weighting looks at gradients, or `conflict` is set, every task is differentiated for itself. A weighting that looks
/// at gradients weighs the parameters that two or more tasks use; those of one task (heads, its router) follow that
/// task's own gradient.
StepLosses forward_backward(NetworkImpl& network, const Config& config, const BatchTensors& batch,
                            const StepOptions& options);

/// loss_weight_t · loss_t [T] without gradients: what the weighting's `stepped` wants to see.
Eigen::VectorXd weighted_losses(NetworkImpl& network, const Config& config, const BatchTensors& batch, bool amp);

}  // namespace m3vit
