#include <array>

#include "core/config.h"
#include "core/config_codec.h"

namespace m3vit {
namespace {

struct Preset {
  std::string_view name;
  int height, width, patch_size;
  int embed_dim, depth, num_heads;
  int num_experts, top_k, expert_hidden;  ///< expert_hidden 0: embed_dim
  int head_channels, head_stages;
};

/// tiny, small, base: DeiT's sizes, 512×512 input and the paper's 16 experts, top 4 (docs/model.md).
/// micro: trains on two CPU cores within minutes.
constexpr std::array<Preset, 4> kPresets{{
    {"micro", 96, 128, 8, 96, 6, 3, 8, 2, 192, 48, 3},
    {"tiny", 512, 512, 16, 192, 12, 3, 16, 4, 0, 256, 4},
    {"small", 512, 512, 16, 384, 12, 6, 16, 4, 0, 256, 4},
    {"base", 512, 512, 16, 768, 12, 12, 16, 4, 0, 256, 4},
}};

}  // namespace

bool apply_preset(std::string_view name, ModelConfig& model) {
  for (const Preset& p : kPresets) {
    if (p.name != name) continue;
    model.preset = name;
    model.image_size = {p.height, p.width};
    model.patch_size = p.patch_size;
    model.embed_dim = p.embed_dim;
    model.depth = p.depth;
    model.num_heads = p.num_heads;
    model.moe = MoeConfig{};
    model.moe->num_experts = p.num_experts;
    model.moe->top_k = p.top_k;
    model.moe->expert_hidden = p.expert_hidden;
    model.head.channels = p.head_channels;
    model.head.stages = p.head_stages;
    return true;
  }
  return false;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  names.reserve(std::size(kPresets));
  for (const Preset& p : kPresets) names.emplace_back(p.name);
  return names;
}

}  // namespace m3vit
