#pragma once
/// What training and evaluation see of any multi-task network: M³ViT today, its rivals later.
#include <torch/torch.h>

#include <vector>

#include "core/config.h"

namespace m3vit {

/// Routing of one MoE layer in one task pass; detached, float64 accumulators on the CPU are built by train/.
struct RoutingStats {
  int block = 0;
  torch::Tensor load;        ///< [num_experts] tokens that chose each expert (counts, f32)
  torch::Tensor importance;  ///< [num_experts] summed gate weights of chosen tokens
  torch::Tensor entropy;     ///< scalar: mean over tokens of −Σ p log p (nats)
};

struct TaskOutput {
  torch::Tensor raw;           ///< [B, C, H, W] at image size: logits, metres, unnormalised normals
  torch::Tensor balance_loss;  ///< scalar, summed over MoE layers, unweighted; 0 without MoE
  std::vector<RoutingStats> routing;
  std::vector<torch::Tensor> indices;   ///< per MoE layer [B·tokens, top_k] int64, when asked for by `keep_routing`
  std::vector<torch::Tensor> weights;   ///< per MoE layer [B·tokens, top_k]
  std::vector<torch::Tensor> features;  ///< head features after stages 1 and 2, in training with `model.tam` only
};

class NetworkImpl : public torch::nn::Module {
 public:
  /// images [B, 3, H, W] normalised → what every task's pass starts from (the shared prefix), computed once a step.
  virtual torch::Tensor prefix(const torch::Tensor& images) = 0;
  /// One task's pass from the prefix; `task` = index into config.tasks.
  virtual TaskOutput task_pass(const torch::Tensor& prefix, int task) = 0;
  /// Extra training-only predictions with the main ones (TAM); default: none. `outputs[t]` is the main pass of task t;
  /// returns, for each stage, one raw prediction a task.
  virtual std::vector<std::vector<torch::Tensor>> auxiliary(const std::vector<TaskOutput>& outputs);
  virtual void keep_routing(bool keep) = 0;
  TaskOutput forward_task(const torch::Tensor& images, int task) { return task_pass(prefix(images), task); }
};

/// Builds the network a config describes with the initialisation of docs/model.md, from torch's global generator.
std::shared_ptr<NetworkImpl> make_network(const Config& config);

}  // namespace m3vit
