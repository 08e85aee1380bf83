#include "model/vit.h"

#include <algorithm>

#include "model/init.h"

namespace m3vit {

BlockImpl::BlockImpl(const ModelConfig& config, int index, int num_tasks)
    : drop_path_(config.drop_path * index / std::max(1, config.depth - 1)) {
  norm1_ = register_module("norm1", layer_norm(config.embed_dim));
  attn_ = register_module("attn", Attention(config.embed_dim, config.num_heads));
  norm2_ = register_module("norm2", layer_norm(config.embed_dim));
  if (config.is_moe(index)) {
    moe_ = register_module("mlp", MoeMlp(config, num_tasks));
  } else {
    mlp_ = register_module("mlp", Mlp(config.embed_dim, config.mlp_hidden(), config.embed_dim));
  }
}

torch::Tensor BlockImpl::attend(const torch::Tensor& x) {
  return x + drop_path(attn_(norm1_(x)), drop_path_, is_training());
}

torch::Tensor BlockImpl::dense(const torch::Tensor& x) {
  return x + drop_path(mlp_(norm2_(x)), drop_path_, is_training());
}

torch::Tensor BlockImpl::sparse(const torch::Tensor& x, int task, const torch::Tensor& task_feature, Routing& routing) {
  MoeOutput out = moe_(norm2_(x), task, task_feature);
  routing = std::move(out.routing);
  return x + drop_path(out.y, drop_path_, is_training());
}

PatchEmbedImpl::PatchEmbedImpl(const ModelConfig& config) {
  // The convolution keeps torch's default initialisation, as in the authors' code.
  proj_ = register_module(
      "proj",
      torch::nn::Conv2d(torch::nn::Conv2dOptions(3, config.embed_dim, config.patch_size).stride(config.patch_size)));
}

torch::Tensor PatchEmbedImpl::forward(const torch::Tensor& images) { return proj_(images).flatten(2).transpose(1, 2); }

TaskRepresentationImpl::TaskRepresentationImpl(int64_t num_tasks, int64_t dim) {
  fc1_ = register_module("fc1", torch::nn::Linear(num_tasks, dim));
  fc2_ = register_module("fc2", torch::nn::Linear(dim, dim));
  norm_ = register_module("norm", layer_norm(dim));
  init_linear(fc1_);
  init_linear(fc2_);
}

torch::Tensor TaskRepresentationImpl::forward(int task) {
  const torch::Tensor& w = fc1_->weight;
  torch::Tensor one_hot = torch::zeros({w.size(1)}, w.options().requires_grad(false));
  one_hot.narrow(0, task, 1).fill_(1.0);
  return norm_(fc2_(torch::gelu(fc1_(one_hot))));
}

VisionTransformerImpl::VisionTransformerImpl(const ModelConfig& config, int num_tasks) : config_(config) {
  patch_embed_ = register_module("patch_embed", PatchEmbed(config));
  cls_token_ = register_parameter("cls_token", trunc_normal({1, 1, config.embed_dim}));
  pos_embed_ = register_parameter("pos_embed", trunc_normal({1, config.tokens(), config.embed_dim}));
  torch::nn::ModuleList list;
  for (int i = 0; i < config.depth; ++i) {
    blocks_.emplace_back(config, i, num_tasks);
    list->push_back(blocks_.back());
  }
  register_module("blocks", list);
  if (config.moe && config.moe->gate == Gate::kTaskConditioned) {
    task_represent_ = register_module("gate_task_represent", TaskRepresentation(num_tasks, config.moe->gate_task_dim));
  }
}

torch::Tensor VisionTransformerImpl::prefix(const torch::Tensor& images) {
  torch::Tensor x = patch_embed_(images);
  x = torch::cat({cls_token_.expand({x.size(0), 1, config_.embed_dim}), x}, 1) + pos_embed_;
  for (Block& block : blocks_) {
    x = block->attend(x);
    if (block->is_moe()) return x;
    x = block->dense(x);
  }
  return x;
}

torch::Tensor VisionTransformerImpl::task_pass(const torch::Tensor& prefix, int task, bool keep_routing,
                                               TaskOutput& output) {
  const torch::Tensor task_feature = task_represent_.is_empty() ? torch::Tensor() : task_represent_(task);
  torch::Tensor x = prefix;
  const int first = config_.first_moe_block();
  for (int i = first; i < config_.depth; ++i) {
    Block& block = blocks_[static_cast<std::size_t>(i)];
    if (i > first) x = block->attend(x);
    if (!block->is_moe()) {
      x = block->dense(x);
      continue;
    }
    Routing r;
    x = block->sparse(x, task, task_feature, r);
    output.balance_loss = output.balance_loss + r.balance_loss;
    output.routing.push_back({.block = i, .load = r.load, .importance = r.importance, .entropy = r.entropy});
    if (keep_routing) {
      output.indices.push_back(r.indices);
      output.weights.push_back(r.weights.detach());
    }
  }
  return x;
}

}  // namespace m3vit
