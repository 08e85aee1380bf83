#pragma once
/// Sizes of one build of the accelerator (docs/accelerator.md §1).
#include <cstdint>

namespace m3vit::accel {

struct Array {
  int width = 32;  ///< W: lanes, and elements of a dot product; 8, 16, 32
  int weight_words = 512;
  int param_words = 128;
  int act_words = 32768;
  int res_words = 16384;
  int row_words = 256;
  int key_words = 64;
  int norm_words = 64;
  int max_experts = 1024;
  int max_top_k = 8;
  int list_entries = 8192;

  static constexpr int kRows = 2;        ///< T: rows that share a weight
  static constexpr int kMostSlots = 32;  ///< expert tiles that the cached order can look up
  static constexpr int kBeatBytes = 64;  ///< of the DDR port
  constexpr int words(int channels) const { return (channels + width - 1) / width; }
  bool operator==(const Array&) const = default;
};

/// The shipped point: 2048 MAC/cycle.
inline constexpr Array kZcu104{};

}  // namespace m3vit::accel
