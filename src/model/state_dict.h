#pragma once
/// Reads someone else's weights: `.safetensors`, or a `.pth`/`.pt` of torch.save (zip archive, or the format before
/// torch 1.6), told apart by content. A `.pth` may hold the state dict itself or under "model", "state_dict",
/// "model_state_dict" or "module". No code in the file is run (model/pickle.h).
#include <torch/torch.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace m3vit {

struct StateDict {
  std::string where;                                           ///< the file
  std::string format;                                          ///< "safetensors", "torch zip" or "torch legacy"
  std::vector<std::pair<std::string, torch::Tensor>> tensors;  ///< in file order; floating types become f32, on the CPU
};

/// Throws Error naming the file and what is wrong with it.
StateDict read_state_dict(const std::filesystem::path& path);

}  // namespace m3vit
