#pragma once
/// The whole model in the accelerator's integers, one frame of one task, written for reading beside
/// docs/accelerator.md. It knows nothing of memories, words or micro-ops: machine and RTL must agree with it.
#include <cstdint>
#include <span>
#include <vector>

#include "accel/golden/quant_model.h"

namespace m3vit::accel {

/// One token's choice of one expert.
struct Entry {
  int token = 0, expert = 0;  ///< expert: index in the layer
  std::uint16_t gate = 0;
  bool operator==(const Entry&) const = default;
};

/// In order of token and rank.
using Entries = std::vector<Entry>;

enum class ExpertOrder { kExpert, kToken };

struct GoldenFrame {
  int height = 0, width = 0, outputs = 0;  ///< of the map before the head's last ×2
  std::vector<std::int16_t> output;        ///< [height · width][outputs]
  std::vector<std::int16_t> residual;      ///< [tokens][D] after the last block
  std::vector<Entries> routing;            ///< of each MoE block
  std::uint64_t clamped = 0;               ///< residual adds; while 0, both orders of experts give the same bits
};

/// `pixels` as from input_rows. `task` is one of model.tasks.
GoldenFrame golden_run(const QuantModel& model, int task, std::span<const std::int8_t> pixels,
                       ExpertOrder order = ExpertOrder::kExpert);

/// One token's routing: entries of the chosen experts that pass `prune`, in rank order.
Entries route(std::span<const std::int32_t> logits, int top_k, const QRouter& router, const GateTable& table,
              int token);

/// One MoE layer: routes every row of `rows` [tokens][D] and adds the experts' gated outputs into `x` [tokens][D].
/// Returns the entries; counts clamped adds.
Entries golden_moe(const QBlock& block, const QRouter& router, int top_k, const GateTable& table,
                   std::span<const std::int8_t> rows, std::span<std::int16_t> x, ExpertOrder order,
                   std::uint64_t& clamped);

/// Softmax numerators of one row of scores, and their sum.
std::uint32_t softmax_row(std::span<const std::int16_t> scores, std::span<std::uint8_t> p);

/// Normalised planes [3, H, W] → one row a patch, [patches][3 · p²]: 8-bit pixels − 128.
std::vector<std::int8_t> input_rows(const ModelConfig& model, std::span<const float> image);
/// A frame's output in float [outputs, H, W] at image size: scale, ×2, resize, as the runtime ends a head.
std::vector<float> output_planes(const QuantModel& model, int task, const GoldenFrame& frame);

}  // namespace m3vit::accel
