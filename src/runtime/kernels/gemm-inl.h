// The one matrix kernel: tiles over a block of rows and panels, and what happens to their sums. Included once per
// Highway target by kernels.cpp; the guard is toggled by foreach_target.h.
#if defined(M3VIT_RUNTIME_KERNELS_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_GEMM_INL_H_
#undef M3VIT_RUNTIME_KERNELS_GEMM_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_GEMM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cassert>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"
#include "runtime/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

/// Element `column` (a multiple of 32) of the row of C that row `row` goes to.
HWY_INLINE std::byte* CLine(const Epilogue& e, std::size_t row, std::size_t column) {
  const std::size_t to = e.index != nullptr ? static_cast<std::size_t>(e.index[row]) : row;
  const std::size_t ahead = e.panel_stride != 0 ? column / kPanel * e.panel_stride : column * (e.bf16 ? 2 : 4);
  return static_cast<std::byte*>(e.c) + to * e.stride + ahead;
}

/// One row of a finished tile into C. `columns` ≤ 32 of it are real; `bias` and `scale` (null but in int8) have 32.
inline void Finish(const Epilogue& e, std::size_t row, std::size_t column, std::size_t columns, const float* bias,
                   const float* scale, float* HWY_RESTRICT sums) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const bool scatter = e.store == Epilogue::Store::kScatterAdd;
  std::byte* const line = CLine(e, row, column);
  const auto gate = hn::Set(d, scatter ? e.scale[row] : 1.0F);
  const auto finished = [&](std::size_t i) HWY_ATTR {
    auto v = hn::LoadU(d, sums + i);
    if (scale != nullptr) v = hn::Mul(v, hn::LoadU(d, scale + i));
    v = hn::Add(v, hn::LoadU(d, bias + i));
    if (e.activation == Epilogue::Activation::kGelu) v = Gelu(d, v);
    if (e.activation == Epilogue::Activation::kRelu) v = hn::Max(v, hn::Zero(d));
    return v;
  };
  if (e.bf16) {
    for (std::size_t i = 0; i < kPanel; i += lanes) hn::StoreU(finished(i), d, sums + i);
    StoreBf16(sums, columns, reinterpret_cast<std::uint16_t*>(line));
    return;
  }
  float* HWY_RESTRICT c = reinterpret_cast<float*>(line);
  for (std::size_t i = 0; i < kPanel; i += lanes) {
    auto v = finished(i);
    if (i + lanes <= columns) {
      if (scatter) {
        v = hn::MulAdd(gate, v, hn::LoadU(d, c + i));
      } else if (e.store == Epilogue::Store::kAdd) {
        v = hn::Add(v, hn::LoadU(d, c + i));
      }
      hn::StoreU(v, d, c + i);
    } else if (i < columns) {
      float in[kPanel] = {};
      std::copy(c + i, c + columns, in);
      if (scatter) {
        v = hn::MulAdd(gate, v, hn::LoadU(d, in));
      } else if (e.store == Epilogue::Store::kAdd) {
        v = hn::Add(v, hn::LoadU(d, in));
      }
      hn::StoreU(v, d, in);
      std::copy(in, in + (columns - i), c + i);
    }
  }
}

/// A finished tile into C, in Highway.
struct PortableFinish {
  static void Rows(const Epilogue& e, std::size_t row, std::size_t rows, std::size_t column, std::size_t columns,
                   const float* bias, const float* scale, float* tile) {
    for (std::size_t r = 0; r < rows; ++r) Finish(e, row + r, column, columns, bias, scale, tile + r * kPanel);
  }
};

/// Fetches the lines of C that a tile will be finished into, for writing: loading them then takes as long as the tile.
HWY_INLINE void PrefetchC(const Epilogue& e, std::size_t row, std::size_t rows, std::size_t column) {
  for (std::size_t r = row; r < row + rows; ++r) {
    const std::byte* const line = CLine(e, r, column);
    __builtin_prefetch(line, 1);
    __builtin_prefetch(line + (e.bf16 ? kPanelLine / 2 : kPanelLine) - 4, 1);
  }
}

