// AMX: bf16 and int8 products of 32 rows × 32 columns in four tiles of 16 × 16 sums (tdpbf16ps, tdpbusd). Included by
// kernels.cpp for HWY_AVX3 only; f32 and everything else of the AMX table is AVX-512's.
//
// Eight tiles of 16 rows × 64 bytes: 0 … 3 sums, 4 and 5 rows of A (16 groups of k each), 6 and 7 the two column halves
// of 16 panel lines, 128 bytes apart: a panel is in AMX's own order already.
#pragma once
#include <hwy/highway.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/kernels/avx512-inl.h"
#include "runtime/kernels/gemm-inl.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/tile-inl.h"

HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512bf16,avx512vnni,amx-tile,amx-bf16,amx-int8")
namespace m3vit::HWY_NAMESPACE {

inline constexpr std::size_t kAmxRows = 16;   // of every tile
inline constexpr std::size_t kAmxBytes = 64;  // of a tile's row
inline constexpr std::size_t kAmxGroups = kAmxBytes / 4;

/// What ldtilecfg reads (Intel's manual, volume 1, "Tile configuration").
struct alignas(64) AmxConfiguration {
  std::uint8_t palette = 0;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[8] = {};
  std::uint8_t reserved_bytes[16] = {};
  std::uint8_t rows[8] = {};
  std::uint8_t reserved_rows[8] = {};
};
static_assert(sizeof(AmxConfiguration) == 64);
inline constexpr AmxConfiguration kAmxConfiguration = [] {
  AmxConfiguration c;
  c.palette = 1;
  std::fill_n(c.row_bytes, 8, static_cast<std::uint16_t>(kAmxBytes));
  std::fill_n(c.rows, 8, static_cast<std::uint8_t>(kAmxRows));
  return c;
}();

/// C += A · B is defined: rows of C and A, columns of C and B, and A's columns and B's rows of 4 bytes agree.
constexpr bool AmxFits(std::size_t c, std::size_t a, std::size_t b) {
  const AmxConfiguration& k = kAmxConfiguration;
  return k.rows[c] == k.rows[a] && k.row_bytes[c] == k.row_bytes[b] && k.row_bytes[a] == 4 * k.rows[b] &&
         k.rows[a] <= 16 && k.rows[b] <= 16 && k.row_bytes[c] <= 64 && k.row_bytes[a] <= 64;
}
static_assert(AmxFits(0, 4, 6) && AmxFits(1, 4, 7) && AmxFits(2, 5, 6) && AmxFits(3, 5, 7));

/// The CPU's tiles. Configured for the life of one object, one GEMM call: afterwards the thread holds no tile state.
class AmxTiles {
 public:
  AmxTiles() { _tile_loadconfig(&kAmxConfiguration); }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  void ZeroSums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  void LoadUpper(const void* rows, std::size_t stride) {
    Stored();
    _tile_loadd(4, rows, stride);
  }
  void LoadLower(const void* rows, std::size_t stride) {
    Stored();
    _tile_loadd(5, rows, stride);
  }
  void LoadColumns(const std::byte* lines) {
    Stored();
    _tile_loadd(6, lines, kPanelLine);
    _tile_loadd(7, lines + kAmxBytes, kPanelLine);
  }
  template <Precision kPrecision>
  void Multiply(bool lower) {
    if constexpr (kPrecision == Precision::kBf16) {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (!lower) return;
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    } else {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      if (!lower) return;
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }
  /// [32][32] sums of 4 bytes.
  void Store(void* sums) {
    auto* const to = static_cast<std::byte*>(sums);
    _tile_stored(0, to, kPanelLine);
    _tile_stored(1, to + kAmxBytes, kPanelLine);
    _tile_stored(2, to + kAmxRows * kPanelLine, kPanelLine);
    _tile_stored(3, to + kAmxRows * kPanelLine + kAmxBytes, kPanelLine);
  }

 private:
  /// g++ 12's _tile_loadd does not tell the compiler that it reads memory: what was stored there could come later.
  static void Stored() { asm volatile("" ::: "memory"); }
};

/// The same in plain loops, from Intel's definitions of the instructions and under the same configuration, so that what
/// feeds the tiles is tested on any CPU with AVX-512.
class EmulatedTiles {
 public:
  void ZeroSums() {
    for (std::size_t t = 0; t < 4; ++t) std::memset(tiles_[t], 0, sizeof(Tile));
  }
  void LoadUpper(const void* rows, std::size_t stride) { Load(4, rows, stride); }
  void LoadLower(const void* rows, std::size_t stride) { Load(5, rows, stride); }
  void LoadColumns(const std::byte* lines) {
    Load(6, lines, kPanelLine);
    Load(7, lines + kAmxBytes, kPanelLine);
  }
  template <Precision kPrecision>
  void Multiply(bool lower) {
    for (std::size_t sums = 0; sums < (lower ? 4U : 2U); ++sums) {
      if constexpr (kPrecision == Precision::kBf16) {
        DotBf16(sums, 4 + sums / 2, 6 + sums % 2);
      } else {
        DotInt8(sums, 4 + sums / 2, 6 + sums % 2);
      }
    }
  }
  void Store(void* sums) {
    for (std::size_t t = 0; t < 4; ++t) {
      for (std::size_t r = 0; r < kConfig.rows[t]; ++r) {
        auto* const to = static_cast<std::byte*>(sums) + (t / 2 * kAmxRows + r) * kPanelLine + t % 2 * kAmxBytes;
        std::memcpy(to, tiles_[t][r], kConfig.row_bytes[t]);
      }
    }
  }

