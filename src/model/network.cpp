#include "model/network.h"

#include "core/error.h"
#include "model/baselines/rival.h"
#include "model/m3vit.h"

namespace m3vit {

std::vector<std::vector<torch::Tensor>> NetworkImpl::auxiliary(const std::vector<TaskOutput>&) { return {}; }

M3vitImpl::M3vitImpl(const Config& config) : config_(config.model) {
  backbone_ = register_module("backbone", VisionTransformer(config.model, static_cast<int>(config.tasks.size())));
  decoders_ = make_decoders(*this, config);
  if (config.model.tam) {
    torch::nn::ModuleList list;
    for (int level = 0; level < std::min(2, config.model.head.stages - 1); ++level) {
      tams_.emplace_back(config.model.head.channels, config.tasks);
      list->push_back(tams_.back());
    }
    register_module("tam", list);
  }
}

torch::Tensor M3vitImpl::prefix(const torch::Tensor& images) {
  if (images.dim() != 4 || images.size(1) != 3 || images.size(2) != config_.height() ||
      images.size(3) != config_.width()) {
    throw Error{{.where = "M3vit::prefix",
                 .field = "images",
                 .wanted = "[B, 3, " + std::to_string(config_.height()) + ", " + std::to_string(config_.width()) + "]",
                 .found = c10::str(images.sizes())}};
  }
  return backbone_->prefix(images);
}

TaskOutput M3vitImpl::task_pass(const torch::Tensor& prefix, int task) {
  if (task < 0 || task >= static_cast<int>(decoders_.size())) {
    throw Error{{.where = "M3vit::task_pass",
                 .field = "task",
                 .wanted = "0 … " + std::to_string(decoders_.size() - 1),
                 .found = std::to_string(task)}};
  }
  TaskOutput out;
  out.balance_loss = torch::zeros({}, prefix.options().requires_grad(false));
  const torch::Tensor tokens = backbone_->task_pass(prefix, task, keep_routing_, out);
  HeadOutput head = decoders_[static_cast<std::size_t>(task)](tokens);
  out.raw = head.raw;
  if (!tams_.empty() && is_training()) out.features = std::move(head.features);
  return out;
}

std::vector<std::vector<torch::Tensor>> M3vitImpl::auxiliary(const std::vector<TaskOutput>& outputs) {
  std::vector<std::vector<torch::Tensor>> predictions;
  if (!is_training() || outputs.size() != decoders_.size()) return predictions;
  for (std::size_t level = 0; level < tams_.size(); ++level) {
    std::vector<torch::Tensor> features;
    for (const TaskOutput& o : outputs) features.push_back(o.features.at(level));
    predictions.push_back(tams_[level](features));
    for (torch::Tensor& p : predictions.back()) p = resize_bilinear(p, config_.height(), config_.width());
  }
  return predictions;
}

std::shared_ptr<NetworkImpl> make_network(const Config& config) {
  if (config.tasks.empty()) throw Error{{.where = "make_network", .field = "tasks", .wanted = "at least one task"}};
  for (const TaskConfig& task : config.tasks) {
    if (task.outputs < 1) {
      throw Error{{.where = "make_network",
                   .field = "tasks." + task.name + ".outputs",
                   .wanted = "at least 1 channel (resolved from the data set before the network is built)",
                   .found = std::to_string(task.outputs)}};
    }
  }
  if (config.model.resnet) return std::make_shared<RivalImpl>(config);
  return std::make_shared<M3vitImpl>(config);
}

}  // namespace m3vit
