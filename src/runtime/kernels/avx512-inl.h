// AVX-512 with its dot products: BF16 (vdpbf16ps) and VNNI (vpdpbusd). Included by kernels.cpp for HWY_AVX3 only; a CPU
// with AVX-512 but without these takes the portable tiles.
#pragma once
#include <hwy/highway.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/kernels/attention-inl.h"
#include "runtime/kernels/gemm-inl.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"
#include "runtime/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

// The dot products are written by hand: g++ 12 keeps the sums of _mm512_dpbusd_epi32 in memory, and clang 16 recurses
// without end over _mm512_dpbf16_ps of a broadcast (its VectorCombine pass). Both products of a row are one statement,
// because g++ 12 copies sums about between two.

/// Four products of bytes, unsigned and signed, an instruction and lane.
struct ByteDots {
  /// Adds the group at `a` times the lines b0 and b1.
  HWY_INLINE static void AddRow(__m512i& sum0, __m512i& sum1, const std::byte* a, __m512i b0, __m512i b1) {
    __m512i x;
    asm("vpbroadcastd %3, %2\n\tvpdpbusd %4, %2, %0\n\tvpdpbusd %5, %2, %1"
        : "+v"(sum0), "+v"(sum1), "=&v"(x)
        : "m"(*reinterpret_cast<const std::byte(*)[4]>(a)), "v"(b0), "v"(b1));
  }
};

/// Two products of bf16.
struct PairDots {
  HWY_INLINE static void AddRow(__m512& sum0, __m512& sum1, const std::byte* a, __m512i b0, __m512i b1) {
    __m512i x;
    asm("vpbroadcastd %3, %2\n\tvdpbf16ps %4, %2, %0\n\tvdpbf16ps %5, %2, %1"
        : "+v"(sum0), "+v"(sum1), "=&v"(x)
        : "m"(*reinterpret_cast<const std::byte(*)[4]>(a)), "v"(b0), "v"(b1));
  }
};

/// Adds `count` groups of each row times as many lines of the panel to its 32 sums; returns where the lines end. Rows
/// are a pack here and in the tiles, not a loop, because g++ 12 would keep an array that loops index in memory.
template <class Dots, class Sum, std::size_t... kR>
HWY_INLINE const std::byte* AddLines(const std::byte* const (&rows)[sizeof...(kR)], std::size_t count,
                                     const std::byte* HWY_RESTRICT b, Sum (&sums)[sizeof...(kR)][2],
                                     std::index_sequence<kR...> /*rows*/) {
  // No count beside the offset: with twelve row pointers all registers are taken.
  const std::byte* const end = b + count * kPanelLine;
  for (std::size_t at = 0; b != end; b += kPanelLine, at += 4) {
    const __m512i b0 = _mm512_loadu_si512(b);
    const __m512i b1 = _mm512_loadu_si512(b + 64);
    (Dots::AddRow(sums[kR][0], sums[kR][1], rows[kR] + at, b0, b1), ...);
  }
  return b;
}

/// A segment's sums of one row times the row's scale, onto what `to` has of the segments before it.
HWY_INLINE void AddSegment(const __m512i (&sums)[2], float scale, bool first, float* to) {
  const __m512 s = _mm512_set1_ps(scale);
  const __m512 before0 = first ? _mm512_setzero_ps() : _mm512_loadu_ps(to);
  const __m512 before1 = first ? _mm512_setzero_ps() : _mm512_loadu_ps(to + 16);
  _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[0]), s, before0));
  _mm512_storeu_ps(to + 16, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[1]), s, before1));
}

