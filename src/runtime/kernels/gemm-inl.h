// The one matrix kernel: a register tile of rows × columns over a weight panel, and what happens to its sums.
// Included once per Highway target by kernels.cpp; the guard is toggled by foreach_target.h.
#if defined(M3VIT_RUNTIME_KERNELS_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_GEMM_INL_H_
#undef M3VIT_RUNTIME_KERNELS_GEMM_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_GEMM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

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

HWY_INLINE const float* RowPointer(const RowSource& a, std::size_t segment, std::size_t row) {
  switch (a.kind) {
    case RowSource::Kind::kRows:
      return a.base + row * a.stride;
    case RowSource::Kind::kIndexed:
      return a.base + static_cast<std::size_t>(a.index[row]) * a.stride;
    case RowSource::Kind::kConv3x3: {
      const int y = static_cast<int>(row / static_cast<std::size_t>(a.width)) + static_cast<int>(segment / 3) - 1;
      const int x = static_cast<int>(row % static_cast<std::size_t>(a.width)) + static_cast<int>(segment % 3) - 1;
      if (y < 0 || y >= a.height || x < 0 || x >= a.width) return a.zeros;
      return a.base +
             (static_cast<std::size_t>(y) * static_cast<std::size_t>(a.width) + static_cast<std::size_t>(x)) * a.stride;
    }
    case RowSource::Kind::kPatch:
      break;
  }
  const auto p = static_cast<std::size_t>(a.patch);
  const auto w = static_cast<std::size_t>(a.width);
  const std::size_t grid_w = w / p;
  const std::size_t line = (segment / p) * static_cast<std::size_t>(a.height) + (row / grid_w) * p + segment % p;
  return a.base + line * w + (row % grid_w) * p;
}

/// tile[0 … kRows) [32] (rows `stride` apart) = A rows from `row` · one panel. Rows at `valid` and beyond repeat the
/// last valid one: their sums are not used.
template <std::size_t kRows>
HWY_NOINLINE void TileSums(const RowSource& a, std::size_t row, std::size_t valid, const float* HWY_RESTRICT panel,
                           float* HWY_RESTRICT tile, std::size_t stride) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  using V = hn::Vec<Tag>;
  const std::size_t step = lanes * kRegisterVectors;
  for (std::size_t column = 0; column < kPanel; column += step) {
    V sums[kRows][kRegisterVectors];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kRegisterVectors; ++v) sums[r][v] = hn::Zero(d);
    }
    const float* HWY_RESTRICT b = panel + column;
    for (std::size_t segment = 0; segment < a.segments; ++segment) {
      const float* rows[kRows];
      for (std::size_t r = 0; r < kRows; ++r) rows[r] = RowPointer(a, segment, row + std::min(r, valid - 1));
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

/// Up to kTileRows rows, in register tiles of the smallest height that covers them. The height changes no bit: each
/// sum is one chain over ascending k.
inline void Tile(const RowSource& a, std::size_t row, std::size_t rows, const float* panel, float* tile,
                 std::size_t stride) {
  while (rows > 0) {
    const std::size_t now = std::min(rows, kRegisterRows);
    if (now == 1) {
      TileSums<1>(a, row, now, panel, tile, stride);
    } else if (now == 2) {
      TileSums<2>(a, row, now, panel, tile, stride);
    } else if (now <= 4) {
      TileSums<4>(a, row, now, panel, tile, stride);
    } else if (now <= 6 || kRegisterRows == 6) {
      TileSums<6>(a, row, now, panel, tile, stride);
    } else {
      TileSums<kRegisterRows>(a, row, now, panel, tile, stride);
    }
    row += now;
    rows -= now;
    tile += now * stride;
  }
}

/// One row of a finished tile into C. `columns` ≤ 32 of it are real; `bias` has 32.
inline void Finish(const Epilogue& e, std::size_t row, std::size_t column, std::size_t columns, const float* bias,
                   float* HWY_RESTRICT sums) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const bool scatter = e.store == Epilogue::Store::kScatterAdd;
  float* HWY_RESTRICT c = e.c + (scatter ? static_cast<std::size_t>(e.index[row]) : row) * e.stride + column;
  const auto scale = hn::Set(d, scatter ? e.scale[row] : 1.0F);
  for (std::size_t i = 0; i < kPanel; i += lanes) {
    auto v = hn::Add(hn::LoadU(d, sums + i), hn::LoadU(d, bias + i));
    if (e.activation == Epilogue::Activation::kGelu) v = Gelu(d, v);
    if (e.activation == Epilogue::Activation::kRelu) v = hn::Max(v, hn::Zero(d));
    if (i + lanes <= columns) {
      if (scatter) {
        v = hn::MulAdd(scale, v, hn::LoadU(d, c + i));
      } else if (e.store == Epilogue::Store::kAdd) {
        v = hn::Add(v, hn::LoadU(d, c + i));
      }
      hn::StoreU(v, d, c + i);
    } else if (i < columns) {
      float in[kPanel] = {};
      std::copy(c + i, c + columns, in);
      if (scatter) {
        v = hn::MulAdd(scale, v, hn::LoadU(d, in));
      } else if (e.store == Epilogue::Store::kAdd) {
        v = hn::Add(v, hn::LoadU(d, in));
      }
      hn::StoreU(v, d, in);
      std::copy(in, in + (columns - i), c + i);
    }
  }
}

inline void GemmRows(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
                     std::size_t panel_end) {
  const std::size_t k = g.a.segments * g.a.segment_k;
  HWY_ALIGN float tile[kTileRows * kPanel];
  for (std::size_t p = panel_begin; p < panel_end; ++p) {
    const float* panel = g.b + p * k * kPanel;
    const std::size_t columns = std::min(kPanel, g.n - p * kPanel);
    HWY_ALIGN float bias[kPanel] = {};
    if (g.out.bias != nullptr) std::copy_n(g.out.bias + p * kPanel, columns, bias);
    for (std::size_t row = row_begin; row < row_end; row += kTileRows) {
      const std::size_t rows = std::min(kTileRows, row_end - row);
      Tile(g.a, row, rows, panel, tile, kPanel);
      for (std::size_t r = 0; r < rows; ++r) Finish(g.out, row + r, p * kPanel, columns, bias, tile + r * kPanel);
    }
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
