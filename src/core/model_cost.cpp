#include "core/model_cost.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/resnet_parts.h"

namespace m3vit {
namespace {

/// Head channels of a task: its own number, else the task's fixed one.
std::int64_t head_outputs(const Config& config, std::size_t t) {
  const TaskConfig& task = config.tasks[t];
  const int outputs = task.outputs > 0 ? task.outputs : task_spec(task.id()).default_outputs;
  if (outputs > 0) return outputs;
  throw Error{{.where = {},
               .field = "tasks." + std::to_string(t) + ".outputs",
               .wanted = "the number of classes of " + task.name,
               .found = "0",
               .hint = "it comes from the data set when there is one"}};
}

/// Logits of one router: its task's window, or all experts.
std::int64_t router_outputs(const MoeConfig& moe) {
  return moe.experts_per_task > 0 ? moe.experts_per_task : moe.num_experts;
}

std::int64_t router_inputs(const ModelConfig& model) {
  return model.embed_dim + (model.moe->gate == Gate::kTaskConditioned ? model.moe->gate_task_dim : 0);
}

/// Counts one task's pass, layer by layer, in the order of execution.
class TaskCounter {
 public:
  TaskCounter(const Config& config, std::size_t task)
      : config_(config), model_(config.model), task_(task), tokens_(model_.tokens()), dim_(model_.embed_dim) {
    cost_.task = config.tasks[task].name;
  }

  TaskCost count() {
    model_.resnet ? rival() : vit();
    head();
    return std::move(cost_);
  }

 private:
  void rival() {
    for (const ResnetPart& part : resnet_parts(config_)) {
      if (!part.needed_by(static_cast<int>(task_))) continue;
      add(part.name, "linear", part.macs, part.params());
    }
  }

  void vit() {
    const std::int64_t patch = 3LL * model_.patch_size * model_.patch_size;
    add("backbone.patch_embed", "patch_embed", (tokens_ - 1) * patch * dim_,
        patch * dim_ + dim_ + dim_ + tokens_ * dim_);  // with cls_token and pos_embed
    if (model_.moe && model_.moe->gate == Gate::kTaskConditioned) {
      const std::int64_t g = model_.moe->gate_task_dim;
      const auto tasks = static_cast<std::int64_t>(config_.tasks.size());
      add("backbone.gate_task_represent", "router", g * tasks + g * g, g * tasks + g + g * g + g + 2 * g);
    }
    for (int i = 0; i < model_.depth; ++i) block(i);
  }

  void add(std::string name, const char* kind, std::int64_t macs, std::int64_t params, std::int64_t active = -1) {
    LayerCost layer{std::move(name), kind, macs, params, active < 0 ? params : active};
    sum(layer.kind) += macs;
    cost_.total += macs;
    cost_.active_params += layer.active_params;
    cost_.layers.push_back(std::move(layer));
  }
  std::int64_t& sum(std::string_view kind) {
    if (kind == "patch_embed") return cost_.patch_embed;
    if (kind == "attention") return cost_.attention;
    if (kind == "router") return cost_.router;
    if (kind == "experts") return cost_.experts;
    if (kind == "head") return cost_.head;
    return cost_.linear;
  }
  /// A fully connected layer with bias on every token.
  void linear(const std::string& name, std::int64_t in, std::int64_t out) {
    add(name, "linear", tokens_ * in * out, in * out + out);
  }

  void block(int i) {
    const std::string prefix = "backbone.blocks." + std::to_string(i) + ".";
    add(prefix + "norm1", "linear", 0, 2 * dim_);
    linear(prefix + "attn.qkv", dim_, 3 * dim_);
    add(prefix + "attn", "attention", 2 * tokens_ * tokens_ * dim_, 0);
    linear(prefix + "attn.proj", dim_, dim_);
    add(prefix + "norm2", "linear", 0, 2 * dim_);
    if (!model_.is_moe(i)) {
      linear(prefix + "mlp.fc1", dim_, model_.mlp_hidden());
      linear(prefix + "mlp.fc2", model_.mlp_hidden(), dim_);
      return;
    }
    const MoeConfig& moe = *model_.moe;
    const std::string gate = moe.gate == Gate::kMulti ? "mlp.gate." + std::to_string(task_) : "mlp.gate";
    const std::int64_t router = router_inputs(model_) * router_outputs(moe);
    add(prefix + gate, "router", tokens_ * router, router);
    const std::int64_t hidden = model_.expert_hidden();
    const std::int64_t expert = 2 * dim_ * hidden + hidden + dim_;
    add(prefix + "mlp.experts", "experts", tokens_ * moe.top_k * 2 * dim_ * hidden, moe.num_experts * expert,
        moe.top_k * expert);
  }

  void head() {
    const std::string prefix = "decoders." + cost_.task + ".";
    std::int64_t in = model_.feature_dim();
    add(prefix + "norm", "head", 0, 2 * in);
    const std::int64_t channels = model_.head.channels;
    std::int64_t pixels = static_cast<std::int64_t>(model_.grid_h()) * model_.grid_w();
    for (int s = 0; s < model_.head.stages; ++s) {
      if (s > 0) pixels *= 4;  // ×2 between the stages
      const std::string number = std::to_string(s);
      add(prefix + "conv_" + number, "head", pixels * in * channels * 9, in * channels * 9 + channels);
      add(prefix + "syncbn_fc_" + number, "head", 0, 2 * channels);
      in = channels;
    }
    const std::int64_t outputs = head_outputs(config_, task_);
    add(prefix + "conv_" + std::to_string(model_.head.stages), "head", pixels * channels * outputs,
        channels * outputs + outputs);
  }

