#pragma once
/// Where checkpoints meet the runtime: reading a `.safetensors` for packing, and opening either kind of model file.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/safetensors.h"
#include "m3vit/m3vit.hpp"
#include "runtime/pack.h"

namespace m3vit::cli {

/// --schedule's words.
extern const std::map<std::string, MoeSchedule> kMoeSchedules;

struct Checkpoint {
  SafetensorsFile file;
  Config config;
  std::string producer;

  /// Values by name, converted to float.
  TensorSource source() const;
};

/// Throws Error when the metadata has no config, and one Error that lists every missing, unexpected or misshapen
/// tensor. Training-only tensors ("tam.…") and BN's step counters are passed over.
Checkpoint open_checkpoint(const std::filesystem::path& path);

/// By the file's first bytes, or its name where it is shorter than those.
bool is_m3v(const std::filesystem::path& path);
/// A `.m3v` as it is; a `.safetensors` packed in memory. The file's first bytes decide, not its name.
Model open_runtime_model(const std::filesystem::path& path, const std::vector<std::string>& tasks);

}  // namespace m3vit::cli
