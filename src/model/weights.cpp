#include "model/weights.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/tensor_check.h"
#include "core/version.h"

namespace m3vit {
namespace {

bool is_published(const std::string& name, bool with_tam) {
  const std::string_view counter = "num_batches_tracked";  // BN's step counter: unused, as momentum is fixed
  if (name.size() >= counter.size() && name.ends_with(counter)) return false;
  return with_tam || !name.starts_with("tam.");
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
  if (!problems.empty()) {
    throw Error{{.where = file.where(),
                 .field = "tensors",
                 .wanted = "exactly those of its config",
                 .found = fmt::format("{} differences:\n  {}", problems.size(), fmt::join(problems, "\n  "))}};
  }
  const torch::NoGradGuard no_grad;
  for (const auto& [name, target] : targets) {
    std::vector<float> values = to_f32(file.get(name), file.where());
    torch::Tensor destination = target;
    destination.copy_(torch::from_blob(values.data(), target.sizes(), torch::kFloat));
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
  const auto config = loaded.metadata.find("config");
  if (config == loaded.metadata.end()) {
    throw Error{{.where = file.where(),
                 .field = "__metadata__.config",
                 .wanted = "the model's configuration as JSON text",
                 .found = "no such key",
                 .hint = "`m3vit import FILE --config YAML` turns a bare state dict into a model"}};
  }
  loaded.config = config_from_text(config->second, file.where());
  Config inference = loaded.config;
  inference.model.tam = false;  // not stored, not used
  loaded.network = make_network(inference);
  copy_tensors(*loaded.network, file);
  loaded.network->eval();
  return loaded;
}

void load_weights(NetworkImpl& network, const std::filesystem::path& path) {
  copy_tensors(network, SafetensorsFile::open(path));
}

}  // namespace m3vit
