// Register tiles: a few rows of A times one weight panel, in every precision. Included once per Highway target by
// kernels.cpp; the guard is toggled by foreach_target.h.
#if defined(M3VIT_RUNTIME_KERNELS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_TILE_INL_H_
#undef M3VIT_RUNTIME_KERNELS_TILE_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

// 32 vector registers hold 12 rows × 2 vectors of sums; 16 hold 6 × 2. Columns beyond two vectors take another pass.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
inline constexpr std::size_t kRegisterRows = 12;
#else
inline constexpr std::size_t kRegisterRows = 6;
#endif
inline constexpr std::size_t kRegisterVectors = 2;

/// One panel of B: its first line and, in int8, its columns of the first segment's sums (`stride` entries between
/// segments).
struct Panel {
  const std::byte* lines;
  const std::int32_t* sums;
  std::size_t sums_stride;
};

/// Where the segments of kRows rows of A from `row` on lie. Rows at `valid` and beyond repeat the last valid one.
template <std::size_t kRows>
class TileRows {
 public:
  HWY_INLINE TileRows(const RowSource& a, std::size_t row, std::size_t valid) : a_(a) {
    for (std::size_t r = 0; r < kRows; ++r) row_[r] = row + std::min(r, valid - 1);
  }

  /// Row r of `segment`, elements of `element` bytes; in int8 also its scale, unless null.
  HWY_INLINE const std::byte* Pointer(std::size_t r, std::size_t segment, std::size_t element,
                                      float* scale = nullptr) const {
    const auto* const base = static_cast<const std::byte*>(a_.base);
    if (a_.kind == RowSource::Kind::kPatch) {
      const auto p = static_cast<std::size_t>(a_.patch);
      const auto w = static_cast<std::size_t>(a_.width);
      const std::size_t across = w / p;
      const std::size_t line =
          (segment / p) * static_cast<std::size_t>(a_.height) + (row_[r] / across) * p + segment % p;
      return base + (line * w + (row_[r] % across) * p) * element;
    }
    if (a_.kind == RowSource::Kind::kPlaces) {
      if (scale != nullptr) *scale = a_.scale[row_[r]];
      return a_.places[row_[r]];
    }
    const std::ptrdiff_t at = Source(r, segment);
    if (scale != nullptr) *scale = at < 0 ? 0.0F : a_.scale[at];
    return at < 0 ? static_cast<const std::byte*>(a_.zeros) : base + static_cast<std::size_t>(at) * a_.stride;
  }

 private:
  /// The source row, or −1 for zeros. Not for kPatch and kPlaces.
  HWY_INLINE std::ptrdiff_t Source(std::size_t r, std::size_t segment) const {
    switch (a_.kind) {
      case RowSource::Kind::kIndexed:
        return a_.index[row_[r]];
      case RowSource::Kind::kTaps:
        return a_.index[row_[r] * a_.segments + segment];
      case RowSource::Kind::kRows:
      case RowSource::Kind::kPlaces:
      case RowSource::Kind::kPatch:
        break;
    }
    return static_cast<std::ptrdiff_t>(row_[r]);
  }

  const RowSource& a_;
  std::size_t row_[kRows];
};

HWY_INLINE std::uint32_t LoadGroup(const std::byte* p) {
  std::uint32_t v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

/// tile[0 … kRows) [32] (rows `stride` floats apart) = A rows from `row` · one panel. Rows at `valid` and beyond repeat
/// the last valid one: their sums are not used.
template <std::size_t kRows>
HWY_NOINLINE void TileF32(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                          float* HWY_RESTRICT tile, std::size_t stride) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  using V = hn::Vec<Tag>;
  const std::size_t step = lanes * kRegisterVectors;
  const TileRows<kRows> from(a, row, valid);
  for (std::size_t column = 0; column < kPanel; column += step) {
    V sums[kRows][kRegisterVectors];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kRegisterVectors; ++v) sums[r][v] = hn::Zero(d);
    }
    const float* HWY_RESTRICT b = reinterpret_cast<const float*>(panel.lines) + column;
    for (std::size_t segment = 0; segment < a.segments; ++segment) {
      const float* rows[kRows];
      for (std::size_t r = 0; r < kRows; ++r) {
        rows[r] = reinterpret_cast<const float*>(from.Pointer(r, segment, sizeof(float)));
      }
      for (std::size_t k = 0; k < a.segment_k; ++k, b += kPanel) {
        const V b0 = hn::LoadU(d, b);
        const V b1 = hn::LoadU(d, b + lanes);
        for (std::size_t r = 0; r < kRows; ++r) {
          const V x = hn::Set(d, rows[r][k]);
          sums[r][0] = hn::MulAdd(x, b0, sums[r][0]);
          sums[r][1] = hn::MulAdd(x, b1, sums[r][1]);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      hn::StoreU(sums[r][0], d, tile + r * stride + column);
      hn::StoreU(sums[r][1], d, tile + r * stride + column + lanes);
    }
  }
}

