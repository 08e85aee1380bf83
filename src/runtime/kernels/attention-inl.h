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
#include <cstring>
#include <limits>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"
#include "runtime/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

/// Keys are moved in groups of 4 bytes: a transposition whatever the precision. Values are moved in f32 as they are, in
/// bf16 with the pair of tokens that shares a group interleaved.
template <Precision kPrecision>
void PackHead(const Attention& a, std::size_t head) {
  constexpr std::size_t kElement = element_bytes(kPrecision);
  constexpr std::size_t kGroup = group_of(kPrecision);
  const auto row = [&](std::size_t part, std::size_t token) {
    return static_cast<const std::byte*>(a.qkv) + token * a.stride + (part * a.heads + head) * a.head_dim * kElement;
  };
  auto* const keys = reinterpret_cast<std::uint32_t*>(static_cast<std::byte*>(a.keys) + head * a.key_bytes());
  const std::size_t whole = a.head_dim / kGroup;
  const std::size_t key_lines = groups(a.head_dim, kPrecision);
  for (std::size_t p = 0; p < panels(a.tokens); ++p) {
    std::uint32_t* const panel = keys + p * key_lines * kPanel;
    for (std::size_t t = 0; t < kPanel; ++t) {
      const std::size_t token = p * kPanel + t;
      if (token >= a.tokens) {
        for (std::size_t g = 0; g < key_lines; ++g) panel[g * kPanel + t] = 0;
        continue;
      }
      const std::byte* const k = row(1, token);
      for (std::size_t g = 0; g < whole; ++g) panel[g * kPanel + t] = LoadGroup(k + 4 * g);
      if (whole == key_lines) continue;
      std::uint16_t last;  // bf16, odd head_dim
      std::memcpy(&last, k + 4 * whole, sizeof(last));
      panel[whole * kPanel + t] = last;
    }
  }
  auto* const values = reinterpret_cast<std::uint32_t*>(static_cast<std::byte*>(a.values) + head * a.value_bytes());
  const std::size_t value_lines = groups(a.tokens, kPrecision);
  for (std::size_t p = 0; p < panels(a.head_dim); ++p) {
    const std::size_t columns = std::min(kPanel, a.head_dim - p * kPanel);
    for (std::size_t l = 0; l < value_lines; ++l) {
      std::uint32_t* const line = values + (p * value_lines + l) * kPanel;
      const std::byte* const v = row(2, l * kGroup) + p * kPanel * kElement;
      if constexpr (kPrecision == Precision::kF32) {
        std::memcpy(line, v, columns * kElement);
      } else {
        std::uint16_t even[kPanel] = {};
        std::uint16_t odd[kPanel] = {};
        std::memcpy(even, v, columns * kElement);
        if (l * kGroup + 1 < a.tokens) std::memcpy(odd, v + a.stride, columns * kElement);
        auto* const pairs = reinterpret_cast<std::uint16_t*>(line);
        for (std::size_t c = 0; c < kPanel; ++c) {
          pairs[2 * c] = even[c];
          pairs[2 * c + 1] = odd[c];
        }
      }
      if (kPrecision == Precision::kF32) std::fill(line + columns, line + kPanel, 0U);
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
