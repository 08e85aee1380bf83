#include "train/checkpoint.h"

#include <cstring>
#include <set>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/version.h"
#include "train/optimizer.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

constexpr const char* kFormat = "m3vit-train-state-1";

Dtype stored_dtype(const Tensor& t) {
  switch (t.scalar_type()) {
    case torch::kFloat:
      return Dtype::kF32;
    case torch::kDouble:
      return Dtype::kF64;
    case torch::kLong:
      return Dtype::kI64;
    default:
      TORCH_CHECK(false, "training state holds float, double and int64 tensors, got ", t.scalar_type());
  }
}

torch::ScalarType torch_dtype(const TensorView& view, const std::string& where) {
  switch (view.dtype) {
    case Dtype::kF32:
      return torch::kFloat;
    case Dtype::kF64:
      return torch::kDouble;
    case Dtype::kI64:
      return torch::kLong;
    default:
      throw Error{{.where = where,
                   .field = view.name,
                   .wanted = "F32, F64 or I64",
                   .found = std::string(dtype_name(view.dtype))}};
  }
}

/// Entries below a prefix such as "ema/", the prefix cut off.
std::map<std::string, Tensor> below(const std::map<std::string, Tensor>& all, const std::string& prefix) {
  std::map<std::string, Tensor> result;
  for (auto it = all.lower_bound(prefix); it != all.end() && it->first.starts_with(prefix); ++it) {
    result[it->first.substr(prefix.size())] = it->second;
  }
  return result;
}

void flatten(const nlohmann::json& value, const std::string& key, std::map<std::string, std::string>& out) {
  if (value.is_object()) {
    for (const auto& [k, v] : value.items()) flatten(v, key.empty() ? k : key + "." + k, out);
  } else if (value.is_array() && !value.empty() && value.front().is_object()) {
    for (std::size_t i = 0; i < value.size(); ++i) flatten(value[i], key + "." + std::to_string(i), out);
  } else {
    out[key] = value.dump();
  }
}

}  // namespace

void save_train_state(const fs::path& path, const torch::nn::Module& network, const torch::optim::Optimizer& optimizer,
                      const Ema* ema, const Config& config, const nlohmann::json& progress) {
  std::map<std::string, Tensor> tensors;
  const auto add = [&](const std::string& name, const Tensor& t) {
    tensors[name] = t.detach().to(torch::kCPU).contiguous();
  };
  for (const auto& item : network.named_parameters()) add("param/" + item.key(), item.value());
  for (const auto& item : network.named_buffers()) add("buffer/" + item.key(), item.value());
  for (const auto& [name, t] : optimizer_state(network, optimizer)) add("optim/" + name, t);
  if (ema != nullptr) {
    for (const auto& [name, t] : ema->averages()) add("ema/" + name, t);
  }
  std::vector<TensorView> views;
  for (const auto& [name, t] : tensors) {
    views.push_back({name,
                     stored_dtype(t),
                     t.sizes().vec(),
                     {static_cast<const std::byte*>(t.data_ptr()), static_cast<std::size_t>(t.nbytes())}});
  }
  write_safetensors(path, views,
                    {{"format", kFormat},
                     {"m3vit_version", std::string(kVersion)},
                     {"config", to_json(config).dump()},
                     {"progress", progress.dump()}});
}

TrainState load_train_state(const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto& metadata = file.metadata();
  const auto text = [&](const char* key) {
    const auto it = metadata.find(key);
    return it == metadata.end() ? std::string() : it->second;
  };
  if (text("format") != kFormat) {
    throw Error{{.where = path.string(), .field = "format", .wanted = kFormat, .found = text("format")}};
  }
  TrainState state;
  state.where = path.string();
  const auto parse = [&](const char* key) {
    nlohmann::json value = nlohmann::json::parse(text(key), nullptr, /*allow_exceptions=*/false);
    if (!value.is_object()) {
      throw Error{{.where = path.string(), .field = key, .wanted = "a JSON object", .found = "something else"}};
    }
    return value;
  };
  state.config = parse("config");
  state.progress = parse("progress");
  for (const TensorView& view : file.tensors()) {
    Tensor t = torch::empty(view.shape, torch_dtype(view, state.where));
    if (!view.bytes.empty()) std::memcpy(t.data_ptr(), view.bytes.data(), view.bytes.size());
    state.tensors[view.name] = t;
  }
  return state;
}

void restore(const TrainState& state, torch::nn::Module& network, torch::optim::Optimizer& optimizer, Ema* ema) {
  const torch::NoGradGuard no_grad;
  const auto copy = [&](const std::string& name, const Tensor& target) {
    const auto found = state.tensors.find(name);
    if (found == state.tensors.end() || found->second.sizes() != target.sizes()) {
      throw Error{{.where = state.where,
                   .field = name,
                   .wanted = "a tensor of this network's shape",
                   .found = found == state.tensors.end() ? "none" : "another shape"}};
    }
    target.copy_(found->second);
  };
  for (const auto& item : network.named_parameters()) copy("param/" + item.key(), item.value().detach());
  for (const auto& item : network.named_buffers()) copy("buffer/" + item.key(), item.value().detach());
  load_optimizer_state(network, optimizer, below(state.tensors, "optim/"), state.where);
  if (ema != nullptr) ema->load(below(state.tensors, "ema/"), state.where);
}

std::vector<std::string> check_resumable(const nlohmann::json& saved, const nlohmann::json& now,
                                         const std::string& where) {
  static const std::set<std::string> kSilent{"train.eval_every", "train.save_every", "train.init", "data.workers",
                                             "data.prefetch"};
  static const std::map<std::string, std::string> kWarned{{"train.epochs", "the learning-rate schedule changes"},
                                                          {"train.threads", "bits may differ from an undisturbed run"},
                                                          {"train.device", "bits may differ from an undisturbed run"}};
  std::map<std::string, std::string> before, after;
  flatten(saved, "", before);
  flatten(now, "", after);
  std::set<std::string> keys;
  for (const auto& [k, v] : before) keys.insert(k);
  for (const auto& [k, v] : after) keys.insert(k);
  std::vector<std::string> warnings;
  for (const std::string& key : keys) {
    const std::string old_value = before.contains(key) ? before[key] : "none";
    const std::string new_value = after.contains(key) ? after[key] : "none";
    if (old_value == new_value || kSilent.contains(key) || key.starts_with("eval.") || key.starts_with("data.test.")) {
      continue;
    }
    if (const auto it = kWarned.find(key); it != kWarned.end()) {
      warnings.push_back(key + " was " + old_value + ", is now " + new_value + ": " + it->second);
      continue;
    }
    throw Error{{.where = where,
                 .field = key,
                 .wanted = old_value + " as this run was started",
                 .found = new_value,
                 .hint = "train into another --out, or --overwrite to start again"}};
  }
  return warnings;
}

}  // namespace m3vit