 private:
  static constexpr const AmxConfiguration& kConfig = kAmxConfiguration;
  using Tile = std::uint8_t[kAmxRows][kAmxBytes];

  void Load(std::size_t t, const void* rows, std::size_t stride) {
    std::memset(tiles_[t], 0, sizeof(Tile));
    for (std::size_t r = 0; r < kConfig.rows[t]; ++r) {
      std::memcpy(tiles_[t][r], static_cast<const std::byte*>(rows) + r * stride, kConfig.row_bytes[t]);
    }
  }
  template <class T>
  T at(std::size_t t, std::size_t r, std::size_t element) const {
    T v;
    std::memcpy(&v, tiles_[t][r] + element * sizeof(T), sizeof(T));
    return v;
  }
  /// tdpbf16ps: the products of even and of odd k each in a sum of their own, both then added to C. (That denormals
  /// count as zero there is left out: it is below every tolerance.)
  void DotBf16(std::size_t c, std::size_t a, std::size_t b) {
    for (std::size_t m = 0; m < kConfig.rows[c]; ++m) {
      for (std::size_t n = 0; n < kConfig.row_bytes[c] / 4; ++n) {
        float even = 0.0F;
        float odd = 0.0F;
        for (std::size_t k = 0; k < kConfig.rows[b]; ++k) {
          even = std::fma(from_bf16(at<std::uint16_t>(a, m, 2 * k)), from_bf16(at<std::uint16_t>(b, k, 2 * n)), even);
          odd = std::fma(from_bf16(at<std::uint16_t>(a, m, 2 * k + 1)), from_bf16(at<std::uint16_t>(b, k, 2 * n + 1)),
                         odd);
        }
        const float sum = at<float>(c, m, n) + (even + odd);
        std::memcpy(tiles_[c][m] + 4 * n, &sum, sizeof(sum));
      }
    }
  }
  /// tdpbusd: A unsigned, B signed.
  void DotInt8(std::size_t c, std::size_t a, std::size_t b) {
    for (std::size_t m = 0; m < kConfig.rows[c]; ++m) {
      for (std::size_t n = 0; n < kConfig.row_bytes[c] / 4; ++n) {
        auto sum = at<std::int32_t>(c, m, n);
        for (std::size_t k = 0; k < kConfig.row_bytes[a]; ++k) {
          sum += at<std::uint8_t>(a, m, k) * at<std::int8_t>(b, k / 4, 4 * n + k % 4);
        }
        std::memcpy(tiles_[c][m] + 4 * n, &sum, sizeof(sum));
      }
    }
  }

  Tile tiles_[8] = {};
};

/// One segment of 32 rows of A, as two halves of 16. A half whose rows are one stride apart is loaded where it lies;
/// others (a gather, the border of a map, the end of a row) are copied tile by tile.
class AmxRows {
 public:
  AmxRows(const TileRows<2 * kAmxRows>& from, std::size_t segment, std::size_t element, float* scales) {
    for (std::size_t r = 0; r < 2 * kAmxRows; ++r) {
      rows_[r] = from.Pointer(r, segment, element, scales == nullptr ? nullptr : scales + r);
    }
    for (std::size_t half = 0; half < 2; ++half) {
      const std::byte* const* const rows = rows_ + half * kAmxRows;
      const std::ptrdiff_t stride = rows[1] - rows[0];
      regular_[half] = stride > 0;
      for (std::size_t r = 1; r + 1 < kAmxRows; ++r) regular_[half] &= rows[r + 1] - rows[r] == stride;
    }
  }

  /// Where 16 rows' `bytes` ≤ 64 from `at` on can be loaded from, and their stride; padded with zeros.
  const std::byte* Half(std::size_t half, std::size_t at, std::size_t bytes, std::size_t& stride) {
    const std::byte* const* const rows = rows_ + half * kAmxRows;
    if (regular_[half] && bytes == kAmxBytes) {
      stride = static_cast<std::size_t>(rows[1] - rows[0]);
      return rows[0] + at;
    }
    stride = kAmxBytes;
    const auto mask = static_cast<__mmask64>(bytes == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bytes) - 1);
    for (std::size_t r = 0; r < kAmxRows; ++r) {
      _mm512_store_si512(copy_[half][r], _mm512_maskz_loadu_epi8(mask, rows[r] + at));
    }
    return copy_[half][0];
  }

