#pragma once
/// Bytes on chip, counted from a compiled model, and the device's memories.
#include <cstdint>

#include "accel/compiler/compile.h"

namespace m3vit::accel {

struct ChipBytes {
  std::int64_t weights = 0, params = 0, act = 0, res = 0;
  std::int64_t lists = 0;  ///< of the experts
  std::int64_t fixed = 0;  ///< row buffers, scores, norm parameters, tables: the same for every model
  std::int64_t total() const { return weights + params + act + res + lists + fixed; }
};

/// What a model has in use at most.
ChipBytes chip_bytes(const Footprint& used, const Array& array);
/// The array's own memories.
ChipBytes chip_bytes(const Array& array);

/// Bytes of one layer's experts, weights and parameters, as they lie in the lanes.
std::int64_t layer_bytes(const LoadExpertsOp& load, int num_experts, const Array& array);
/// The model's bytes if all experts of one layer lay on chip at once, in place of the slots.
ChipBytes all_on_chip(const ChipBytes& used, const LoadExpertsOp& load, int num_experts, const Array& array);

/// What an array takes of the device, estimated from its sizes: multipliers of lanes, post units, norm lanes; memories
/// by whole blocks.
struct DeviceShare {
  int dsp = 0, bram36 = 0, uram = 0;
};
DeviceShare device_share(const Array& array);
inline constexpr DeviceShare kXczu7ev{1728, 312, 96};
/// Data bytes of the device's block RAMs and UltraRAMs.
inline constexpr std::int64_t kXczu7evBytes = 312 * 4096 + 96 * 32768;

}  // namespace m3vit::accel
