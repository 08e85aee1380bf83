// NEON with the dot products of Armv8.2 (sdot), which an Armv8 CPU may lack. Included by kernels.cpp for HWY_NEON only.
#pragma once
#include <arm_neon.h>
#include <hwy/highway.h>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"
#include "runtime/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

/// As TileInt8, to the same bits: kRows × 8 sums in registers, four products an instruction and lane.
// An attribute of the function, because a pragma does not reach what is made from a template; crypto is in Highway's
// own attributes, and only functions with all of these may inline its.
template <std::size_t kRows>
__attribute__((target("arch=armv8.2-a+dotprod+crypto"))) HWY_NOINLINE void TileDotInt8(
    const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel, float* HWY_RESTRICT tile,
    std::size_t stride) {
  constexpr std::size_t kColumns = 8;
  const std::size_t quads = groups(a.segment_k, Precision::kInt8);
  const TileRows<kRows> from(a, row, valid);
  for (std::size_t segment = 0; segment < a.segments; ++segment) {
    const std::byte* rows[kRows];
    float scales[kRows] = {};
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = from.Pointer(r, segment, 1, &scales[r]);
    for (std::size_t column = 0; column < kPanel; column += kColumns) {
      int32x4_t sums[kRows][2];
      for (std::size_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = vdupq_n_s32(0);
      const auto* HWY_RESTRICT b =
          reinterpret_cast<const std::int8_t*>(panel.lines + segment * quads * kPanelLine) + 4 * column;
      for (std::size_t k = 0; k < quads; ++k, b += kPanelLine) {
        const int8x16_t b0 = vld1q_s8(b);
        const int8x16_t b1 = vld1q_s8(b + 16);
        for (std::size_t r = 0; r < kRows; ++r) {
          // u8 = q + 128 with its highest bit turned over is q as s8.
          const int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(LoadGroup(rows[r] + 4 * k) ^ 0x80808080U));
          sums[r][0] = vdotq_s32(sums[r][0], b0, x);
          sums[r][1] = vdotq_s32(sums[r][1], b1, x);
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t v = 0; v < 2; ++v) {
          float* const to = tile + r * stride + column + 4 * v;
          const float32x4_t before = segment == 0 ? vdupq_n_f32(0.0F) : vld1q_f32(to);
          vst1q_f32(to, vfmaq_n_f32(before, vcvtq_f32_s32(sums[r][v]), scales[r]));
        }
      }
    }
  }
}

/// PortableTiles with the dot products.
struct NeonDotTiles {
  template <Precision kPrecision, std::size_t kRows>
  static void Rows(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel, float* tile,
                   std::size_t stride) {
    if constexpr (kPrecision == Precision::kInt8) {
      TileDotInt8<kRows>(a, row, valid, panel, tile, stride);
    } else {
      PortableTiles::Rows<kPrecision, kRows>(a, row, valid, panel, tile, stride);
    }
  }
  template <Precision kPrecision>
  static void Tile(const RowSource& a, std::size_t row, std::size_t rows, const Panel& panel, float* tile,
                   std::size_t stride) {
    RegisterTiles<NeonDotTiles, kPrecision>(a, row, rows, panel, tile, stride);
  }
};

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
