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
#include <cmath>
#include <limits>

#include "runtime/kernels/gemm-inl.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

inline void AttentionPack(const Attention& a, std::size_t head) {
  const float* k = a.qkv + (a.heads + head) * a.head_dim;
  const float* v = a.qkv + (2 * a.heads + head) * a.head_dim;
  float* keys = a.keys + head * a.key_floats();
  float* values = a.values + head * a.value_floats();
  for (std::size_t p = 0; p < panels(a.tokens); ++p) {
    for (std::size_t t = 0; t < kPanel; ++t) {
      const std::size_t token = p * kPanel + t;
      for (std::size_t i = 0; i < a.head_dim; ++i) {
        keys[(p * a.head_dim + i) * kPanel + t] = token < a.tokens ? k[token * a.stride + i] : 0.0F;
      }
    }
  }
  for (std::size_t p = 0; p < panels(a.head_dim); ++p) {
    const std::size_t columns = std::min(kPanel, a.head_dim - p * kPanel);
    for (std::size_t token = 0; token < a.tokens; ++token) {
      float* row = values + (p * a.tokens + token) * kPanel;
      std::copy_n(v + token * a.stride + p * kPanel, columns, row);
      std::fill(row + columns, row + kPanel, 0.0F);
    }
  }
}

inline void AttentionTile(const Attention& a, std::size_t head, std::size_t query, std::size_t rows, float* scratch) {
  float* scores = scratch;                        // [12][kKeyBlock]
  float* sums = scratch + kTileRows * kKeyBlock;  // [12][panels(head_dim) · 32]
  const std::size_t width = panels(a.head_dim) * kPanel;
  const float* keys = a.keys + head * a.key_floats();
  const float* values = a.values + head * a.value_floats();
  const float scale = 1.0F / std::sqrt(static_cast<float>(a.head_dim));
  float most[kTileRows];
  float total[kTileRows];
  std::fill_n(most, kTileRows, std::numeric_limits<float>::lowest());
  std::fill_n(total, kTileRows, 0.0F);
  std::fill_n(sums, kTileRows * width, 0.0F);

  RowSource q;
  q.base = a.qkv + head * a.head_dim;
  q.stride = a.stride;
  q.segment_k = a.head_dim;
  RowSource p;
  p.base = scores;
  p.stride = kKeyBlock;
  HWY_ALIGN float tile[kTileRows * kPanel];
  for (std::size_t begin = 0; begin < a.tokens; begin += kKeyBlock) {
    const std::size_t block = std::min(kKeyBlock, a.tokens - begin);
    for (std::size_t panel = 0; panel < panels(block); ++panel) {
      Tile(q, query, rows, keys + (begin / kPanel + panel) * a.head_dim * kPanel, scores + panel * kPanel, kKeyBlock);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      float* row = scores + r * kKeyBlock;
      ScaleRow(row, block, scale);
      const float largest = std::max(most[r], MaxRow(row, block));
      const float keep = std::exp(most[r] - largest);  // 0 in the first block
      most[r] = largest;
      total[r] = total[r] * keep + ExpRow(row, block, largest);
      ScaleRow(sums + r * width, width, keep);
    }
    p.segment_k = block;
    for (std::size_t panel = 0; panel < panels(a.head_dim); ++panel) {
      Tile(p, 0, rows, values + (panel * a.tokens + begin) * kPanel, tile, kPanel);
      for (std::size_t r = 0; r < rows; ++r) {
        float* out = sums + r * width + panel * kPanel;
        for (std::size_t i = 0; i < kPanel; ++i) out[i] += tile[r * kPanel + i];
      }
    }
  }
  for (std::size_t r = 0; r < rows; ++r) {
    float* out = a.out + (query + r) * a.out_stride + head * a.head_dim;
    const float inverse = 1.0F / total[r];
    for (std::size_t i = 0; i < a.head_dim; ++i) out[i] = sums[r * width + i] * inverse;
  }
}

inline void AttentionRows(const Attention& a, std::size_t head, std::size_t begin, std::size_t end, float* scratch) {
  for (std::size_t query = begin; query < end; query += kTileRows) {
    AttentionTile(a, head, query, std::min(kTileRows, end - query), scratch);
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
