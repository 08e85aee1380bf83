#pragma once
/// The model room's libtorch network as a rival of the runtime.
#include <memory>
#include <vector>

#include "core/config.h"
#include "runtime/pack.h"

namespace m3vit::cli {

class TorchRival {
 public:
  virtual ~TorchRival() = default;
  /// One task of one frame: its raw output [C, H, W] in f32.
  virtual const std::vector<float>& run() = 0;
};

/// `config`'s network with the weights of `source`, in eval mode without gradients; `bf16`: its autocast.
/// `planes`: the normalised picture [3, H, W].
std::shared_ptr<TorchRival> torch_rival(const Config& config, const TensorSource& source, int task, bool bf16,
                                        int threads, std::vector<float> planes);

}  // namespace m3vit::cli
