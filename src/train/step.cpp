#include "train/step.h"

#include <cmath>
#include <limits>

#include "train/autocast.h"
#include "train/losses.h"

namespace m3vit {
namespace {

using torch::Tensor;

/// Losses are never computed in half precision.
Tensor full_precision(const Tensor& raw) {
  return raw.scalar_type() == torch::kHalf || raw.scalar_type() == torch::kBFloat16 ? raw.to(torch::kFloat) : raw;
}

class Step {
 public:
  Step(NetworkImpl& network, const Config& config, const BatchTensors& batch, const StepOptions& options)
      : network_(network), config_(config), batch_(batch), options_(options) {}

  StepLosses run() {
    result_.weights.assign(config_.tasks.size(), 1.0);
    if (options_.conflict || (options_.weighting != nullptr && options_.weighting->needs_gradients())) {
      task_by_task();
    } else if (config_.train.mode == TaskMode::kJoint) {
      joint();
    } else {
      one_by_one();
    }
    return std::move(result_);
  }

  Eigen::VectorXd losses() {
    const torch::NoGradGuard no_grad;
    const Tensor shared = prefix();
    Eigen::VectorXd result(static_cast<Eigen::Index>(config_.tasks.size()));
    for (int t = 0; t < static_cast<int>(config_.tasks.size()); ++t) {
      result[t] = loss_weight(t) * raw_loss(pass(shared, t).raw, t).item<double>();
    }
    return result;
  }

 private:
  Tensor prefix() {
    const Autocast autocast(options_.amp, torch::kCUDA);
    return network_.prefix(batch_.images);
  }
  TaskOutput pass(const Tensor& prefix, int task) {
    const Autocast autocast(options_.amp, torch::kCUDA);
    return network_.task_pass(prefix, task);
  }
  const Tensor& label(int task) const {
    return batch_.labels[static_cast<std::size_t>(config_.tasks[static_cast<std::size_t>(task)].id())];
  }
  Tensor raw_loss(const Tensor& raw, int task) const {
    return task_loss(config_.tasks[static_cast<std::size_t>(task)].id(), full_precision(raw),
                     label(task).to(full_precision(raw).scalar_type()), config_.train.edge_weight);
  }
  double loss_weight(int task) const { return config_.tasks[static_cast<std::size_t>(task)].loss_weight; }

  /// One task's part of what is differentiated.
  struct Share {
    Tensor sum;       ///< loss_weight · loss + balance_weight · balance
    double loss = 0;  ///< loss_weight · loss: what the weighting looks at
  };
  /// Records what the pass says of itself.
  Share share(const TaskOutput& out, int task) {
    const Tensor loss = raw_loss(out.raw, task);
    result_.tasks.push_back(loss.item<double>());
    Share share{loss_weight(task) * loss, loss_weight(task) * result_.tasks.back()};
    double balance = 0;
    if (config_.model.moe && out.balance_loss.defined()) {
      balance = out.balance_loss.item<double>();
      share.sum = share.sum + config_.model.moe->balance_weight * out.balance_loss;
    }
    result_.balance.push_back(balance);
    result_.routing.push_back(out.routing);
    return share;
  }
  void backward(const Tensor& sum) {
    result_.total += sum.item<double>();
    (sum * options_.scale).backward();
  }

  std::vector<Share> all_shares(const Tensor& shared) {
    const int tasks = static_cast<int>(config_.tasks.size());
    std::vector<TaskOutput> outputs;
    for (int t = 0; t < tasks; ++t) outputs.push_back(pass(shared, t));
    std::vector<Share> shares;
    for (int t = 0; t < tasks; ++t) shares.push_back(share(outputs[static_cast<std::size_t>(t)], t));
    for (const std::vector<Tensor>& stage : auxiliary(outputs)) {
      for (int t = 0; t < tasks; ++t) {
        Share& s = shares[static_cast<std::size_t>(t)];
        const Tensor extra = loss_weight(t) * raw_loss(stage.at(static_cast<std::size_t>(t)), t);
        s.sum = s.sum + extra;
        s.loss += extra.item<double>();
      }
    }
    return shares;
  }
  std::vector<std::vector<Tensor>> auxiliary(const std::vector<TaskOutput>& outputs) {
    if (!config_.model.tam) return {};
    const Autocast autocast(options_.amp, torch::kCUDA);
    return network_.auxiliary(outputs);
  }

