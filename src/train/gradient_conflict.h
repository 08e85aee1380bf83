#pragma once
/// The tasks' gradients side by side: do they pull shared weights in the same direction? (The paper's section 1; the
/// cosine and the share of negative ones as in Yu et al. 2020.)
#include <torch/torch.h>

#include <Eigen/Core>
#include <string>
#include <vector>

namespace m3vit {

/// One task's gradient by parameter, in the network's order; undefined where the task does not use the parameter.
using TaskGradient = std::vector<torch::Tensor>;

struct LayerConflict {
  std::string layer;  ///< e.g. "backbone.blocks.3.mlp"
  std::int64_t params = 0;
  Eigen::MatrixXd gram;  ///< [T, T], ⟨g_s, g_t⟩ over the layer's shared parameters
};

/// The layer a parameter belongs to: its name up to a block's attn, mlp or norm, or without its last part.
std::string layer_of(const std::string& parameter);

/// Whether each parameter is used by two or more tasks.
std::vector<bool> shared_parameters(const std::vector<TaskGradient>& gradients);

/// Gram matrices of the shared parameters' gradients, one a layer in the network's order; `names` [parameters].
std::vector<LayerConflict> measure_conflict(const std::vector<std::string>& names,
                                            const std::vector<TaskGradient>& gradients);

/// ⟨g_s, g_t⟩ / (‖g_s‖·‖g_t‖); 0 where one of them is zero.
double cosine(const Eigen::MatrixXd& gram, int s, int t);

}  // namespace m3vit
