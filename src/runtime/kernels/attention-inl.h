// Attention of one head in blocks of keys with an online softmax (Milakov and Gimelshein 2018; FlashAttention's CPU
// form): a tile of 12 queries keeps its running maximum, sum and output. Included once per Highway target.
#if defined(M3VIT_RUNTIME_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_ATTENTION_INL_H_
#undef M3VIT_RUNTIME_KERNELS_ATTENTION_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <type_traits>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"
#include "runtime/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

/// Element i of a row of `kPrecision` as its bits.
template <Precision kPrecision>
using Bits = std::conditional_t<kPrecision == Precision::kF32, std::uint32_t, std::uint16_t>;

template <Precision kPrecision>
void PackHead(const Attention& a, std::size_t head) {
  using T = Bits<kPrecision>;
  constexpr std::size_t kGroup = group_of(kPrecision);
  const auto* const rows = static_cast<const std::byte*>(a.qkv);
  const auto row = [&](std::size_t part, std::size_t token) {
    return reinterpret_cast<const T*>(rows + token * a.stride) + (part * a.heads + head) * a.head_dim;
  };
  auto* const keys = reinterpret_cast<T*>(static_cast<std::byte*>(a.keys) + head * a.key_bytes());
  auto* const values = reinterpret_cast<T*>(static_cast<std::byte*>(a.values) + head * a.value_bytes());
  constexpr std::size_t kLine = kPanel * kGroup;
  const std::size_t key_lines = groups(a.head_dim, kPrecision);
  for (std::size_t p = 0; p < panels(a.tokens); ++p) {
    T* const panel = keys + p * key_lines * kLine;
    for (std::size_t t = 0; t < kPanel; ++t) {
      const std::size_t token = p * kPanel + t;
      const T* const k = token < a.tokens ? row(1, token) : nullptr;
      for (std::size_t i = 0; i < key_lines * kGroup; ++i) {
        panel[(i / kGroup) * kLine + t * kGroup + i % kGroup] = k != nullptr && i < a.head_dim ? k[i] : T{0};
      }
    }
  }
  const std::size_t value_lines = groups(a.tokens, kPrecision);
  for (std::size_t p = 0; p < panels(a.head_dim); ++p) {
    const std::size_t columns = std::min(kPanel, a.head_dim - p * kPanel);
    for (std::size_t token = 0; token < value_lines * kGroup; ++token) {
      T* const line = values + (p * value_lines + token / kGroup) * kLine + token % kGroup;
      const T* const v = token < a.tokens ? row(2, token) + p * kPanel : nullptr;
      for (std::size_t c = 0; c < kPanel; ++c) line[c * kGroup] = v != nullptr && c < columns ? v[c] : T{0};
    }
  }
}

inline void AttentionPack(const Attention& a, std::size_t head) {
  assert(a.precision != Precision::kInt8);
  if (a.precision == Precision::kF32) return PackHead<Precision::kF32>(a, head);
  PackHead<Precision::kBf16>(a, head);
}

template <class Tiles, Precision kPrecision>
void AttentionTile(const Attention& a, std::size_t head, std::size_t query, std::size_t rows, float* scratch) {
  float* scores = scratch;                        // [12][kKeyBlock]; in bf16 the probabilities overwrite them
  float* sums = scratch + kTileRows * kKeyBlock;  // [12][panels(head_dim) · 32]
  const std::size_t width = panels(a.head_dim) * kPanel;
  const std::byte* keys = static_cast<const std::byte*>(a.keys) + head * a.key_bytes();
  const std::byte* values = static_cast<const std::byte*>(a.values) + head * a.value_bytes();
  const std::size_t key_panel = groups(a.head_dim, kPrecision) * kPanelLine;
  const std::size_t value_panel = groups(a.tokens, kPrecision) * kPanelLine;
  const float scale = 1.0F / std::sqrt(static_cast<float>(a.head_dim));
  float most[kTileRows];
  float total[kTileRows];
  std::fill_n(most, kTileRows, std::numeric_limits<float>::lowest());
  std::fill_n(total, kTileRows, 0.0F);
  std::fill_n(sums, kTileRows * width, 0.0F);

  RowSource q;
  q.base = static_cast<const std::byte*>(a.qkv) + head * a.head_dim * element_bytes(kPrecision);
  q.stride = a.stride;
  q.segment_k = a.head_dim;
  RowSource p;
  p.base = scores;
  p.stride = kKeyBlock * sizeof(float);
  HWY_ALIGN float tile[kTileRows * kPanel];
  for (std::size_t begin = 0; begin < a.tokens; begin += kKeyBlock) {
    const std::size_t block = std::min(kKeyBlock, a.tokens - begin);
    for (std::size_t panel = 0; panel < panels(block); ++panel) {
      Tiles::template Tile<kPrecision>(q, query, rows, Panel{keys + (begin / kPanel + panel) * key_panel, nullptr, 0},
                                       scores + panel * kPanel, kKeyBlock);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      float* row = scores + r * kKeyBlock;
      ScaleRow(row, block, scale);
      const float largest = std::max(most[r], MaxRow(row, block));
      const float keep = std::exp(most[r] - largest);  // 0 in the first block
      most[r] = largest;
      total[r] = total[r] * keep + ExpRow(row, block, largest);
      ScaleRow(sums + r * width, width, keep);
      if constexpr (kPrecision == Precision::kBf16) StoreBf16(row, block, reinterpret_cast<std::uint16_t*>(row));
    }
    p.segment_k = block;
    for (std::size_t panel = 0; panel < panels(a.head_dim); ++panel) {
      const std::byte* lines = values + panel * value_panel + groups(begin, kPrecision) * kPanelLine;
      Tiles::template Tile<kPrecision>(p, 0, rows, Panel{lines, nullptr, 0}, tile, kPanel);
      for (std::size_t r = 0; r < rows; ++r) {
        float* out = sums + r * width + panel * kPanel;
        for (std::size_t i = 0; i < kPanel; ++i) out[i] += tile[r * kPanel + i];
      }
    }
  }
  for (std::size_t r = 0; r < rows; ++r) {
    std::byte* out = static_cast<std::byte*>(a.out) + (query + r) * a.out_stride;
    const float inverse = 1.0F / total[r];
    for (std::size_t i = 0; i < a.head_dim; ++i) {
      StoreFloat<kPrecision>(sums[r * width + i] * inverse, out, head * a.head_dim + i);
    }
    const bool odd = kPrecision == Precision::kBf16 && a.heads * a.head_dim % 2 != 0;
    if (odd && head + 1 == a.heads) StoreFloat<kPrecision>(0.0F, out, a.heads * a.head_dim);
  }
}

template <class Tiles>
void AttentionRows(const Attention& a, std::size_t head, std::size_t begin, std::size_t end, float* scratch) {
  assert(a.precision != Precision::kInt8);
  for (std::size_t query = begin; query < end; query += kTileRows) {
    const std::size_t rows = std::min(kTileRows, end - query);
    if (a.precision == Precision::kF32) {
      AttentionTile<Tiles, Precision::kF32>(a, head, query, rows, scratch);
    } else {
      AttentionTile<Tiles, Precision::kBf16>(a, head, query, rows, scratch);
    }
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