/// As TileInt8, all of a tile's sums in registers.
template <std::size_t... kR>
HWY_NOINLINE void TileVnni(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                           float* HWY_RESTRICT tile, std::size_t stride, std::index_sequence<kR...> each) {
  constexpr std::size_t kRows = sizeof...(kR);
  const std::size_t quads = groups(a.segment_k, Precision::kInt8);
  const TileRows<kRows> from(a, row, valid);
  const std::byte* HWY_RESTRICT b = panel.lines;
  for (std::size_t segment = 0; segment < a.segments; ++segment) {
    const std::byte* rows[kRows];
    float scales[kRows] = {};
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = from.Pointer(r, segment, 1, &scales[r]);
    // Starting at −128 · Σ q takes the bias of 128 out of u8 = q + 128.
    const std::int32_t* of_w = panel.sums + segment * panel.sums_stride;
    const __m512i zero = _mm512_setzero_si512();
    const __m512i start0 = _mm512_sub_epi32(zero, _mm512_slli_epi32(_mm512_loadu_si512(of_w), 7));
    const __m512i start1 = _mm512_sub_epi32(zero, _mm512_slli_epi32(_mm512_loadu_si512(of_w + 16), 7));
    __m512i sums[kRows][2];
    ((sums[kR][0] = start0, sums[kR][1] = start1), ...);
    b = AddLines<ByteDots>(rows, quads, b, sums, each);
    (AddSegment(sums[kR], scales[kR], segment == 0, tile + kR * stride), ...);
  }
}