/// As TileF32, by widening: a 32-bit lane of a panel line is the pair k, k + 1 of one column, and bf16 is the upper
/// half of a float.
template <std::size_t kRows>
HWY_NOINLINE void TileBf16(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                           float* HWY_RESTRICT tile, std::size_t stride) {
  const Tag d;
  const hn::RebindToUnsigned<Tag> du;
  const std::size_t lanes = hn::Lanes(d);
  using V = hn::Vec<Tag>;
  const std::size_t pairs = groups(a.segment_k, Precision::kBf16);
  const auto upper = hn::Set(du, 0xFFFF0000U);
  const TileRows<kRows> from(a, row, valid);
  for (std::size_t column = 0; column < kPanel; column += lanes * kRegisterVectors) {
    V sums[kRows][kRegisterVectors];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kRegisterVectors; ++v) sums[r][v] = hn::Zero(d);
    }
    const auto* HWY_RESTRICT b = reinterpret_cast<const std::uint32_t*>(panel.lines) + column;
    for (std::size_t segment = 0; segment < a.segments; ++segment) {
      const std::byte* rows[kRows];
      for (std::size_t r = 0; r < kRows; ++r) rows[r] = from.Pointer(r, segment, sizeof(std::uint16_t));
      for (std::size_t k = 0; k < pairs; ++k, b += kPanel) {
        const auto w0 = hn::LoadU(du, b);
        const auto w1 = hn::LoadU(du, b + lanes);
        const V even0 = hn::BitCast(d, hn::ShiftLeft<16>(w0));
        const V even1 = hn::BitCast(d, hn::ShiftLeft<16>(w1));
        const V odd0 = hn::BitCast(d, hn::And(w0, upper));
        const V odd1 = hn::BitCast(d, hn::And(w1, upper));
        for (std::size_t r = 0; r < kRows; ++r) {
          const auto x = hn::Set(du, LoadGroup(rows[r] + 4 * k));
          const V x0 = hn::BitCast(d, hn::ShiftLeft<16>(x));
          const V x1 = hn::BitCast(d, hn::And(x, upper));
          sums[r][0] = hn::MulAdd(x1, odd0, hn::MulAdd(x0, even0, sums[r][0]));
          sums[r][1] = hn::MulAdd(x1, odd1, hn::MulAdd(x0, even1, sums[r][1]));
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      hn::StoreU(sums[r][0], d, tile + r * stride + column);
      hn::StoreU(sums[r][1], d, tile + r * stride + column + lanes);
    }
  }
}

using Tag32 = hn::RebindToSigned<Tag>;

