#include "model/weights.h"

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/tensor_check.h"
#include "core/version.h"
#include "model/import.h"

namespace m3vit {
namespace {

bool is_published(const std::string& name, bool with_tam) {
  const std::string_view counter = "num_batches_tracked";  // BN's step counter: unused, as momentum is fixed
  if (name.size() >= counter.size() && name.ends_with(counter)) return false;
  return with_tam || !name.starts_with("tam.");
}

[[noreturn]] void throw_differences(const SafetensorsFile& file, const std::string& wanted,
                                    const std::vector<std::string>& problems) {
  throw Error{{.where = file.where(),
               .field = "tensors",
               .wanted = wanted,
               .found = fmt::format("{} differences:\n  {}", problems.size(), fmt::join(problems, "\n  "))}};
}

torch::Tensor tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.get(name);
  std::vector<float> values = to_f32(view, file.where());
  return torch::from_blob(values.data(), view.shape, torch::kFloat).clone();
}

Config config_of(const SafetensorsFile& file) {
  const auto config = file.metadata().find("config");
  if (config == file.metadata().end()) {
    throw Error{{.where = file.where(),
                 .field = "__metadata__.config",
                 .wanted = "the model's configuration as JSON text",
                 .found = "no such key",
                 .hint = "`m3vit import FILE --config YAML` turns a bare state dict into a model"}};
  }
  return config_from_text(config->second, file.where());
}

/// Routers are numbered by task: `name` of a network of `config` under the number that its task has in `source`. Empty
/// when `source` has no such task's router.
std::string name_in(const Config& source, const Config& config, const std::string& name) {
  constexpr std::string_view kGate = ".mlp.gate.";
  const std::size_t at = name.find(kGate);
  if (at == std::string::npos || !source.model.moe || source.model.moe->gate != Gate::kMulti) return name;
  const std::size_t number = at + kGate.size();
  const std::size_t dot = name.find('.', number);
  if (dot == std::string::npos) return name;
  const auto task = static_cast<std::size_t>(std::stoi(name.substr(number, dot - number)));
  const std::optional<int> there = source.task_index(config.tasks[task].name);
  // With windows of experts a router's columns are its own task's experts.
  if (there && source.model.moe->experts_per_task != 0 && static_cast<std::size_t>(*there) != task) return {};
  return there ? name.substr(0, number) + std::to_string(*there) + name.substr(dot) : std::string();
}

void copy_tensors(NetworkImpl& network, const SafetensorsFile& file) {
  const std::map<std::string, torch::Tensor> targets = named_tensors(network);
  std::vector<std::string> problems;
  for (const auto& [name, target] : targets) {
    const TensorView* source = file.find(name);
    if (source == nullptr) {
      problems.push_back("missing " + name);
    } else if (source->shape != target.sizes().vec()) {
      problems.push_back(
          fmt::format("{} has shape {}, want {}", name, shape_text(source->shape), shape_text(target.sizes().vec())));
    }
  }
  for (const TensorView& t : file.tensors()) {
    if (!targets.contains(t.name)) problems.push_back("unexpected " + t.name);
  }
  if (!problems.empty()) throw_differences(file, "exactly those of its config", problems);
  const torch::NoGradGuard no_grad;
  for (const auto& [name, target] : targets) {
    target.copy_(tensor_of(file, name));
  }
}

}  // namespace

std::map<std::string, torch::Tensor> named_tensors(const NetworkImpl& network, bool with_tam) {
  std::map<std::string, torch::Tensor> result;
  for (const auto& list : {network.named_parameters(), network.named_buffers()}) {
    for (const auto& item : list) {
      if (is_published(item.key(), with_tam)) result.emplace(item.key(), item.value());
    }
  }
  return result;
}

void save_model(const std::filesystem::path& path, const NetworkImpl& network, const Config& config,
                const std::map<std::string, std::string>& extra) {
  std::map<std::string, std::string> metadata = extra;
  metadata["format"] = "pt";
  metadata["m3vit_version"] = kVersion;
  metadata["producer"] = fmt::format("m3vit {}", kVersion);
  metadata["config"] = to_json(config).dump();
  std::vector<torch::Tensor> keep;  // owns what the views point to
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : named_tensors(network)) {
    keep.push_back(tensor.detach().to(torch::kCPU, torch::kFloat).contiguous());
    const torch::Tensor& t = keep.back();
    views.push_back({.name = name,
                     .dtype = Dtype::kF32,
                     .shape = t.sizes().vec(),
                     .bytes = std::as_bytes(std::span(t.data_ptr<float>(), static_cast<std::size_t>(t.numel())))});
  }
  write_safetensors(path, views, metadata);
}

LoadedModel load_model(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  LoadedModel loaded;
  loaded.metadata = file.metadata();
  loaded.config = config_of(file);
  Config inference = loaded.config;
  inference.model.tam = false;  // not stored, not used
  loaded.network = make_network(inference);
  copy_tensors(*loaded.network, file);
  loaded.network->eval();
  return loaded;
}

StartReport start_from(NetworkImpl& network, const Config& config, const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const Config source_config = config_of(file);
  StartReport report;
  std::vector<std::string> problems;
  std::map<std::string, torch::Tensor> values;
  std::set<std::string, std::less<>> used;
  const std::map<std::string, torch::Tensor> targets = named_tensors(network);
  for (const auto& [name, target] : targets) {
    const std::string source_name = name_in(source_config, config, name);
    const TensorView* source = source_name.empty() ? nullptr : file.find(source_name);
    const bool of_a_task = name.starts_with("decoders.") || name.find(".mlp.gate.") != std::string::npos ||
                           name.starts_with("backbone.gate_task_represent.");
    if (source != nullptr) used.insert(source_name);
    if (source != nullptr && source->shape == target.sizes().vec()) {
      values.emplace(name, tensor_of(file, source_name));
    } else if (source != nullptr && name == "backbone.pos_embed" && source->shape.size() == 3 &&
               source->shape[0] == 1 && source->shape[1] == source_config.model.tokens() &&
               source->shape[2] == target.size(2)) {
      values.emplace(name,
                     resize_pos_embed(tensor_of(file, name), config.model.grid_h(), config.model.grid_w(), false));
    } else if (of_a_task) {
      report.fresh.push_back(name);
    } else if (source == nullptr) {
      problems.push_back("missing " + name);
    } else {
      problems.push_back(
          fmt::format("{} has shape {}, want {}", name, shape_text(source->shape), shape_text(target.sizes().vec())));
    }
  }
  for (const TensorView& t : file.tensors()) {
    const bool backbone = t.name.starts_with("backbone.") && t.name.find(".mlp.gate.") == std::string::npos &&
                          !t.name.starts_with("backbone.gate_task_represent.");
    if (backbone && !used.contains(t.name)) problems.push_back("no place for " + t.name);
  }
  if (!problems.empty()) throw_differences(file, "a backbone like the configuration's", problems);
  const torch::NoGradGuard no_grad;
  for (const auto& [name, value] : values) {
    targets.at(name).copy_(value);
  }
  report.loaded = static_cast<int>(values.size());
  return report;
}

}  // namespace m3vit
