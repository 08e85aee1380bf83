#pragma once
/// Between a Network and `.safetensors` with the names of docs/formats.md.
#include <filesystem>
#include <map>
#include <memory>
#include <string>

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

/// Copies tensors into an existing network; the same strictness.
void load_weights(NetworkImpl& network, const std::filesystem::path& path);

}  // namespace m3vit
