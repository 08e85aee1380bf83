#pragma once
/// From foreign weights to a network of ours (docs/model.md, "Import").
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "model/network.h"
#include "model/state_dict.h"

namespace m3vit {

struct ImportOptions {
  bool allow_missing = false;     ///< keep initial values for tensors that the file lacks or has in another shape
  bool allow_unexpected = false;  ///< ignore tensors that the network has no place for
  double noise = 0.01;            ///< upcycling: noise on expert weights, share of each tensor's standard deviation
  std::uint64_t seed = 1;         ///< of that noise
};

enum class ImportStatus { kLoaded, kResized, kUpcycled, kInitialised, kIgnored };
std::string_view import_status_name(ImportStatus status);

struct ImportRow {
  ImportStatus status = ImportStatus::kLoaded;
  std::string name;  ///< the network's tensor; the file's for kIgnored
  std::string note;  ///< why, from what
};

struct ImportReport {
  std::vector<ImportRow> rows;
  std::string upcycling;  ///< JSON text for the metadata: blocks, rule, scale, noise, seed; empty when nothing was
};

/// Fills `network` (of `config`) from a timm/DeiT state dict (names without "backbone."), the authors' M³ViT checkpoint
/// or a file of ours. Throws one Error that lists every missing, misshapen and unexpected tensor by name; then the
/// network is unchanged.
ImportReport import_weights(NetworkImpl& network, const Config& config, const StateDict& file,
                            const ImportOptions& options);

/// pos_embed [1, extra + h·w, D] of a square grid (or one of the target's aspect ratio) → [1, 1 + grid_h·grid_w, D],
/// bilinear, align_corners false. extra: a CLS row is kept (zero when there is none), a distillation row dropped.
torch::Tensor resize_pos_embed(const torch::Tensor& pos_embed, int grid_h, int grid_w, bool distilled);

struct ExpertTensors {
  torch::Tensor htoh4_weight, htoh4_bias, h4toh_weight, h4toh_bias;
};
/// Experts from a dense MLP fc1 [H, D], fc2 [D, H]. With h = expert_hidden and W = experts a router sees, expert e
/// takes the hidden units (e mod W)·h … (e mod W)·h + h − 1 modulo H. A zero router gives every expert p = 1/W and,
/// ties going to the lower index, sends all tokens to the first top_k experts, so fc2's slices are multiplied by
/// W·H/(top_k·h) and its bias by W/top_k: where top_k·h = H the fresh MoE layer computes exactly the dense MLP (before
/// noise), elsewhere the scaled share of it.
ExpertTensors upcycle_mlp(const torch::Tensor& fc1_weight, const torch::Tensor& fc1_bias,
                          const torch::Tensor& fc2_weight, const torch::Tensor& fc2_bias, const ModelConfig& config);

}  // namespace m3vit
