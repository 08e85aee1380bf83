#pragma once
/// What every instruction set offers: one table of function pointers, chosen once a session. No SIMD type appears here.
/// kernels.cpp compiles the `-inl.h` files once for each of Highway's targets; a session may ask for one by name, so
/// that two sessions in one process can differ and nothing global is switched.
///
/// All strides are in bytes. Every matrix operand has one of three precisions; sums, LayerNorm, softmax, GELU and the
/// residual stream are f32 whatever the operands are.
/// - bf16: rounded to nearest even, NaN stays NaN; held as its 16 bits; sums in f32.
/// - int8: weights symmetric per output column, q in −127 … 127, w ≈ q · scale[n]; activations with one scale a row
///   (token or pixel), symmetric, stored biased as u8 = q + 128, so that zero is 128; sums in int32, exact.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/kernels/head_kernels.h"
#include "runtime/precision.h"

namespace m3vit {

/// Bytes of a row of `n` elements. Rows that feed a GEMM are read in whole groups: the elements past `n` in the last
/// group meet weights of 0, so they may be anything in int8 and must be finite in bf16. Every kernel here that writes
/// bf16 or int8 rows writes them too (as zeros).
constexpr std::size_t row_bytes(std::size_t n, Precision p) { return 4 * groups(n, p); }

/// Columns of one weight panel.
inline constexpr std::size_t kPanel = 32;
/// Bytes of one panel line: 32 columns of one group.
inline constexpr std::size_t kPanelLine = 4 * kPanel;
/// Most rows of one register tile: 12 × 32 accumulators are 24 AVX-512 registers.
inline constexpr std::size_t kTileRows = 12;

constexpr std::size_t panels(std::size_t n) { return (n + kPanel - 1) / kPanel; }
/// Weight panels of every instruction set and precision: [panels(n)][segments][groups(segment_k)][32][group], zeros
/// beyond k and n. `segments`: as in RowSource; each is padded to whole groups by itself. Best 64-byte aligned.
constexpr std::size_t packed_bytes(std::size_t segment_k, std::size_t n, Precision p, std::size_t segments = 1) {
  return panels(n) * segments * groups(segment_k, p) * kPanelLine;
}
/// Entries of Matrix::scale and, for each segment, of Matrix::sums: whole panels.
constexpr std::size_t padded_columns(std::size_t n) { return panels(n) * kPanel; }

/// Where row `r` of A lies, segment by segment; a row is `segments` runs of `segment_k` elements.
struct RowSource {
  enum class Kind {
    kRows,     ///< source row r; one segment
    kIndexed,  ///< source row index[r]; one segment
    kPlaces,   ///< row r lies at places[r], its scale is scale[r]; one segment
    kTaps,     ///< segment s is source row index[r · segments + s], or `zeros` where that is negative
    /// r is a patch of [3, height, width] planes; segment s is line s % patch of plane s / patch. Not in int8. In bf16
    /// with an odd patch the planes need one finite element after the last.
    kPatch,
  };
  Kind kind = Kind::kRows;
  const void* base = nullptr;
  std::size_t stride = 0;  ///< bytes between source rows
  std::size_t segments = 1;
  std::size_t segment_k = 0;  ///< elements
  const std::int32_t* index = nullptr;
  const std::byte* const* places = nullptr;
  int height = 0, width = 0, patch = 0;
  const void* zeros = nullptr;   ///< row_bytes(segment_k) of zeros (int8: of 128)
  const float* scale = nullptr;  ///< int8: of each source row
};

/// B of a GEMM.
struct Matrix {
  const void* panels = nullptr;
  const float* scale = nullptr;        ///< int8: padded_columns(n)
  const std::int32_t* sums = nullptr;  ///< int8: [segments][padded_columns(n)], Σ_k q of the segment
  std::size_t panel_bytes = 0;  ///< between panels; 0: as long as A's rows ask (more: A meets some segments only)
};

/// What happens to a finished sum v = Σ_k a·b + bias, in this order: activation, then the way into C. In int8 the sum
/// is Σ over segments, ascending, of float(Σ_k (u8 − 128) · q) · a.scale[source row], times b.scale[n].
struct Epilogue {
  enum class Activation { kNone, kGelu, kRelu };
  enum class Store {
    kSet,         ///< c[to(r)] = v
    kAdd,         ///< c[to(r)] += v (residual)
    kScatterAdd,  ///< c[to(r)] += scale[r] · v (gate-weighted sum of experts)
  };
  const float* bias = nullptr;  ///< n floats, or null
  Activation activation = Activation::kNone;
  Store store = Store::kSet;
  void* c = nullptr;
  bool bf16 = false;                    ///< C holds bf16, in rows of whole groups; kSet only
  std::size_t stride = 0;               ///< bytes between rows of C
  std::size_t panel_stride = 0;         ///< bytes between panels of C; 0: columns follow each other
  const std::int32_t* index = nullptr;  ///< to(r) = index[r], or r where null
  const float* scale = nullptr;         ///< kScatterAdd
};

struct Gemm {
  Precision precision = Precision::kF32;  ///< of A and B
  std::size_t m = 0, n = 0;
  RowSource a;
  Matrix b;
  Epilogue out;
};

/// kF32 or kBf16: of qkv, keys, values and out. Scores and sums are f32; in bf16 the probabilities are rounded to bf16.
struct Attention {
  Precision precision = Precision::kF32;
  const void* qkv = nullptr;  ///< [tokens, 3 · heads · head_dim] as q | k | v, rows of whole groups
  std::size_t stride = 0;
  std::size_t tokens = 0, heads = 0, head_dim = 0;
  void* keys = nullptr;    ///< [heads] panels of kᵀ (k = head_dim, n = tokens)
  void* values = nullptr;  ///< [heads] panels of v (k = tokens, n = head_dim)
  void* out = nullptr;     ///< [tokens, heads · head_dim], rows of whole groups
  std::size_t out_stride = 0;
  std::size_t key_bytes() const { return packed_bytes(head_dim, tokens, precision); }
  std::size_t value_bytes() const { return packed_bytes(tokens, head_dim, precision); }
};
/// Keys in one block of the online softmax.
inline constexpr std::size_t kKeyBlock = 256;
/// Floats of scratch of one worker in attention_rows, whole cache lines: scores, their output sums, packed queries.
/// Every precision.
constexpr std::size_t attention_scratch(std::size_t head_dim) {
  const std::size_t floats = kTileRows * (kKeyBlock + panels(head_dim) * kPanel + head_dim);
  return (floats + 15) / 16 * 16;
}

/// y = (x − mean) / √(var + eps) · weight + bias over each row of n, into either or both of two outputs.
struct LayerNorm {
  const float* x = nullptr;
  std::size_t x_stride = 0;
  std::size_t n = 0;
  const float *weight = nullptr, *bias = nullptr;
  float eps = 0.0F;
  Precision precision = Precision::kF32;
  void* y = nullptr;  ///< in `precision`, rows of whole groups; or null
  std::size_t y_stride = 0;
  float* y_scale = nullptr;  ///< int8: one a row
  float* copy = nullptr;     ///< the same rows in f32 (for the router when y is not f32); or null
  std::size_t copy_stride = 0;
};

/// Every function is pure: the same arguments give the same bits whichever thread runs them. Sums over k go in
/// ascending order for every tile height, so splitting rows among threads or queues changes no bit.
struct Kernels {
  /// Rows [row_begin, row_end) × panels [panel_begin, panel_end) of C.
  void (*gemm)(const Gemm& g, std::size_t row_begin, std::size_t row_end, std::size_t panel_begin,
               std::size_t panel_end);
  /// Packs keys and values of one head.
  void (*attention_pack)(const Attention& a, std::size_t head);
  /// softmax(q·kᵀ / √head_dim) · v for queries [begin, end) of one head; blocks of keys with an online softmax, so no
  /// tokens × tokens matrix exists. `scratch`: attention_scratch(head_dim) floats, 64-byte aligned.
  void (*attention_rows)(const Attention& a, std::size_t head, std::size_t begin, std::size_t end, float* scratch);
  /// Rows [begin, end).
  void (*layer_norm)(const LayerNorm& l, std::size_t begin, std::size_t end);
  /// Rows of n f32 or (`bf16`) bf16 → u8 = 128 + round(x · 127 / max|x|) and scale = max|x| / 127 (0 for a row of
  /// zeros). y: rows of whole groups. A row that holds a NaN or an infinity gives some row and scale, no more.
  void (*quantize_rows)(const void* x, bool bf16, std::size_t x_stride, std::size_t rows, std::size_t n,
                        std::uint8_t* y, std::size_t y_stride, float* scale);
  /// y: rows of whole groups.
  void (*to_bf16)(const float* x, std::size_t x_stride, std::size_t rows, std::size_t n, std::uint16_t* y,
                  std::size_t y_stride);
  /// In place, n ≥ 1.
  void (*softmax)(float* x, std::size_t n);
  /// In place, exact (erf) GELU.
  void (*gelu)(float* x, std::size_t n);
  /// Columns [begin, end) of lines of a head (head_kernels.h), the tails for one panel of channels.
  void (*conv_tail)(const ConvTail& t, std::size_t panel, int begin, int end);
  void (*commuted_tail)(const CommutedTail& t, std::size_t panel, int begin, int end);
  void (*upsample_row)(const UpsampleRow& u, int begin, int end);
  /// One line of a plane's bilinear ×2 between lines a and b of `width`: to[2 · width]. `fraction`: b's weight.
  /// `temporary`: width + 2 floats.
  void (*double_line)(const float* a, const float* b, float fraction, int width, float* temporary, float* to);
  /// Copies a line of the output.
  void (*stream_line)(const float* from, std::size_t n, float* to);
  /// Channel `channel` of a class map, channels in order from 0: best[i] = max, winner[i] = its channel, the first of
  /// equals. A NaN wins only in channel 0.
  void (*argmax_line)(const float* value, std::size_t n, std::size_t channel, float* best, float* winner);
};

struct Isa {
  std::string_view
      name;  ///< amx | avx512 | avx512_plain (no VNNI, no BF16) | avx2 | sse4 | neon_dotprod | neon | scalar
  const Kernels* kernels;
};
struct IsaStatus {
  Isa isa;
  std::string why_not;  ///< "": runs here
};

/// Built in, best first; the last, scalar, always runs.
const std::vector<IsaStatus>& all_isas();
/// Those that run here.
const std::vector<Isa>& available_isas();
/// The kernels of amx with its tile instructions in plain loops, where AVX-512 has BF16 and VNNI; else null. For tests:
/// what feeds the tiles is then seen to work on a CPU without AMX.
const Kernels* emulated_amx_kernels();
/// "" is the best one. Throws Error (option --isa) for a name that is unknown or cannot run here, with the reason and
/// the names that can.
const Isa& find_isa(std::string_view name);

}  // namespace m3vit
