#pragma once
/// What an op moves and multiplies, counted as the RTL counts it (docs/accelerator.md §7). Exact.
#include <cstdint>

#include "accel/compiler/array.h"
#include "accel/compiler/micro_op.h"
#include "accel/machine/timeline.h"

namespace m3vit::accel {

/// Adds an op's traffic; of LOAD_EXPERTS and EXPERTS nothing, see the two below.
void count_op(const AnyOp& op, const Array& array, Timeline& t);

/// One pass over an expert's tile; `second`: fc2, which adds into the residual.
void count_expert_pass(std::int64_t rows, std::int64_t words, std::int64_t blocks, bool second, const Array& array,
                       Timeline& t);

/// Beats (64 bytes) of a tile, and its bytes written into the lanes.
std::int64_t tile_beats(const Array& array, std::int64_t words, std::int64_t blocks);

/// How COPY_IN or COPY_OUT cuts beats: pieces of a whole one, pieces in all.
struct CopyShape {
  std::int64_t beats = 0, pieces = 1, last_pieces = 1;
};
CopyShape copy_shape(std::uint32_t space, std::int64_t words, const Array& array);

}  // namespace m3vit::accel