// pmaddwd of 16-bit pairs in 32-bit lanes; Highway has it under a name that promises less.
#undef M3VIT_PAIR_SUMS
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4
#define M3VIT_PAIR_SUMS 1
HWY_INLINE hn::Vec<Tag32> PairSums(hn::Vec<Tag32> a, hn::Vec<Tag32> b) {
#if HWY_TARGET == HWY_AVX3
  return hn::Vec<Tag32>{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return hn::Vec<Tag32>{_mm256_madd_epi16(a.raw, b.raw)};
#else
  return hn::Vec<Tag32>{_mm_madd_epi16(a.raw, b.raw)};
#endif
}
#else
#define M3VIT_PAIR_SUMS 0
#endif

/// As TileF32 in int8, without the weights' scales: the sum of each segment is exact in int32, made free of the bias of
/// 128, and added in f32 with its source row's scale.
template <std::size_t kRows>
HWY_NOINLINE void TileInt8(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel,
                           float* HWY_RESTRICT tile, std::size_t stride) {
  const Tag d;
  const Tag32 di;
  const std::size_t lanes = hn::Lanes(d);
  using V = hn::Vec<Tag32>;
  const std::size_t quads = groups(a.segment_k, Precision::kInt8);
  const TileRows<kRows> from(a, row, valid);
  for (std::size_t segment = 0; segment < a.segments; ++segment) {
    const std::byte* rows[kRows];
    float scales[kRows] = {};
    for (std::size_t r = 0; r < kRows; ++r) {
      rows[r] = from.Pointer(r, segment, 1, &scales[r]);
    }
    for (std::size_t column = 0; column < kPanel; column += lanes * kRegisterVectors) {
      V sums[kRows][kRegisterVectors];
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t v = 0; v < kRegisterVectors; ++v) sums[r][v] = hn::Zero(di);
      }
      const auto* HWY_RESTRICT b =
          reinterpret_cast<const std::int32_t*>(panel.lines + segment * quads * kPanelLine) + column;
      for (std::size_t k = 0; k < quads; ++k, b += kPanel) {
        const V w[kRegisterVectors] = {hn::LoadU(di, b), hn::LoadU(di, b + lanes)};
#if M3VIT_PAIR_SUMS
        // Bytes 0 and 2 of a lane, then 1 and 3, as 16-bit pairs.
        const hn::Repartition<std::int16_t, Tag32> d16;
        V even[kRegisterVectors];
        V odd[kRegisterVectors];
        for (std::size_t v = 0; v < kRegisterVectors; ++v) {
          const auto pairs = hn::BitCast(d16, w[v]);
          even[v] = hn::BitCast(di, hn::ShiftRight<8>(hn::ShiftLeft<8>(pairs)));
          odd[v] = hn::BitCast(di, hn::ShiftRight<8>(pairs));
        }
        for (std::size_t r = 0; r < kRows; ++r) {
          const std::uint32_t x = LoadGroup(rows[r] + 4 * k);
          const V x_even = hn::Set(di, static_cast<std::int32_t>(x & 0x00FF00FFU));
          const V x_odd = hn::Set(di, static_cast<std::int32_t>(x >> 8 & 0x00FF00FFU));
          for (std::size_t v = 0; v < kRegisterVectors; ++v) {
            sums[r][v] = hn::Add(sums[r][v], hn::Add(PairSums(x_even, even[v]), PairSums(x_odd, odd[v])));
          }
        }
#else
        for (std::size_t r = 0; r < kRows; ++r) {
          const std::uint32_t x = LoadGroup(rows[r] + 4 * k);
          const V x0 = hn::Set(di, static_cast<std::int32_t>(x & 0xFFU));
          const V x1 = hn::Set(di, static_cast<std::int32_t>(x >> 8 & 0xFFU));
          const V x2 = hn::Set(di, static_cast<std::int32_t>(x >> 16 & 0xFFU));
          const V x3 = hn::Set(di, static_cast<std::int32_t>(x >> 24));
          for (std::size_t v = 0; v < kRegisterVectors; ++v) {
            V sum = hn::Mul(x0, hn::ShiftRight<24>(hn::ShiftLeft<24>(w[v])));
            sum = hn::Add(sum, hn::Mul(x1, hn::ShiftRight<24>(hn::ShiftLeft<16>(w[v]))));
            sum = hn::Add(sum, hn::Mul(x2, hn::ShiftRight<24>(hn::ShiftLeft<8>(w[v]))));
            sum = hn::Add(sum, hn::Mul(x3, hn::ShiftRight<24>(w[v])));
            sums[r][v] = hn::Add(sums[r][v], sum);
          }
        }
#endif
      }
      const std::int32_t* HWY_RESTRICT of_w = panel.sums + segment * panel.sums_stride + column;
      for (std::size_t v = 0; v < kRegisterVectors; ++v) {
        const V bias = hn::ShiftLeft<7>(hn::LoadU(di, of_w + v * lanes));
        for (std::size_t r = 0; r < kRows; ++r) {
          float* HWY_RESTRICT to = tile + r * stride + column + v * lanes;
          const auto sum = hn::ConvertTo(d, hn::Sub(sums[r][v], bias));
          const auto before = segment == 0 ? hn::Zero(d) : hn::LoadU(d, to);
          hn::StoreU(hn::MulAdd(sum, hn::Set(d, scales[r]), before), d, to);
        }
      }
    }
  }
}

/// Up to kTileRows rows in register tiles (Tiles::Rows) of the smallest height that covers them. The height changes no
/// bit: each sum is one chain over ascending k.
template <class Tiles, Precision kPrecision>
void RegisterTiles(const RowSource& a, std::size_t row, std::size_t rows, const Panel& panel, float* tile,
                   std::size_t stride) {
  while (rows > 0) {
    const std::size_t now = std::min(rows, kRegisterRows);
    if (now == 1) {
      Tiles::template Rows<kPrecision, 1>(a, row, now, panel, tile, stride);
    } else if (now == 2) {
      Tiles::template Rows<kPrecision, 2>(a, row, now, panel, tile, stride);
    } else if (now <= 4) {
      Tiles::template Rows<kPrecision, 4>(a, row, now, panel, tile, stride);
    } else if (now <= 6 || kRegisterRows == 6) {
      Tiles::template Rows<kPrecision, 6>(a, row, now, panel, tile, stride);
    } else {
      Tiles::template Rows<kPrecision, kRegisterRows>(a, row, now, panel, tile, stride);
    }
    row += now;
    rows -= now;
    tile += now * stride;
  }
}

/// The tiles that any CPU of the target can run.
struct PortableTiles {
  template <Precision kPrecision, std::size_t kRows>
  static void Rows(const RowSource& a, std::size_t row, std::size_t valid, const Panel& panel, float* tile,
                   std::size_t stride) {
    if constexpr (kPrecision == Precision::kF32) {
      TileF32<kRows>(a, row, valid, panel, tile, stride);
    } else if constexpr (kPrecision == Precision::kBf16) {
      TileBf16<kRows>(a, row, valid, panel, tile, stride);
    } else {
      TileInt8<kRows>(a, row, valid, panel, tile, stride);
    }
  }
  template <Precision kPrecision>
  static void Tile(const RowSource& a, std::size_t row, std::size_t rows, const Panel& panel, float* tile,
                   std::size_t stride) {
    RegisterTiles<PortableTiles, kPrecision>(a, row, rows, panel, tile, stride);
  }
};

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