/// As TileBf16, all of a tile's sums in registers.
template <std::size_t... kR>
HWY_NOINLINE void TileDotBf16(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                              float* HWY_RESTRICT tile, std::size_t stride, std::index_sequence<kR...> each) {
  constexpr std::size_t kRows = sizeof...(kR);
  const std::size_t pairs = groups(a.segment_k, Precision::kBf16);
  const TileRows<kRows> from(a, row, valid);
  const std::byte* HWY_RESTRICT b = panel.lines;
  __m512 sums[kRows][2];
  ((sums[kR][0] = sums[kR][1] = _mm512_setzero_ps()), ...);
  for (std::size_t segment = 0; segment < a.segments; ++segment) {
    const std::byte* rows[kRows];
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = from.Pointer(r, segment, 2);
    b = AddLines<PairDots>(rows, pairs, b, sums, each);
  }
  ((_mm512_storeu_ps(tile + kR * stride, sums[kR][0]), _mm512_storeu_ps(tile + kR * stride + 16, sums[kR][1])), ...);
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512bf16")
namespace m3vit::HWY_NAMESPACE {

/// PortableFinish with masks for the last columns and bf16 in one instruction.
struct Avx512Finish {
  enum class To { kSet, kAdd, kScatterAdd, kBf16 };

  static void Rows(const Epilogue& e, std::size_t row, std::size_t rows, std::size_t column, std::size_t columns,
                   const float* bias, const float* scale, float* tile) {
    const To to = e.bf16                             ? To::kBf16
                  : e.store == Epilogue::Store::kSet ? To::kSet
                  : e.store == Epilogue::Store::kAdd ? To::kAdd
                                                     : To::kScatterAdd;
    switch (e.activation) {
      case Epilogue::Activation::kNone:
        return Into<Epilogue::Activation::kNone>(to, e, row, rows, column, columns, bias, scale, tile);
      case Epilogue::Activation::kGelu:
        return Into<Epilogue::Activation::kGelu>(to, e, row, rows, column, columns, bias, scale, tile);
      case Epilogue::Activation::kRelu:
        return Into<Epilogue::Activation::kRelu>(to, e, row, rows, column, columns, bias, scale, tile);
    }
  }

 private:
  template <Epilogue::Activation kActivation, class... Args>
  static void Into(To to, const Args&... args) {
    switch (to) {
      case To::kSet:
        return Columns<kActivation, To::kSet>(args...);
      case To::kAdd:
        return Columns<kActivation, To::kAdd>(args...);
      case To::kScatterAdd:
        return Columns<kActivation, To::kScatterAdd>(args...);
      case To::kBf16:
        return Columns<kActivation, To::kBf16>(args...);
    }
  }

  // A constant mask of all columns makes plain loads and stores, which are faster.
  template <Epilogue::Activation kActivation, To kTo>
  static void Columns(const Epilogue& e, std::size_t row, std::size_t rows, std::size_t column, std::size_t columns,
                      const float* bias, const float* scale, const float* HWY_RESTRICT tile) {
    if (columns == kPanel) {
      Store<kActivation, kTo>(e, row, rows, column, 0xFFFFFFFFU, bias, scale, tile);
    } else {
      // In bf16 the padding of the last group is written too: its sum, bias and activation are 0.
      const std::size_t written = kTo == To::kBf16 ? (columns + 1) / 2 * 2 : columns;
      Store<kActivation, kTo>(e, row, rows, column, static_cast<__mmask32>((std::uint64_t{1} << written) - 1), bias,
                              scale, tile);
    }
  }

  template <Epilogue::Activation kActivation, To kTo>
  static __m512 Activate(__m512 v) {
    if constexpr (kActivation == Epilogue::Activation::kRelu) v = _mm512_max_ps(v, _mm512_setzero_ps());
    if constexpr (kActivation == Epilogue::Activation::kGelu) {
      v = kTo == To::kBf16 ? RoughGelu(hn::Vec<Tag>{v}).raw : Gelu(Tag(), hn::Vec<Tag>{v}).raw;
    }
    return v;
  }

  template <Epilogue::Activation kActivation, To kTo>
  HWY_INLINE static void Store(const Epilogue& e, std::size_t row, std::size_t rows, std::size_t column, __mmask32 mask,
                               const float* bias, const float* scale, const float* HWY_RESTRICT tile) {
    const __m512 bias0 = _mm512_load_ps(bias);
    const __m512 bias1 = _mm512_load_ps(bias + 16);
    const __m512 one = _mm512_set1_ps(1.0F);
    const __m512 scale0 = scale != nullptr ? _mm512_loadu_ps(scale) : one;
    const __m512 scale1 = scale != nullptr ? _mm512_loadu_ps(scale + 16) : one;
    const auto mask0 = static_cast<__mmask16>(mask);
    const auto mask1 = static_cast<__mmask16>(mask >> 16);
    for (std::size_t r = 0; r < rows; ++r, tile += kPanel) {
      std::byte* const line = CLine(e, row + r, column);
      const __m512 v0 = Activate<kActivation, kTo>(_mm512_add_ps(_mm512_mul_ps(_mm512_load_ps(tile), scale0), bias0));
      const __m512 v1 =
          Activate<kActivation, kTo>(_mm512_add_ps(_mm512_mul_ps(_mm512_load_ps(tile + 16), scale1), bias1));
      if constexpr (kTo == To::kBf16) {
        _mm512_mask_storeu_epi16(reinterpret_cast<std::uint16_t*>(line), mask, (__m512i)_mm512_cvtne2ps_pbh(v1, v0));
      } else {
        float* const c = reinterpret_cast<float*>(line);
        __m512 out0 = v0;
        __m512 out1 = v1;
        if constexpr (kTo == To::kAdd) {
          out0 = _mm512_add_ps(v0, _mm512_maskz_loadu_ps(mask0, c));
          out1 = _mm512_add_ps(v1, _mm512_maskz_loadu_ps(mask1, c + 16));
        } else if constexpr (kTo == To::kScatterAdd) {
          const __m512 gate = _mm512_set1_ps(e.scale[row + r]);
          out0 = _mm512_fmadd_ps(gate, v0, _mm512_maskz_loadu_ps(mask0, c));
          out1 = _mm512_fmadd_ps(gate, v1, _mm512_maskz_loadu_ps(mask1, c + 16));
        }
        _mm512_mask_storeu_ps(c, mask0, out0);
        _mm512_mask_storeu_ps(c + 16, mask1, out1);
      }
    }
  }
};

}  // namespace m3vit::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

/// As QuantizeRows, to the same bits: bf16 in 32 lanes, its largest found without leaving 16 bits.
inline void QuantizeBf16Rows(const void* x, bool bf16, std::size_t x_stride, std::size_t rows, std::size_t n,
                             std::uint8_t* y, std::size_t y_stride, float* scale) {
  if (!bf16) return QuantizeRows(x, bf16, x_stride, rows, n, y, y_stride, scale);
  const auto* row = static_cast<const std::byte*>(x);
  const auto load = [&](std::size_t i) HWY_ATTR {
    const auto mask = static_cast<__mmask32>(n - i >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << (n - i)) - 1);
    return _mm512_maskz_loadu_epi16(mask, row + 2 * i);
  };
  for (std::size_t r = 0; r < rows; ++r, row += x_stride, y += y_stride) {
    __m512i most = _mm512_setzero_si512();
    for (std::size_t i = 0; i < n; i += 32) {
      most = _mm512_max_epu16(most, _mm512_and_si512(load(i), _mm512_set1_epi16(0x7FFF)));
    }
    const __m256i half = _mm256_max_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
    const __m128i eight = _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(-1)));
    const float largest = from_bf16(static_cast<std::uint16_t>(~_mm_extract_epi16(least, 0)));
    const __m512 inverse = _mm512_set1_ps(largest > 0.0F ? 127.0F / largest : 0.0F);
    for (std::size_t i = 0; i < n; i += 32) {
      const __m512i v = load(i);
      const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
      const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
      const __m512i q_even = _mm512_cvtps_epi32(_mm512_mul_ps(even, inverse));
      const __m512i q_odd = _mm512_cvtps_epi32(_mm512_mul_ps(odd, inverse));
      const __m512i q = _mm512_mask_blend_epi16(0xAAAAAAAAU, q_even, _mm512_slli_epi32(q_odd, 16));
      const __m256i biased = _mm256_xor_si256(_mm512_cvtsepi16_epi8(q), _mm256_set1_epi8(static_cast<char>(-128)));
      const std::size_t left = row_bytes(n, Precision::kInt8) - i;
      const auto mask = static_cast<__mmask32>(left >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << left) - 1);
      _mm256_mask_storeu_epi8(y + i, mask, biased);
    }
    scale[r] = largest > 0.0F ? largest / 127.0F : 0.0F;
  }
}

