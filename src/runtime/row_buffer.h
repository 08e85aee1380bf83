#pragma once
/// Rows of activations in one precision: where they lie, how far apart, and int8's scales behind them.
#include <cstddef>
#include <cstdint>

#include "runtime/kernels/kernels.h"

namespace m3vit {

/// Bytes between rows of n elements: moved apart when rows would otherwise fall on the same cache sets.
constexpr std::size_t row_pitch(std::size_t n, Precision p) {
  const std::size_t bytes = row_bytes(n, p);
  return bytes % 2048 == 0 ? bytes + 64 : bytes;
}

class RowBuffer {
 public:
  /// `base`: bytes(rows, n, p) of them, 64-byte aligned.
  RowBuffer(std::byte* base, std::size_t rows, std::size_t n, Precision p)
      : data_(base),
        pitch_(row_pitch(n, p)),
        n_(n),
        scale_(p == Precision::kInt8 ? reinterpret_cast<float*>(base + aligned(rows * pitch_)) : nullptr) {}

  /// A multiple of 64.
  static constexpr std::size_t bytes(std::size_t rows, std::size_t n, Precision p) {
    return aligned(rows * row_pitch(n, p)) + (p == Precision::kInt8 ? aligned(rows * sizeof(float)) : 0);
  }

  std::size_t pitch() const { return pitch_; }
  template <class T = void>
  T* row(std::size_t r) const {
    return static_cast<T*>(static_cast<void*>(data_ + r * pitch_));
  }
  /// int8: of rows r, r + 1 …; else null.
  float* scale(std::size_t r) const { return scale_ == nullptr ? nullptr : scale_ + r; }
  /// A of a GEMM: rows r, r + 1 …
  RowSource source(std::size_t r = 0) const {
    RowSource a;
    a.base = row(r);
    a.stride = pitch_;
    a.segment_k = n_;
    a.scale = scale(r);
    return a;
  }

 private:
  static constexpr std::size_t aligned(std::size_t n) { return (n + 63) / 64 * 64; }

  std::byte* data_;
  std::size_t pitch_, n_;
  float* scale_;
};

}  // namespace m3vit
