// AVX-512 with its dot products: BF16 (vdpbf16ps) and VNNI (vpdpbusd). Included by kernels.cpp for HWY_AVX3 only; a CPU
// with AVX-512 but without these takes the portable tiles.
#pragma once
#include <hwy/highway.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "runtime/kernels/attention-inl.h"
#include "runtime/kernels/gemm-inl.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"
#include "runtime/kernels/tile-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512vnni")
namespace m3vit::HWY_NAMESPACE {

// By hand, because g++ 12 keeps the sums of _mm512_dpbusd_epi32 in memory.
HWY_INLINE __m512i AddDots(__m512i sum, __m512i unsigned_bytes, __m512i signed_bytes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_bytes), "v"(signed_bytes));
  return sum;
}

/// As TileInt8, kRows × 32 sums in registers, four products an instruction and lane.
template <std::size_t kRows>
HWY_NOINLINE void TileVnni(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                           float* HWY_RESTRICT tile, std::size_t stride) {
  const std::size_t quads = groups(a.segment_k, Precision::kInt8);
  const TileRows<kRows> from(a, row, valid);
  const std::byte* HWY_RESTRICT b = panel.lines;
  for (std::size_t segment = 0; segment < a.segments; ++segment) {
    const std::byte* rows[kRows];
    float scales[kRows] = {};
    __m512i sums[kRows][2];
    // Starting at −128 · Σ q takes the bias of 128 out of u8 = q + 128.
    const std::int32_t* of_w = panel.sums + segment * panel.sums_stride;
    const __m512i zero = _mm512_setzero_si512();
    const __m512i start0 = _mm512_sub_epi32(zero, _mm512_slli_epi32(_mm512_loadu_si512(of_w), 7));
    const __m512i start1 = _mm512_sub_epi32(zero, _mm512_slli_epi32(_mm512_loadu_si512(of_w + 16), 7));
    for (std::size_t r = 0; r < kRows; ++r) {
      rows[r] = from.Pointer(r, segment, 1, &scales[r]);
      sums[r][0] = start0;
      sums[r][1] = start1;
    }
    for (std::size_t k = 0; k < quads; ++k, b += kPanelLine) {
      const __m512i b0 = _mm512_loadu_si512(b);
      const __m512i b1 = _mm512_loadu_si512(b + 64);
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512i x = _mm512_set1_epi32(static_cast<int>(LoadGroup(rows[r] + 4 * k)));
        sums[r][0] = AddDots(sums[r][0], x, b0);
        sums[r][1] = AddDots(sums[r][1], x, b1);
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m512 scale = _mm512_set1_ps(scales[r]);
      for (std::size_t v = 0; v < 2; ++v) {
        float* const to = tile + r * stride + 16 * v;
        const __m512 before = segment == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(to);
        _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][v]), scale, before));
      }
    }
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512bf16")
namespace m3vit::HWY_NAMESPACE {

// By hand, because clang 16 recurses without end over _mm512_dpbf16_ps of a broadcast (its VectorCombine pass).
HWY_INLINE __m512 AddPairs(__m512 sum, __m512i a, __m512i b) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

/// As TileBf16, kRows × 32 sums in registers, two products an instruction and lane.
template <std::size_t kRows>
HWY_NOINLINE void TileDotBf16(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                              float* HWY_RESTRICT tile, std::size_t stride) {
  const std::size_t pairs = groups(a.segment_k, Precision::kBf16);
  const TileRows<kRows> from(a, row, valid);
  const std::byte* HWY_RESTRICT b = panel.lines;
  __m512 sums[kRows][2];
  for (std::size_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  for (std::size_t segment = 0; segment < a.segments; ++segment) {
    const std::byte* rows[kRows];
    for (std::size_t r = 0; r < kRows; ++r) rows[r] = from.Pointer(r, segment, 2);
      // Unrolled, because one of the twelve row pointers does not fit the registers.
#pragma GCC unroll 4
    for (std::size_t k = 0; k < pairs; ++k, b += kPanelLine) {
      const __m512i b0 = _mm512_loadu_si512(b);
      const __m512i b1 = _mm512_loadu_si512(b + 64);
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512i x = _mm512_set1_epi32(static_cast<int>(LoadGroup(rows[r] + 4 * k)));
        sums[r][0] = AddPairs(sums[r][0], x, b0);
        sums[r][1] = AddPairs(sums[r][1], x, b1);
      }
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(tile + r * stride, sums[r][0]);
    _mm512_storeu_ps(tile + r * stride + 16, sums[r][1]);
  }
}

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

/// What the CPU has beside AVX-512 itself.
template <bool kHasBf16>
struct Avx512Tiles {
  template <Precision kPrecision, std::size_t kRows>
  static void Rows(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel, float* tile,
                   std::size_t stride) {
    if constexpr (kPrecision == Precision::kInt8) {
      TileVnni<kRows>(a, row, valid, panel, tile, stride);
    } else if constexpr (kPrecision == Precision::kBf16 && kHasBf16) {
      TileDotBf16<kRows>(a, row, valid, panel, tile, stride);
    } else {
      PortableTiles::Rows<kPrecision, kRows>(a, row, valid, panel, tile, stride);
    }
  }

  template <Precision kPrecision>
  static void Tile(const RowSource& a, std::size_t row, std::size_t rows, const Panel& panel, float* tile,
                   std::size_t stride) {
    switch ((rows + 1) / 2) {
      case 1:
        return rows == 1 ? Rows<kPrecision, 1>(a, row, rows, panel, tile, stride)
                         : Rows<kPrecision, 2>(a, row, rows, panel, tile, stride);
      case 2:
        return Rows<kPrecision, 4>(a, row, rows, panel, tile, stride);
      case 3:
        return Rows<kPrecision, 6>(a, row, rows, panel, tile, stride);
      case 4:
        return Rows<kPrecision, 8>(a, row, rows, panel, tile, stride);
      case 5:
        return Rows<kPrecision, 10>(a, row, rows, panel, tile, stride);
      default:
        return Rows<kPrecision, 12>(a, row, rows, panel, tile, stride);
    }
  }
};

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
