#pragma once
/// libtorch's optimizers with this project's parameter groups, and their state as named tensors.
#include <torch/torch.h>

#include <map>
#include <memory>
#include <string>

#include "core/config.h"

namespace m3vit {

/// SGD decays every parameter (the authors' recipe); AdamW leaves biases, norms, cls_token and pos_embed undecayed.
bool is_decayed(Optimizer optimizer, const std::string& parameter, const torch::Tensor& value);

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const torch::nn::Module& network, const TrainConfig& config);

void set_learning_rate(torch::optim::Optimizer& optimizer, double lr);

/// Global L2 norm over all gradients; undefined gradients count as 0.
double gradient_norm(const torch::nn::Module& network);
void scale_gradients(const torch::nn::Module& network, double factor);

/// State by "<parameter>/momentum" (SGD), "<parameter>/exp_avg", "/exp_avg_sq", "/step" (AdamW). A parameter that has
/// not been stepped yet has none.
std::map<std::string, torch::Tensor> optimizer_state(const torch::nn::Module& network,
                                                     const torch::optim::Optimizer& optimizer);
/// Throws Error naming `where` and the tensor when a shape does not fit.
void load_optimizer_state(const torch::nn::Module& network, torch::optim::Optimizer& optimizer,
                          const std::map<std::string, torch::Tensor>& state, const std::string& where);

}  // namespace m3vit