 private:
  const std::byte* rows_[2 * kAmxRows];
  bool regular_[2];
  alignas(64) std::byte copy_[2][kAmxRows][kAmxBytes];
};

/// Sums of one segment of 32 rows and one panel onto the tiles' sums. `lower`: rows 16 … 31 are wanted.
template <class Tiles, Precision kPrecision>
void AmxSegment(Tiles& tiles, AmxRows& rows, std::size_t line_count, const std::byte* lines, bool lower) {
  alignas(64) std::byte last_lines[kAmxGroups * kPanelLine];
  for (std::size_t k = 0; k < line_count; k += kAmxGroups) {
    const std::size_t now = std::min(kAmxGroups, line_count - k);
    std::size_t stride = 0;
    const std::byte* const upper_rows = rows.Half(0, 4 * k, 4 * now, stride);
    tiles.LoadUpper(upper_rows, stride);
    if (lower) {
      const std::byte* const lower_rows = rows.Half(1, 4 * k, 4 * now, stride);
      tiles.LoadLower(lower_rows, stride);
    }
    const std::byte* from = lines + k * kPanelLine;
    if (now < kAmxGroups) {  // zeros, not the next segment or what lies behind the panel
      std::memcpy(last_lines, from, now * kPanelLine);
      std::memset(last_lines + now * kPanelLine, 0, (kAmxGroups - now) * kPanelLine);
      from = last_lines;
    }
    tiles.LoadColumns(from);
    tiles.template Multiply<kPrecision>(lower);
  }
}

template <class Tiles, Precision kPrecision>
void AmxBlock(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
              std::size_t panel_end) {
  constexpr bool kInt8 = kPrecision == Precision::kInt8;
  constexpr std::size_t kRows = 2 * kAmxRows;
  const std::size_t line_count = groups(g.a.segment_k, kPrecision);
  const std::size_t panel_bytes = g.b.panel_bytes != 0 ? g.b.panel_bytes : g.a.segments * line_count * kPanelLine;
  Tiles tiles;
  alignas(64) float tile[kRows * kPanel];
  alignas(64) std::int32_t exact[kRows * kPanel];
  alignas(64) float bias[kPanel];
  for (std::size_t row = row_begin; row < row_end; row += kRows) {
    const std::size_t valid = std::min(kRows, row_end - row);
    const TileRows<kRows> from(g.a, row, valid);
    for (std::size_t p = panel_begin; p < panel_end; ++p) {
      const std::byte* lines = static_cast<const std::byte*>(g.b.panels) + p * panel_bytes;
      if (!kInt8) tiles.ZeroSums();
      for (std::size_t segment = 0; segment < g.a.segments; ++segment, lines += line_count * kPanelLine) {
        float scales[kRows] = {};
        AmxRows rows(from, segment, element_bytes(kPrecision), kInt8 ? scales : nullptr);
        if (kInt8) tiles.ZeroSums();
        AmxSegment<Tiles, kPrecision>(tiles, rows, line_count, lines, valid > kAmxRows);
        if constexpr (kInt8) {
          tiles.Store(exact);
          const std::int32_t* of_w = g.b.sums + segment * padded_columns(g.n) + p * kPanel;
          for (std::size_t v = 0; v < kPanel; v += 16) {
            const __m512i biased = _mm512_slli_epi32(_mm512_loadu_si512(of_w + v), 7);
            for (std::size_t r = 0; r < valid; ++r) {
              float* const to = tile + r * kPanel + v;
              const __m512 sum =
                  _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(exact + r * kPanel + v), biased));
              const __m512 before = segment == 0 ? _mm512_setzero_ps() : _mm512_load_ps(to);
              _mm512_store_ps(to, _mm512_fmadd_ps(sum, _mm512_set1_ps(scales[r]), before));
            }
          }
        }
      }
      if (!kInt8) tiles.Store(tile);
      const std::size_t columns = std::min(kPanel, g.n - p * kPanel);
      std::fill_n(bias, kPanel, 0.0F);
      if (g.out.bias != nullptr) std::copy_n(g.out.bias + p * kPanel, columns, bias);
      Avx512Finish::Rows(g.out, row, valid, p * kPanel, columns, bias, kInt8 ? g.b.scale + p * kPanel : nullptr, tile);
    }
  }
}

template <class Tiles>
void AmxGemm(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
             std::size_t panel_end) {
  switch (g.precision) {
    case Precision::kF32:
      return GemmRows<Avx512Tiles<true>, Avx512Finish>(g, row_begin, row_end, panel_begin, panel_end);
    case Precision::kBf16:
      return AmxBlock<Tiles, Precision::kBf16>(g, row_begin, row_end, panel_begin, panel_end);
    case Precision::kInt8:
      return AmxBlock<Tiles, Precision::kInt8>(g, row_begin, row_end, panel_begin, panel_end);
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