/// What the CPU has beside AVX-512 itself.
template <bool kHasBf16>
struct Avx512Tiles {
  template <Precision kPrecision, std::size_t kRows>
  static void Rows(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel, float* tile,
                   std::size_t stride) {
    if constexpr (kPrecision == Precision::kInt8) {
      TileVnni(a, row, valid, panel, tile, stride, std::make_index_sequence<kRows>());
    } else if constexpr (kPrecision == Precision::kBf16 && kHasBf16) {
      TileDotBf16(a, row, valid, panel, tile, stride, std::make_index_sequence<kRows>());
    } else {
      PortableTiles::Rows<kPrecision, kRows>(a, row, valid, panel, tile, stride);
    }
  }

  template <Precision kPrecision>
  static void Tile(const RowSource& a, std::size_t row, std::size_t rows, const Panel& panel, float* tile,
                   std::size_t stride) {
    Exact<kPrecision, kTileRows>(a, row, rows, panel, tile, stride);
  }

 private:
  /// A register tile of just these rows: every row that is only repeated costs as much as a real one.
  template <Precision kPrecision, std::size_t kRows>
  static void Exact(const RowSource& a, std::size_t row, std::size_t rows, const Panel& panel, float* tile,
                    std::size_t stride) {
    if constexpr (kRows > 1) {
      if (rows < kRows) return Exact<kPrecision, kRows - 1>(a, row, rows, panel, tile, stride);
    }
    Rows<kPrecision, kRows>(a, row, rows, panel, tile, stride);
  }
};

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
