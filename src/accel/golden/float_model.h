#pragma once
/// The model in float with everything folded that the packed file folds (batch norm, task vector, class token), read
/// from an f32 `.m3v`; and its plain forward pass with a look at every tensor that quantisation needs the range of.
/// Speed is no goal beyond calibrating on a few frames.
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/config.h"
#include "runtime/m3v.h"

namespace m3vit::accel {

struct FLinear {
  int in = 0, out = 0;
  std::vector<float> weight;  ///< [in][out]
  std::vector<float> bias;    ///< [out]
};
struct FNorm {
  std::vector<float> weight, bias;
};
struct FMlp {
  FLinear fc1, fc2;
};
struct FRouter {
  FLinear gate;
  int first = 0;
};
struct FBlock {
  FNorm norm1, norm2;
  FLinear qkv, proj;
  FMlp mlp;                        ///< dense
  std::map<int, FRouter> routers;  ///< MoE: by task
  std::map<int, FMlp> experts;     ///< MoE
};
struct FHead {
  FNorm norm;
  std::vector<FLinear> convs;  ///< in = 9 · C, tap-major, tap = 3·(dy + 1) + dx + 1
  FLinear last;
};

struct FloatModel {
  Config config;
  std::vector<int> tasks;
  FLinear patch;
  std::vector<float> position;  ///< [tokens][D]
  std::vector<FBlock> blocks;
  std::map<int, FHead> heads;

  /// Throws Error when a layer of `file` is not f32 or experts are pruned.
  static FloatModel read(const M3vFile& file);
};

/// What a pass shows. `block` −1: patch embedding or head. Rows are [n][channels].
enum class Probe { kResidual, kNorm1, kQkv, kAttention, kNorm2, kHidden, kHeadNorm, kConv, kOutput };
using Observer = std::function<void(Probe probe, int index, std::span<const float> values, int channels)>;

/// Output of one task before the head's last ×2: [pixels][outputs]. `image` [3, H, W] normalised. `index` of the
/// observer: block, or stage of the head.
std::vector<float> float_forward(const FloatModel& model, int task, std::span<const float> image,
                                 const Observer& observe);

/// Exact GELU.
float gelu(float x);

}  // namespace m3vit::accel
