#include "train/step.h"

#include <ATen/autocast_mode.h>

#include <cmath>

#include "train/losses.h"

#if __has_include(<torch/version.h>)
#include <torch/version.h>
#endif

namespace m3vit {
namespace {

using torch::Tensor;

/// CUDA autocast for the lifetime of the object.
class Autocast {
 public:
  explicit Autocast(bool on) : on_(on) {
    if (on_) set(true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::clear_cache();
    set(false);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  static void set(bool on) {
#if defined(TORCH_VERSION_MAJOR) && (TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4))
    at::autocast::set_autocast_enabled(at::kCUDA, on);
#else
    at::autocast::set_enabled(on);
#endif
  }
  bool on_;
};

/// Losses are never computed in half precision.
Tensor full_precision(const Tensor& raw) {
  return raw.scalar_type() == torch::kHalf || raw.scalar_type() == torch::kBFloat16 ? raw.to(torch::kFloat) : raw;
}

class Step {
 public:
  Step(NetworkImpl& network, const Config& config, const BatchTensors& batch, double scale, bool amp)
      : network_(network), config_(config), batch_(batch), scale_(scale), amp_(amp) {}

  StepLosses run() {
    config_.train.mode == TaskMode::kJoint ? joint() : one_by_one();
    return std::move(result_);
  }

 private:
  Tensor prefix() {
    const Autocast autocast(amp_);
    return network_.prefix(batch_.images);
  }
  TaskOutput pass(const Tensor& prefix, int task) {
    const Autocast autocast(amp_);
    return network_.task_pass(prefix, task);
  }
  const Tensor& label(int task) const {
    return batch_.labels[static_cast<std::size_t>(config_.tasks[static_cast<std::size_t>(task)].id())];
  }
  Tensor raw_loss(const Tensor& raw, int task) const {
    return task_loss(config_.tasks[static_cast<std::size_t>(task)].id(), full_precision(raw),
                     label(task).to(full_precision(raw).scalar_type()), config_.train.edge_weight);
  }
  /// This task's share of the total; records its parts.
  Tensor weighted(const TaskOutput& out, int task) {
    const Tensor loss = raw_loss(out.raw, task);
    Tensor share = config_.tasks[static_cast<std::size_t>(task)].loss_weight * loss;
    result_.tasks.push_back(loss.item<double>());
    double balance = 0;
    if (config_.model.moe && out.balance_loss.defined()) {
      balance = out.balance_loss.item<double>();
      share = share + config_.model.moe->balance_weight * out.balance_loss;
    }
    result_.balance.push_back(balance);
    result_.routing.push_back(out.routing);
    return share;
  }
  void backward(const Tensor& share) {
    result_.total += share.item<double>();
    (share * scale_).backward();
  }

  void joint() {
    const Tensor shared = prefix();
    const int tasks = static_cast<int>(config_.tasks.size());
    std::vector<TaskOutput> outputs;
    for (int t = 0; t < tasks; ++t) outputs.push_back(pass(shared, t));
    Tensor total;
    for (int t = 0; t < tasks; ++t) {
      const Tensor share = weighted(outputs[static_cast<std::size_t>(t)], t);
      total = total.defined() ? total + share : share;
    }
    for (const std::vector<Tensor>& stage : auxiliary(outputs)) {
      for (int t = 0; t < tasks; ++t) {
        const auto i = static_cast<std::size_t>(t);
        total = total + config_.tasks[i].loss_weight * raw_loss(stage.at(i), t);
      }
    }
    backward(total);
  }
  std::vector<std::vector<Tensor>> auxiliary(const std::vector<TaskOutput>& outputs) {
    if (!config_.model.tam) return {};
    const Autocast autocast(amp_);
    return network_.auxiliary(outputs);
  }

  void one_by_one() {
    TORCH_CHECK(!config_.model.tam, "TAM mixes all tasks' features: want train.mode joint");
    const Tensor shared = prefix();
    const Tensor leaf = shared.detach().requires_grad_(true);
    for (int t = 0; t < static_cast<int>(config_.tasks.size()); ++t) backward(weighted(pass(leaf, t), t));
    if (leaf.grad().defined() && shared.requires_grad()) shared.backward(leaf.grad());
  }

  NetworkImpl& network_;
  const Config& config_;
  const BatchTensors& batch_;
  double scale_;
  bool amp_;
  StepLosses result_;
};

}  // namespace

BatchTensors to_tensors(const Batch& batch, torch::Device device) {
  const auto view = [&](const std::vector<float>& values, std::int64_t channels) {
    // from_blob wants a mutable pointer; nothing writes through it
    return torch::from_blob(const_cast<float*>(values.data()), {batch.size, channels, batch.height, batch.width},
                            torch::kFloat)
        .to(device);
  };
  BatchTensors result;
  result.images = view(batch.images, 3);
  for (std::size_t t = 0; t < kNumTaskIds; ++t) {
    if (!batch.labels[t].empty()) result.labels[t] = view(batch.labels[t], kTasks[t].label_channels);
  }
  return result;
}

int StepLosses::first_bad_task() const {
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    if (!std::isfinite(tasks[t]) || !std::isfinite(balance[t])) return static_cast<int>(t);
  }
  return -1;
}

StepLosses forward_backward(NetworkImpl& network, const Config& config, const BatchTensors& batch, double scale,
                            bool amp) {
  return Step(network, config, batch, scale, amp).run();
}

}  // namespace m3vit