/// Rows of A whose places are worked out once for all panels: else each tile of each panel does it again, which costs
/// a tile of int8 as much as a tenth of its products. Rows of one segment only; others stay as they are.
class PlacedRows {
 public:
  /// Most rows of one block.
  static constexpr std::size_t kMost = 16 * kTileRows;

  PlacedRows(const RowSource& a, bool scaled, std::size_t begin, std::size_t end) : source_(a), first_(0) {
    if (a.kind != RowSource::Kind::kRows && a.kind != RowSource::Kind::kIndexed) return;
    first_ = begin;
    for (std::size_t r = begin; r < end; ++r) {
      const std::size_t from = a.kind == RowSource::Kind::kRows ? r : static_cast<std::size_t>(a.index[r]);
      places_[r - begin] = static_cast<const std::byte*>(a.base) + from * a.stride;
      if (scaled) scales_[r - begin] = a.scale[from];
    }
    source_.kind = RowSource::Kind::kPlaces;
    source_.places = places_;
    source_.scale = scales_;
  }
  PlacedRows(const PlacedRows&) = delete;
  PlacedRows& operator=(const PlacedRows&) = delete;

  const RowSource& source() const { return source_; }
  /// Row of the source that row `row` of A is.
  std::size_t row(std::size_t row) const { return row - first_; }

 private:
  RowSource source_;
  std::size_t first_;
  const std::byte* places_[kMost];
  float scales_[kMost];
};

template <class Tiles, class Finish, Precision kPrecision>
void GemmBlock(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
               std::size_t panel_end) {
  constexpr bool kInt8 = kPrecision == Precision::kInt8;
  const std::size_t panel_bytes =
      g.b.panel_bytes != 0 ? g.b.panel_bytes : g.a.segments * groups(g.a.segment_k, kPrecision) * kPanelLine;
  const PlacedRows a(g.a, kInt8, row_begin, row_end);
  HWY_ALIGN float tile[kTileRows * kPanel];
  for (std::size_t p = panel_begin; p < panel_end; ++p) {
    const Panel panel{static_cast<const std::byte*>(g.b.panels) + p * panel_bytes,
                      kInt8 ? g.b.sums + p * kPanel : nullptr, padded_columns(g.n)};
    const float* scale = kInt8 ? g.b.scale + p * kPanel : nullptr;
    const std::size_t columns = std::min(kPanel, g.n - p * kPanel);
    HWY_ALIGN float bias[kPanel] = {};
    if (g.out.bias != nullptr) std::copy_n(g.out.bias + p * kPanel, columns, bias);
    // Tiles of even heights (16 rows: 8 + 8) keep enough sums in flight in each.
    const std::size_t count = (row_end - row_begin + kTileRows - 1) / kTileRows;
    std::size_t row = row_begin;
    for (std::size_t t = 0; t < count; ++t) {
      const std::size_t rows = (row_end - row + (count - t) - 1) / (count - t);
      PrefetchC(g.out, row, rows, p * kPanel);
      Tiles::template Tile<kPrecision>(a.source(), a.row(row), rows, panel, tile, kPanel);
      Finish::Rows(g.out, row, rows, p * kPanel, columns, bias, scale, tile);
      row += rows;
    }
  }
}

template <class Tiles, class Finish, Precision kPrecision>
void GemmBlocks(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
                std::size_t panel_end) {
  for (std::size_t row = row_begin; row < row_end; row += PlacedRows::kMost) {
    GemmBlock<Tiles, Finish, kPrecision>(g, row, std::min(row + PlacedRows::kMost, row_end), panel_begin, panel_end);
  }
}

template <class Tiles, class Finish>
void GemmRows(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
              std::size_t panel_end) {
  assert(!g.out.bf16 || g.out.store == Epilogue::Store::kSet);
  switch (g.precision) {
    case Precision::kF32:
      return GemmBlocks<Tiles, Finish, Precision::kF32>(g, row_begin, row_end, panel_begin, panel_end);
    case Precision::kBf16:
      return GemmBlocks<Tiles, Finish, Precision::kBf16>(g, row_begin, row_end, panel_begin, panel_end);
    case Precision::kInt8:
      assert(g.a.kind != RowSource::Kind::kPatch);
      return GemmBlocks<Tiles, Finish, Precision::kInt8>(g, row_begin, row_end, panel_begin, panel_end);
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
