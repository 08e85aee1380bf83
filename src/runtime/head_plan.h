#pragma once
/// The memory of one task's head: a chain of steps over lines of maps, each step keeping the few lines that the next
/// one still needs. No whole map exists anywhere; what grows with the image is the width of a line.
///
///     tokens ─norm─▶ [lines] ─3×3─▶ [lines] ─(×2 and 3×3)─▶ … ─▶ 1×1 ─▶ [lines] ─×2 (and resize)─▶ caller
///
/// Non-goal: heads other than `stages` × (3×3 convolution, ReLU), ×2 between them, 1×1, ×2.
#include <cstddef>
#include <vector>

#include "m3vit/m3vit.hpp"
#include "runtime/kernels/kernels.h"
#include "runtime/planner.h"

namespace m3vit {

struct HeadShape {
  int grid_h = 0, grid_w = 0;  ///< tokens
  std::size_t dim = 0;         ///< of a token
  std::size_t channels = 0;    ///< of every stage
  int stages = 0;              ///< ≥ 1
  std::size_t outputs = 0;     ///< of the widest task
  int height = 0, width = 0;   ///< of the output
};

struct HeadOptions {
  HeadForm form = HeadForm::kAuto;
  Precision precision = Precision::kF32;
  int lines = 0;  ///< input lines that a stage takes at a time; 0: by work. 1 needs the least memory. Changes no bit.
};

/// Order of a convolution's taps along k, in files and in memory: corners, then the others of each line and column, so
/// that the taps which meet in one product of the commuted form (head_run.cpp) follow each other. A tap is 3 · line +
/// column.
inline constexpr int kTapOrder[9] = {0, 2, 6, 8, 1, 7, 3, 5, 4};

struct HeadPlan {
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  /// One step. Its input is a ring of lines; line y of the map lies in slot y % ring.
  struct Node {
    enum class Kind {
      kConv,          ///< 3×3, bias, ReLU
      kUpsample,      ///< bilinear ×2
      kUpsampleConv,  ///< both, the convolution done first
    };
    Kind kind = Kind::kConv;
    int stage = 0;              ///< whose weights
    int height = 0, width = 0;  ///< of the input map
    std::size_t channels = 0;   ///< of the input
    int step = 1;               ///< input lines taken at a time
    int ring = 0;               ///< input lines kept
    std::size_t pixel_bytes = 0;
    std::size_t input = kNone;   ///< [ring, width] pixels
    std::size_t scales = kNone;  ///< int8: [ring, width]
    std::size_t sums = kNone;    ///< [sum_lines] lines of products, f32, panel after panel
    std::size_t sum_floats = 0;  ///< of one of these lines
    int sum_lines = 0;
    std::size_t taps = kNone;  ///< index lists of one step
    int out_height() const { return kind == Kind::kConv ? height : 2 * height; }
    int out_width() const { return kind == Kind::kConv ? width : 2 * width; }
  };

  HeadPlan() = default;
  /// Adds the buffers, alive during steps [first, last] of the frame.
  HeadPlan(const HeadShape& shape, const HeadOptions& options, int threads, Planner& planner, int first, int last);

  /// Of pixels as convolutions write them: int8 waits until all channels are there.
  Precision written_precision() const { return precision == Precision::kInt8 ? Precision::kF32 : precision; }

  HeadShape shape;
  HeadForm form = HeadForm::kCommuted;  ///< never kAuto
  Precision precision = Precision::kF32;
  std::vector<Node> nodes;
  int last_height = 0, last_width = 0;  ///< of the 1×1 convolution's map
  std::size_t zeros = kNone;            ///< one pixel of zeros
  std::size_t rows = kNone;    ///< finished pixels that another pass still reads: all of int8, the last convolution's
  std::size_t biases = kNone;  ///< [stages][whole panels]
  std::size_t last = kNone;    ///< [last_ring][outputs][last_width] of the 1×1 convolution
  int last_ring = 0;
  std::size_t doubled = kNone;  ///< [doubled_ring][outputs][2 · last_width]; only when the output has another size
  int doubled_ring = 0;
  std::size_t scratch = kNone;  ///< one a thread
  std::size_t scratch_bytes = 0;
  /// Offsets in a thread's scratch: at 0 pixels in f32, then pixels, their scales, 1×1 products, output lines.
  std::size_t scratch_pixels = 0, scratch_scales = 0, scratch_last = 0, scratch_lines = 0;
  std::size_t line_floats = 0;  ///< of one of the scratch's output lines
  std::size_t bytes = 0;        ///< of all buffers
};

/// Pixels of a block that one thread finishes: four register tiles of rows for the 1×1 convolution.
inline constexpr int kHeadBlock = 4 * static_cast<int>(kTileRows);

/// Channels of a pixel in memory: whole panels, so that whole vectors may be written.
constexpr std::size_t head_pixel_bytes(std::size_t channels, Precision p) {
  return row_bytes(padded_columns(channels), p);
}
/// Columns of a line of products of the commuted form: `even` [width], then `odd` [width + 3] (head_run.cpp).
constexpr std::size_t commuted_columns(int width) { return 2 * static_cast<std::size_t>(width) + 3; }

}  // namespace m3vit
