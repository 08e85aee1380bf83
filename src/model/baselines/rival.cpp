#include "model/baselines/rival.h"

namespace m3vit {

RivalImpl::RivalImpl(const Config& config) {
  backbone_ = register_module("backbone", make_encoder(*config.model.resnet, static_cast<int>(config.tasks.size())));
  decoders_ = make_decoders(*this, config);
}

torch::Tensor RivalImpl::prefix(const torch::Tensor& images) { return backbone_->forward(images); }

TaskOutput RivalImpl::task_pass(const torch::Tensor& prefix, int task) {
  TaskOutput out;
  out.balance_loss = torch::zeros({}, prefix.options().requires_grad(false));
  out.raw = decoders_.at(static_cast<std::size_t>(task))->decode(prefix[prefix.size(0) == 1 ? 0 : task]).raw;
  return out;
}

}  // namespace m3vit
