// Attention of attention-inl.h in AVX-512 BF16: the same online softmax, with the queries of a tile packed, the running
// sums rescaled on their way through the registers, and exp in eight instructions. Included by kernels.cpp for HWY_AVX3
// only.
#pragma once
#include <hwy/highway.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/kernels/attention-inl.h"
#include "runtime/kernels/avx512-inl.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/tile-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512bf16")
namespace m3vit::HWY_NAMESPACE {

/// 2^x for x ≤ 0, within 5e-6 of itself (a bf16 is within 4e-3): a polynomial of degree 4 through 2^x at the Chebyshev
/// nodes of [0, 1], for x's fraction.
HWY_INLINE __m512 Exp2(__m512 x) {
  const __m512 fraction = _mm512_reduce_ps(x, 1);  // x − floor(x)
  __m512 p = _mm512_set1_ps(0.0136703095F);
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(0.0517449978F));
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(0.241604357F));
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(0.692972922F));
  p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(1.00000349F));
  return _mm512_scalef_ps(p, x);
}

/// Far below any score, and far from overflow when scaled.
inline constexpr float kNoScore = -1e30F;

/// scores[12][kKeyBlock] + 32 · panel = the tile's queries, [pairs][12], · one panel of keys.
HWY_INLINE void ScorePanel(const std::uint32_t* HWY_RESTRICT queries, std::size_t pairs,
                           const std::byte* HWY_RESTRICT keys, float* HWY_RESTRICT scores) {
  __m512 sums[kTileRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm512_setzero_ps();
  for (std::size_t k = 0; k < pairs; ++k, keys += kPanelLine, queries += kTileRows) {
    const __m512i b0 = _mm512_load_si512(keys);
    const __m512i b1 = _mm512_load_si512(keys + 64);
    for (std::size_t r = 0; r < kTileRows; ++r) {
      PairDots::AddRow(sums[r][0], sums[r][1], reinterpret_cast<const std::byte*>(queries + r), b0, b1);
    }
  }
  for (std::size_t r = 0; r < kTileRows; ++r) {
    _mm512_store_ps(scores + r * kKeyBlock, sums[r][0]);
    _mm512_store_ps(scores + r * kKeyBlock + 16, sums[r][1]);
  }
}

/// out[12][width] = out · keep + probabilities · one panel of values. Probabilities: bf16 at the start of each row of
/// scores.
HWY_INLINE void ValuePanel(const float* HWY_RESTRICT scores, std::size_t pairs, const std::byte* HWY_RESTRICT values,
                           const float* HWY_RESTRICT keep, float* HWY_RESTRICT out, std::size_t width) {
  __m512 sums[kTileRows][2];
  for (std::size_t r = 0; r < kTileRows; ++r) {
    const __m512 factor = _mm512_set1_ps(keep[r]);
    sums[r][0] = _mm512_mul_ps(factor, _mm512_loadu_ps(out + r * width));
    sums[r][1] = _mm512_mul_ps(factor, _mm512_loadu_ps(out + r * width + 16));
  }
  const auto* HWY_RESTRICT p = reinterpret_cast<const std::byte*>(scores);
  for (std::size_t k = 0; k < pairs; ++k, values += kPanelLine, p += 4) {
    const __m512i b0 = _mm512_load_si512(values);
    const __m512i b1 = _mm512_load_si512(values + 64);
    for (std::size_t r = 0; r < kTileRows; ++r) {
      PairDots::AddRow(sums[r][0], sums[r][1], p + r * kKeyBlock * sizeof(float), b0, b1);
    }
  }
  for (std::size_t r = 0; r < kTileRows; ++r) {
    _mm512_storeu_ps(out + r * width, sums[r][0]);
    _mm512_storeu_ps(out + r * width + 16, sums[r][1]);
  }
}

/// Row of scores → probabilities relative to 2^-(largest · scale), in place as bf16; returns their sum. `vectors`: 32
/// scores each.
HWY_INLINE float Probabilities(float* HWY_RESTRICT row, std::size_t vectors, float scale, float largest) {
  const __m512 factor = _mm512_set1_ps(scale);
  const __m512 shift = _mm512_set1_ps(-largest * scale);
  __m512 sum0 = _mm512_setzero_ps();
  __m512 sum1 = _mm512_setzero_ps();
  for (std::size_t v = 0; v < vectors; ++v) {
    const __m512 p0 = Exp2(_mm512_fmadd_ps(_mm512_load_ps(row + 32 * v), factor, shift));
    const __m512 p1 = Exp2(_mm512_fmadd_ps(_mm512_load_ps(row + 32 * v + 16), factor, shift));
    sum0 = _mm512_add_ps(sum0, p0);
    sum1 = _mm512_add_ps(sum1, p1);
    _mm512_store_si512(row + 16 * v, (__m512i)_mm512_cvtne2ps_pbh(p1, p0));
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
}

inline void AttentionTileDotBf16(const Attention& a, std::size_t head, std::size_t query, std::size_t rows,
                                 float* scratch) {
  const std::size_t width = panels(a.head_dim) * kPanel;
  const std::size_t pairs = groups(a.head_dim, Precision::kBf16);
  float* scores = scratch;                                                     // [12][kKeyBlock]
  float* sums = scratch + kTileRows * kKeyBlock;                               // [12][width]
  auto* queries = reinterpret_cast<std::uint32_t*>(sums + kTileRows * width);  // [pairs][12]
  const std::byte* keys = static_cast<const std::byte*>(a.keys) + head * a.key_bytes();
  const std::byte* values = static_cast<const std::byte*>(a.values) + head * a.value_bytes();
  const std::size_t key_panel = pairs * kPanelLine;
  const std::size_t value_panel = groups(a.tokens, Precision::kBf16) * kPanelLine;
  const auto scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(a.head_dim)));

  std::fill_n(queries, pairs * kTileRows, 0U);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::byte* const q = static_cast<const std::byte*>(a.qkv) + (query + r) * a.stride + head * a.head_dim * 2;
    for (std::size_t k = 0; k < a.head_dim / 2; ++k) queries[k * kTileRows + r] = LoadGroup(q + 4 * k);
    if (a.head_dim % 2 != 0) std::memcpy(&queries[(pairs - 1) * kTileRows + r], q + (a.head_dim - 1) * 2, 2);
  }
  alignas(64) float most[16];
  alignas(64) float total[16] = {};
  alignas(64) float keep[16];
  std::fill_n(most, 16, kNoScore);
  std::fill_n(sums, kTileRows * width, 0.0F);
  for (std::size_t begin = 0; begin < a.tokens; begin += kKeyBlock) {
    const std::size_t block = std::min(kKeyBlock, a.tokens - begin);
    const std::size_t whole = panels(block);
    for (std::size_t panel = 0; panel < whole; ++panel) {
      ScorePanel(queries, pairs, keys + (begin / kPanel + panel) * key_panel, scores + panel * kPanel);
    }
    const __m512 before = _mm512_load_ps(most);
    for (std::size_t r = 0; r < kTileRows; ++r) {
      float* row = scores + r * kKeyBlock;
      std::fill(row + block, row + whole * kPanel, kNoScore);
      __m512 largest = _mm512_set1_ps(most[r]);
      for (std::size_t v = 0; v < 2 * whole; ++v) largest = _mm512_max_ps(largest, _mm512_load_ps(row + 16 * v));
      most[r] = _mm512_reduce_max_ps(largest);
    }
    const __m512 change = _mm512_sub_ps(before, _mm512_load_ps(most));
    _mm512_store_ps(keep, Exp2(_mm512_mul_ps(change, _mm512_set1_ps(scale))));  // 0 in the first block
    for (std::size_t r = 0; r < kTileRows; ++r) {
      total[r] = total[r] * keep[r] + Probabilities(scores + r * kKeyBlock, whole, scale, most[r]);
    }
    for (std::size_t panel = 0; panel < panels(a.head_dim); ++panel) {
      ValuePanel(scores, groups(block, Precision::kBf16),
                 values + panel * value_panel + groups(begin, Precision::kBf16) * kPanelLine, keep,
                 sums + panel * kPanel, width);
    }
  }
  for (std::size_t r = 0; r < rows; ++r) {
    auto* line = reinterpret_cast<std::uint16_t*>(static_cast<std::byte*>(a.out) + (query + r) * a.out_stride);
    std::uint16_t* out = line + head * a.head_dim;
    const __m512 inverse = _mm512_set1_ps(1.0F / total[r]);
    for (std::size_t i = 0; i < a.head_dim; i += 32) {
      const std::size_t columns = std::min<std::size_t>(32, a.head_dim - i);
      const auto mask = static_cast<__mmask32>((std::uint64_t{1} << columns) - 1);
      const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(sums + r * width + i), inverse);
      const __m512 high = _mm512_mul_ps(_mm512_loadu_ps(sums + r * width + i + 16), inverse);
      _mm512_mask_storeu_epi16(out + i, mask, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    if (head + 1 == a.heads && a.heads * a.head_dim % 2 != 0) line[a.heads * a.head_dim] = 0;
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

/// AttentionRows with the tile above in bf16.
template <class Tiles>
void AttentionRowsDotBf16(const Attention& a, std::size_t head, std::size_t begin, std::size_t end, float* scratch) {
  if (a.precision == Precision::kF32) return AttentionRows<Tiles>(a, head, begin, end, scratch);
  assert(a.precision == Precision::kBf16);
  for (std::size_t query = begin; query < end; query += kTileRows) {
    AttentionTileDotBf16(a, head, query, std::min(kTileRows, end - query), scratch);
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
