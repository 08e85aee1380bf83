#include "train/optimizer.h"

#include <cmath>
#include <sstream>
#include <type_traits>

#include "core/error.h"

namespace m3vit {
namespace {

namespace optim = torch::optim;
using torch::Tensor;

/// The key of a parameter's state: the address, printed by libtorch 1.x and plain since 2.1. (1.x prints it with
/// c10::guts::to_string, which 2.2 no longer has.)
template <class Key>
Key state_key(const Tensor& parameter) {
  if constexpr (std::is_same_v<Key, std::string>) {
    std::ostringstream printed;
    printed << parameter.unsafeGetTensorImpl();
    return printed.str();
  } else {
    return parameter.unsafeGetTensorImpl();
  }
}
using StateMap = std::decay_t<decltype(std::declval<optim::Optimizer&>().state())>;
using StateKey = StateMap::key_type;

bool ends_with(const std::string& text, std::string_view tail) {
  return text.size() >= tail.size() && text.compare(text.size() - tail.size(), tail.size(), tail) == 0;
}

Tensor checked(const Tensor& parameter, const Tensor& state, const std::string& name, const std::string& where) {
  if (state.sizes() != parameter.sizes()) {
    std::ostringstream wanted, found;
    wanted << "shape " << parameter.sizes();
    found << state.sizes();
    throw Error{{.where = where, .field = name, .wanted = wanted.str(), .found = found.str()}};
  }
  return state.to(parameter.options()).clone();
}

}  // namespace

bool is_decayed(Optimizer optimizer, const std::string& parameter, const Tensor& value) {
  if (optimizer == Optimizer::kSgd) return true;
  return value.dim() > 1 && !ends_with(parameter, "bias") && !ends_with(parameter, "cls_token") &&
         !ends_with(parameter, "pos_embed");
}

std::unique_ptr<optim::Optimizer> make_optimizer(const torch::nn::Module& network, const TrainConfig& config) {
  std::vector<Tensor> decayed, plain;
  for (const auto& item : network.named_parameters()) {
    (is_decayed(config.optimizer, item.key(), item.value()) ? decayed : plain).push_back(item.value());
  }
  const auto build = [&]<class Options, class Kind>(Options options, std::type_identity<Kind>) {
    std::vector<optim::OptimizerParamGroup> groups;
    groups.emplace_back(decayed, std::make_unique<Options>(options.weight_decay(config.weight_decay)));
    if (!plain.empty()) groups.emplace_back(plain, std::make_unique<Options>(options.weight_decay(0)));
    return std::make_unique<Kind>(groups, options);
  };
  if (config.optimizer == Optimizer::kSgd) {
    return build(optim::SGDOptions(config.lr).momentum(config.momentum), std::type_identity<optim::SGD>{});
  }
  return build(optim::AdamWOptions(config.lr).betas({config.momentum, config.beta2}),
               std::type_identity<optim::AdamW>{});
}

void set_learning_rate(optim::Optimizer& optimizer, double lr) {
  for (optim::OptimizerParamGroup& group : optimizer.param_groups()) group.options().set_lr(lr);
}

double gradient_norm(const torch::nn::Module& network) {
  std::vector<Tensor> norms;
  for (const Tensor& p : network.parameters()) {
    if (p.grad().defined()) norms.push_back(p.grad().norm());
  }
  return norms.empty() ? 0.0 : torch::stack(norms).norm().item<double>();
}

void scale_gradients(const torch::nn::Module& network, double factor) {
  for (const Tensor& p : network.parameters()) {
    if (p.grad().defined()) p.grad().mul_(factor);
  }
}

std::map<std::string, Tensor> optimizer_state(const torch::nn::Module& network, const optim::Optimizer& optimizer) {
  std::map<std::string, Tensor> result;
  const auto& states = optimizer.state();
  for (const auto& item : network.named_parameters()) {
    const auto found = states.find(state_key<StateKey>(item.value()));
    if (found == states.end()) continue;
    if (const auto* sgd = dynamic_cast<const optim::SGDParamState*>(found->second.get())) {
      if (sgd->momentum_buffer().defined()) result[item.key() + "/momentum"] = sgd->momentum_buffer();
    } else if (const auto* adamw = dynamic_cast<const optim::AdamWParamState*>(found->second.get())) {
      result[item.key() + "/exp_avg"] = adamw->exp_avg();
      result[item.key() + "/exp_avg_sq"] = adamw->exp_avg_sq();
      result[item.key() + "/step"] = torch::tensor({adamw->step()}, torch::kLong);
    }
  }
  return result;
}

void load_optimizer_state(const torch::nn::Module& network, optim::Optimizer& optimizer,
                          const std::map<std::string, Tensor>& state, const std::string& where) {
  auto& states = optimizer.state();
  states.clear();
  for (const auto& item : network.named_parameters()) {
    const auto get = [&](const char* part) -> const Tensor* {
      const auto found = state.find(item.key() + part);
      return found == state.end() ? nullptr : &found->second;
    };
    const auto key = state_key<StateKey>(item.value());
    if (const Tensor* momentum = get("/momentum")) {
      auto s = std::make_unique<optim::SGDParamState>();
      s->momentum_buffer(checked(item.value(), *momentum, item.key() + "/momentum", where));
      states[key] = std::move(s);
    }
    const Tensor* first = get("/exp_avg");
    const Tensor* second = get("/exp_avg_sq");
    const Tensor* step = get("/step");
    if (first != nullptr && second != nullptr && step != nullptr && step->numel() == 1) {
      auto s = std::make_unique<optim::AdamWParamState>();
      s->exp_avg(checked(item.value(), *first, item.key() + "/exp_avg", where));
      s->exp_avg_sq(checked(item.value(), *second, item.key() + "/exp_avg_sq", where));
      s->step(step->item<std::int64_t>());
      states[key] = std::move(s);
    }
  }
}

}  // namespace m3vit
