#pragma once
/// What the head's kernels take: how lines of products become pixels, and pixels lines of planes (head_run.cpp).
#include <cstddef>
#include <cstdint>

#include "runtime/precision.h"

namespace m3vit {

/// Products of a plain convolution, [panels][width][32] f32 → max(sum + bias, 0) as f32 or bf16 pixels.
struct ConvTail {
  const float* sums = nullptr;
  int width = 0;
  const float* bias = nullptr;  ///< whole panels
  bool bf16 = false;
  void* to = nullptr;      ///< pixel 0; whole panels are written
  std::size_t stride = 0;  ///< bytes between pixels
};

/// Lines of products of the commuted form (head_run.cpp), each [panels][even 0 … width, odd 0 … width + 3][32] f32 →
/// two lines of max(y + bias, 0): low-resolution column j gives pixels 2 · j and 2 · j + 1 of each.
struct CommutedTail {
  const float *before_even = nullptr, *before_odd = nullptr;
  const float *even = nullptr, *odd = nullptr, *after_even = nullptr;
  const float *first = nullptr, *last = nullptr;  ///< at the map's first and last line; else null
  int width = 0;
  const float* bias = nullptr;  ///< whole panels
  bool bf16 = false;
  void *upper = nullptr, *lower = nullptr;  ///< pixel 0 of the two lines; whole panels are written
  std::size_t stride = 0;
};

/// One line of a bilinear ×2: between lines a and b, `fraction` being b's weight; columns [begin, end) as f32 pixels.
struct UpsampleRow {
  Precision precision{};  ///< of a and b
  const void *a = nullptr, *b = nullptr;
  const float *a_scale = nullptr, *b_scale = nullptr;  ///< int8
  float fraction = 0.0F;
  std::size_t stride = 0;
  int width = 0;             ///< of a and b
  std::size_t channels = 0;  ///< whole panels
  float* to = nullptr;       ///< pixel `begin`
  std::size_t to_stride = 0;
};

}  // namespace m3vit
