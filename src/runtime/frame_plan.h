#pragma once
/// Every buffer of one frame, from the input planes to the head's last map, with its lifetime: laid into one arena by
/// the planner. One plan serves every task of the file (heads differ only in their last channels: the widest counts),
/// and a batch of frames that go through each layer together, so that its weights are needed once.
#include <cstddef>
#include <map>
#include <vector>

#include "core/config.h"
#include "runtime/head_plan.h"
#include "runtime/layout.h"
#include "runtime/planner.h"
#include "runtime/row_buffer.h"

namespace m3vit {

/// Floats between rows of an activation: padded when rows would otherwise fall on the same cache sets.
constexpr std::size_t row_stride(std::size_t n) { return row_pitch(n, Precision::kF32) / sizeof(float); }

/// What a layer writes where the next GEMM does not read it at once: int8 needs a whole row to be scaled.
constexpr Precision stored(Precision p) { return p == Precision::kInt8 ? Precision::kBf16 : p; }

/// Rows of one worker's item: enough that reading a layer's weights costs little beside using them, few enough that
/// `bytes_a_row` of scratch a row stay in its second-level cache. A multiple of kTileRows.
std::size_t item_rows(std::size_t rows, std::size_t bytes_a_row);

/// `rows` cut into pieces of `rows_each` (the last may have fewer), as even among `threads` as tiles of rows allow.
struct RowSplit {
  std::size_t rows_each = 0, count = 0;
};
RowSplit split_rows(std::size_t rows, std::size_t most_each, std::size_t threads);

/// An MLP's hidden rows on their way from fc1 to fc2: as fc1 leaves them, and in int8 as fc2 takes them.
struct MlpScratch {
  MlpScratch(std::byte* base, std::size_t rows, std::size_t hidden_units, Precision p)
      : hidden(base, rows, hidden_units, stored(p)),
        quantised(base + RowBuffer::bytes(rows, hidden_units, stored(p)), rows, hidden_units, p) {}
  static constexpr std::size_t bytes(std::size_t rows, std::size_t hidden_units, Precision p) {
    return RowBuffer::bytes(rows, hidden_units, stored(p)) +
           (p == Precision::kInt8 ? RowBuffer::bytes(rows, hidden_units, p) : 0);
  }
  RowBuffer hidden, quantised;
};

/// Tokens that one worker routes at a time, and what it needs for that.
inline constexpr std::size_t kRouteRows = 4 * kTileRows;
struct RouteScratch {
  RouteScratch(std::byte* base, std::size_t dim, std::size_t experts)
      : normed(base, kRouteRows, dim, Precision::kF32),
        logits(base + RowBuffer::bytes(kRouteRows, dim, Precision::kF32), kRouteRows, experts, Precision::kF32) {}
  static constexpr std::size_t bytes(std::size_t dim, std::size_t experts) {
    return RowBuffer::bytes(kRouteRows, dim, Precision::kF32) + RowBuffer::bytes(kRouteRows, experts, Precision::kF32);
  }
  RowBuffer normed, logits;
};

/// Rows [begin, end) of the queue of expert `expert`, which is the `place`-th that anybody chose.
struct ExpertItem {
  std::int32_t expert, place, begin, end;
};

struct FramePlan {
  /// Planner ids; kNone where a block or stage has no such buffer.
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  /// The frame's clock.
  static constexpr int kInputStep = 0, kEmbedStep = 1, kStepsPerBlock = 5;
  enum BlockStep { kQkv = 0, kAttend = 1, kProj = 2, kNorm2 = 3, kMlp = 4 };  ///< kNorm2: router; kMlp: or experts
  static constexpr int block_step(std::size_t block, BlockStep part) {
    return kEmbedStep + 1 + kStepsPerBlock * static_cast<int>(block) + static_cast<int>(part);
  }
  /// Of the head's first step; `blocks` of the whole model.
  static constexpr int head_step(std::size_t blocks) { return block_step(blocks, kQkv); }
  int last_step() const;

  struct Block {
    Precision attention = Precision::kF32, mlp = Precision::kF32;
    // T: tokens of one frame in attention, of all frames (`tokens`) in what follows.
    std::size_t norm_rows = kNone;  ///< a worker's [rows, D] of norm1(x)
    std::size_t qkv = kNone;        ///< [T, 3D], f32 or bf16
    std::size_t keys = kNone, values = kNone, scratch = kNone;
    std::size_t attended = kNone;                 ///< [T, D], f32 or bf16
    std::size_t proj_rows = kNone;                ///< int8: a worker's [rows, D] of `attended`
    std::size_t mlp_in = kNone;                   ///< [T, D] norm2(x); of a dense block a worker's [rows, D]
    std::size_t item_rows = 0;                    ///< most rows of one item of the MLP or of an expert
    std::size_t hidden = kNone;                   ///< a worker's MlpScratch
    std::size_t route = kNone;                    ///< a worker's RouteScratch
    std::size_t chosen = kNone, weights = kNone;  ///< [T, top_k]
    std::size_t queue_tokens = kNone, queue_weights = kNone, offsets = kNone;  ///< TokenQueues
    std::size_t experts = kNone;  ///< [experts in the widest window]: those that are used, in order
    std::size_t items = kNone;    ///< ExpertItem
  };
  /// `share_prefix`: x before the first router outlives a task. `frames` ≥ 1: in a batch at most.
  FramePlan(const Config& config, const Packing& packing, int threads, bool share_prefix = false,
            HeadOptions head_options = {}, int frames = 1);

  std::size_t tokens = 0;      ///< of all frames
  std::size_t rows = 0;        ///< of one item in norm_rows and proj_rows
  std::size_t window = 0;      ///< experts that the widest router of the file's tasks sees
  std::size_t patch_rows = 0;  ///< of one item in `patches`

  Planner planner;
  std::size_t planes = kNone;   ///< [3, H, W] normalised input of one frame
  std::size_t patches = kNone;  ///< where the embedding is not f32: a worker's [rows, 3·p²] in f32 and rounded
  std::size_t x = kNone;        ///< [tokens, D] the residual stream, frame after frame
  std::size_t kept = kNone;     ///< its copy before the first router; only with share_prefix, and where one follows
  std::vector<Block> blocks;
  std::map<Precision, HeadPlan> head_plans;  ///< of the tasks whose head has this precision
};

}  // namespace m3vit
