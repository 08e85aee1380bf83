#pragma once
/// M³ViT put together from oneDNN primitives, as somebody would who knows that library well: weights reordered once,
/// GELU, ReLU and residuals as post-ops, batch normalisation folded, each expert a dense product over gathered tokens.
/// f32 leaves the head's algorithm to oneDNN, or asks for Winograd where it has one. bf16 keeps the residual stream in
/// f32. int8 has s8 weights with a scale a channel and static activation scales a tensor, calibrated on the picture
/// itself; attention and patches are bf16 there.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "runtime/pack.h"

namespace m3vit {

enum class PeerType { kF32, kBf16, kInt8 };

class OneDnnNetwork {
 public:
  /// Largest magnitude of each quantised activation, by name.
  using Ranges = std::map<std::string, float>;

  /// `ranges`: of an f32 network's run; used by kInt8. `winograd`: of kF32.
  OneDnnNetwork(const Config& config, const TensorSource& source, int task, PeerType type, const Ranges& ranges = {},
                bool winograd = false);
  ~OneDnnNetwork();
  OneDnnNetwork(const OneDnnNetwork&) = delete;
  OneDnnNetwork& operator=(const OneDnnNetwork&) = delete;

  /// Both parts of one frame of normalised planes [3, H, W]; the head's raw output [C, H, W].
  void backbone(const std::vector<float>& planes);
  const std::vector<float>& head();
  /// Of the runs so far, kF32 only.
  const Ranges& ranges() const;
  /// Implementations of the head's convolutions.
  std::string head_implementations() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace m3vit
