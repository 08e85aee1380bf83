#pragma once
/// Between a Network and `.safetensors` with the names of docs/formats.md.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/network.h"

namespace m3vit {

/// All parameters and BN buffers by published name ("backbone.…", "decoders.…"), excluding TAM and counters.
std::map<std::string, torch::Tensor> named_tensors(const NetworkImpl& network, bool with_tam = false);

/// F32 file with metadata format, m3vit_version, producer, config and `extra` (step, metrics …). Atomic.
void save_model(const std::filesystem::path& path, const NetworkImpl& network, const Config& config,
                const std::map<std::string, std::string>& extra);

struct LoadedModel {
  Config config;
  std::shared_ptr<NetworkImpl> network;  ///< eval mode, CPU
  std::map<std::string, std::string> metadata;
};
/// Reads config and tensors; every missing, unexpected or misshapen tensor is listed in one Error.
LoadedModel load_model(const std::filesystem::path& path);

struct StartReport {
  int loaded = 0;                  ///< tensors taken from the file
  std::vector<std::string> fresh;  ///< the network's tensors that keep their initial values
};
/// Starts `network` (of `config`) from another model's weights, for training on other tasks, classes or image sizes.
/// Heads and routers are matched by task name; one that the file lacks or has in another shape keeps its initial
/// values, the position embedding is resized. Any other difference of the backbone is listed in one Error, and nothing
/// has changed then.
StartReport start_from(NetworkImpl& network, const Config& config, const std::filesystem::path& path);

}  // namespace m3vit