  /// Asks the weighting and records its answer.
  void choose_weights(const Eigen::VectorXd& losses, const Eigen::MatrixXd& gram) {
    if (options_.weighting == nullptr) return;
    const Eigen::VectorXd w = options_.weighting->weights(losses, gram);
    result_.weights.assign(w.data(), w.data() + w.size());
  }
  static Eigen::VectorXd values(const std::vector<Share>& shares) {
    Eigen::VectorXd result(static_cast<Eigen::Index>(shares.size()));
    for (std::size_t t = 0; t < shares.size(); ++t) result[static_cast<Eigen::Index>(t)] = shares[t].loss;
    return result;
  }

  void joint() {
    const std::vector<Share> shares = all_shares(prefix());
    if (result_.first_bad_task() < 0) choose_weights(values(shares), {});
    Tensor total;
    for (std::size_t t = 0; t < shares.size(); ++t) {
      const double w = result_.weights[t];
      const Tensor part = w == 1.0 ? shares[t].sum : w * shares[t].sum;
      total = total.defined() ? total + part : part;
    }
    backward(total);
  }

  void one_by_one() {
    TORCH_CHECK(!config_.model.tam, "TAM mixes all tasks' features: want train.mode joint");
    const Tensor shared = prefix();
    const Tensor leaf = shared.detach().requires_grad_(true);
    for (int t = 0; t < static_cast<int>(config_.tasks.size()); ++t) backward(share(pass(leaf, t), t).sum);
    if (leaf.grad().defined() && shared.requires_grad()) shared.backward(leaf.grad());
  }

  void task_by_task() {
    const std::vector<Share> shares = all_shares(prefix());
    if (result_.first_bad_task() >= 0) {  // the trainer stops at it
      result_.total = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    std::vector<std::string> names;
    std::vector<Tensor> parameters;
    for (const auto& item : network_.named_parameters()) {
      if (!item.value().requires_grad()) continue;
      names.push_back(item.key());
      parameters.push_back(item.value());
    }
    std::vector<TaskGradient> gradients;
    for (std::size_t t = 0; t < shares.size(); ++t) {
      const bool last = t + 1 == shares.size();
      gradients.push_back(torch::autograd::grad({shares[t].sum * options_.scale}, parameters, /*grad_outputs=*/{},
                                                /*retain_graph=*/!last, /*create_graph=*/false, /*allow_unused=*/true));
      result_.total += shares[t].sum.item<double>();
    }
    std::vector<LayerConflict> layers = measure_conflict(names, gradients);
    const auto tasks = static_cast<Eigen::Index>(shares.size());
    Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(tasks, tasks);
    for (const LayerConflict& layer : layers) gram += layer.gram;
    choose_weights(values(shares), gram);
    const std::vector<bool> shared = shared_parameters(gradients);
    const bool surgery = options_.weighting != nullptr && options_.weighting->needs_gradients();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      for (std::size_t t = 0; t < gradients.size(); ++t) {
        if (!gradients[t][p].defined()) continue;
        // Methods that weigh losses weigh all that a loss moves; surgery is on what tasks share.
        const double w = surgery && !shared[p] ? 1.0 : result_.weights[t];
        Tensor& grad = parameters[p].mutable_grad();
        grad = grad.defined() ? grad.add_(gradients[t][p], w) : gradients[t][p] * w;
      }
    }
    if (options_.conflict) result_.conflict = std::move(layers);
  }

  NetworkImpl& network_;
  const Config& config_;
  const BatchTensors& batch_;
  const StepOptions& options_;
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

StepLosses forward_backward(NetworkImpl& network, const Config& config, const BatchTensors& batch,
                            const StepOptions& options) {
  return Step(network, config, batch, options).run();
}

Eigen::VectorXd weighted_losses(NetworkImpl& network, const Config& config, const BatchTensors& batch, bool amp) {
  const StepOptions options{.amp = amp};
  return Step(network, config, batch, options).losses();
}

}  // namespace m3vit