  const Config& config_;
  const ModelConfig& model_;
  std::size_t task_;
  std::int64_t tokens_;
  std::int64_t dim_;
  TaskCost cost_;
};

class TensorLister {
 public:
  explicit TensorLister(const Config& config) : config_(config), model_(config.model), dim_(model_.embed_dim) {}

  std::vector<TensorSpec> list() {
    model_.resnet ? rival() : vit();
    for (std::size_t t = 0; t < config_.tasks.size(); ++t) decoder(t);
    return std::move(tensors_);
  }

 private:
  void rival() {
    for (ResnetPart& part : resnet_parts(config_)) {
      for (TensorSpec& tensor : part.tensors) tensors_.push_back(std::move(tensor));
    }
  }

  void vit() {
    add("backbone.patch_embed.proj.weight", {dim_, 3, model_.patch_size, model_.patch_size});
    add("backbone.patch_embed.proj.bias", {dim_});
    add("backbone.cls_token", {1, 1, dim_});
    add("backbone.pos_embed", {1, model_.tokens(), dim_});
    if (model_.moe && model_.moe->gate == Gate::kTaskConditioned) {
      const std::int64_t g = model_.moe->gate_task_dim;
      linear("backbone.gate_task_represent.fc1", g, static_cast<std::int64_t>(config_.tasks.size()));
      linear("backbone.gate_task_represent.fc2", g, g);
      norm("backbone.gate_task_represent.norm", g);
    }
    for (int i = 0; i < model_.depth; ++i) block(i);
  }

  void add(std::string name, std::vector<std::int64_t> shape, bool buffer = false) {
    tensors_.push_back({std::move(name), std::move(shape), buffer});
  }
  void linear(const std::string& name, std::int64_t out, std::int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }
  void norm(const std::string& name, std::int64_t size) {
    add(name + ".weight", {size});
    add(name + ".bias", {size});
  }

  void block(int i) {
    const std::string prefix = "backbone.blocks." + std::to_string(i) + ".";
    norm(prefix + "norm1", dim_);
    linear(prefix + "attn.qkv", 3 * dim_, dim_);
    linear(prefix + "attn.proj", dim_, dim_);
    norm(prefix + "norm2", dim_);
    if (!model_.is_moe(i)) {
      linear(prefix + "mlp.fc1", model_.mlp_hidden(), dim_);
      linear(prefix + "mlp.fc2", dim_, model_.mlp_hidden());
      return;
    }
    const MoeConfig& moe = *model_.moe;
    const std::int64_t experts = moe.num_experts;
    const std::int64_t hidden = model_.expert_hidden();
    add(prefix + "mlp.experts.htoh4.weight", {experts, hidden, dim_});
    add(prefix + "mlp.experts.htoh4.bias", {experts, hidden});
    add(prefix + "mlp.experts.h4toh.weight", {experts, dim_, hidden});
    add(prefix + "mlp.experts.h4toh.bias", {experts, dim_});
    const std::vector<std::int64_t> router{router_inputs(model_), router_outputs(moe)};
    if (moe.gate != Gate::kMulti) {
      add(prefix + "mlp.gate.w_gate", router);
      return;
    }
    for (std::size_t t = 0; t < config_.tasks.size(); ++t) {
      add(prefix + "mlp.gate." + std::to_string(t) + ".w_gate", router);
    }
  }

  void decoder(std::size_t t) {
    const std::string prefix = "decoders." + config_.tasks[t].name + ".";
    std::int64_t in = model_.feature_dim();
    norm(prefix + "norm", in);
    const std::int64_t channels = model_.head.channels;
    for (int s = 0; s < model_.head.stages; ++s) {
      const std::string number = std::to_string(s);
      add(prefix + "conv_" + number + ".weight", {channels, in, 3, 3});
      add(prefix + "conv_" + number + ".bias", {channels});
      norm(prefix + "syncbn_fc_" + number, channels);
      add(prefix + "syncbn_fc_" + number + ".running_mean", {channels}, /*buffer=*/true);
      add(prefix + "syncbn_fc_" + number + ".running_var", {channels}, /*buffer=*/true);
      in = channels;
    }
    const std::string last = prefix + "conv_" + std::to_string(model_.head.stages);
    const std::int64_t outputs = head_outputs(config_, t);
    add(last + ".weight", {outputs, channels, 1, 1});
    add(last + ".bias", {outputs});
  }

  const Config& config_;
  const ModelConfig& model_;
  std::int64_t dim_;
  std::vector<TensorSpec> tensors_;
};

}  // namespace

ModelCost model_cost(const Config& config) {
  ModelCost cost;
  for (const TensorSpec& tensor : expected_tensors(config)) {
    if (tensor.buffer) continue;
    std::int64_t numel = 1;
    for (const std::int64_t d : tensor.shape) numel *= d;
    cost.params += numel;
  }
  for (std::size_t t = 0; t < config.tasks.size(); ++t) cost.tasks.push_back(TaskCounter(config, t).count());
  return cost;
}

std::vector<TensorSpec> expected_tensors(const Config& config) { return TensorLister(config).list(); }

nlohmann::json to_json(const ModelCost& cost) {
  nlohmann::json active = nlohmann::json::object();
  nlohmann::json macs = nlohmann::json::object();
  for (const TaskCost& t : cost.tasks) {
    active[t.task] = t.active_params;
    macs[t.task] = {{"total", t.total},   {"patch_embed", t.patch_embed}, {"attention", t.attention},
                    {"linear", t.linear}, {"router", t.router},           {"experts", t.experts},
                    {"head", t.head}};
  }
  return {{"params", {{"total", cost.params}, {"active_per_task", active}}}, {"macs", macs}};
}

}  // namespace m3vit
