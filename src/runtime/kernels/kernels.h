#pragma once
/// What every instruction set offers: one table of function pointers, chosen once a session. No SIMD type appears here.
/// kernels.cpp compiles the `-inl.h` files once for each of Highway's targets; a session may ask for one by name, so
/// that two sessions in one process can differ and nothing global is switched.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace m3vit {

/// Weight panels: [ceil(n / 32)][k][32], zero-padded. One layout serves every vector width up to 32 floats.
inline constexpr std::size_t kPanel = 32;
/// Rows of one register tile: 12 × 32 accumulators are 24 AVX-512 registers.
inline constexpr std::size_t kTileRows = 12;

constexpr std::size_t panels(std::size_t n) { return (n + kPanel - 1) / kPanel; }
constexpr std::size_t packed_floats(std::size_t k, std::size_t n) { return panels(n) * k * kPanel; }

/// Where row `r` of A lies, segment by segment; a row is `segments` runs of `segment_k` floats.
struct RowSource {
  enum class Kind {
    kRows,     ///< base + r · stride
    kIndexed,  ///< base + index[r] · stride
    kConv3x3,  ///< r is a pixel of a [height, width] map; segment s is its neighbour (s / 3 − 1, s % 3 − 1), or `zeros`
    kPatch,  ///< r is a patch of [3, height, width] planes; segment s is line s % patch of plane s / patch
  };
  Kind kind = Kind::kRows;
  const float* base = nullptr;
  std::size_t stride = 0;  ///< floats between rows
  std::size_t segments = 1;
  std::size_t segment_k = 0;
  const std::int32_t* index = nullptr;
  int height = 0, width = 0, patch = 0;
  const float* zeros = nullptr;  ///< segment_k zeros: the border of kConv3x3
};

/// What happens to a finished sum v = Σ_k a·b + bias, in this order: activation, then the way into C.
struct Epilogue {
  enum class Activation { kNone, kGelu, kRelu };
  enum class Store {
    kSet,         ///< c[r] = v
    kAdd,         ///< c[r] += v (residual)
    kScatterAdd,  ///< c[index[r]] += scale[r] · v (gate-weighted sum of experts)
  };
  const float* bias = nullptr;  ///< n floats, or null
  Activation activation = Activation::kNone;
  Store store = Store::kSet;
  float* c = nullptr;
  std::size_t stride = 0;  ///< floats between rows of C
  const std::int32_t* index = nullptr;
  const float* scale = nullptr;
};

struct Gemm {
  std::size_t m = 0, n = 0;
  RowSource a;
  const float* b = nullptr;  ///< panels over k = segments · segment_k
  Epilogue out;
};

struct Attention {
  const float* qkv = nullptr;  ///< [tokens, 3 · heads · head_dim] as q | k | v
  std::size_t stride = 0;
  std::size_t tokens = 0, heads = 0, head_dim = 0;
  float* keys = nullptr;    ///< [heads] panels of kᵀ: [panels(tokens)][head_dim][32]
  float* values = nullptr;  ///< [heads] panels of v: [panels(head_dim)][tokens][32]
  float* out = nullptr;     ///< [tokens, heads · head_dim]
  std::size_t out_stride = 0;
  std::size_t key_floats() const { return packed_floats(head_dim, tokens); }
  std::size_t value_floats() const { return packed_floats(tokens, head_dim); }
};
/// Keys in one block of the online softmax.
inline constexpr std::size_t kKeyBlock = 256;
/// Scratch of one worker in attention_rows: scores, their output sums and the row statistics.
constexpr std::size_t attention_scratch(std::size_t head_dim) {
  return kTileRows * (kKeyBlock + panels(head_dim) * kPanel);
}

/// Every function is pure: the same arguments give the same bits whichever thread runs them. Sums over k go in
/// ascending order for every tile height, so splitting rows among threads or queues changes no bit.
struct Kernels {
  /// Rows [row_begin, row_end) × panels [panel_begin, panel_end) of C.
  void (*gemm)(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
               std::size_t panel_end);
  /// Packs keys and values of one head.
  void (*attention_pack)(const Attention& a, std::size_t head);
  /// softmax(q·kᵀ / √head_dim) · v for queries [begin, end) of one head; blocks of keys with an online softmax, so no
  /// tokens × tokens matrix exists. `scratch`: attention_scratch(head_dim) floats.
  void (*attention_rows)(const Attention& a, std::size_t head, std::size_t begin, std::size_t end, float* scratch);
  /// y = (x − mean) / √(var + eps) · weight + bias over each of `rows` rows of n.
  void (*layer_norm)(const float* x, std::size_t x_stride, std::size_t rows, std::size_t n, const float* weight,
                     const float* bias, float eps, float* y, std::size_t y_stride);
  /// In place, n ≥ 1.
  void (*softmax)(float* x, std::size_t n);
  /// In place, exact (erf) GELU.
  void (*gelu)(float* x, std::size_t n);
  /// Bilinear ×2 (align_corners = false) of a channels-last map [height · width, channels] for output lines
  /// [begin, end).
  void (*upsample2)(const float* x, std::size_t x_stride, int height, int width, std::size_t channels, float* y,
                    std::size_t y_stride, int begin, int end);
};

struct Isa {
  std::string_view name;  ///< avx512 | avx2 | sse4 | neon | scalar …
  const Kernels* kernels;
};

/// Built in and runnable here, best first.
const std::vector<Isa>& available_isas();
/// "" is the best one. Throws Error (option --isa) for a name that is unknown or cannot run here, listing the others.
const Isa& find_isa(std::string_view name);

}  // namespace m3vit
