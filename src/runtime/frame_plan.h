#pragma once
/// Every buffer of one frame, from the input planes to the head's last map, with its lifetime: laid into one arena by
/// the planner. One plan serves every task of the file (heads differ only in their last channels: the widest counts).
#include <cstddef>
#include <map>
#include <vector>

#include "core/config.h"
#include "runtime/head_plan.h"
#include "runtime/layout.h"
#include "runtime/planner.h"

namespace m3vit {

/// Floats between rows of an activation: padded when rows would otherwise fall on the same cache sets.
constexpr std::size_t row_stride(std::size_t n) { return n % 512 == 0 ? n + 16 : n; }

struct FramePlan {
  /// Planner ids; kNone where a block or stage has no such buffer.
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Block {
    std::size_t normed = kNone;  ///< [T, D] norm1(x)
    std::size_t qkv = kNone;     ///< [T, 3D]
    std::size_t keys = kNone, values = kNone, scratch = kNone;
    std::size_t attended = kNone;  ///< [T, D]
    std::size_t mlp_in = kNone;    ///< [T, D] norm2(x)
    std::size_t hidden = kNone;    ///< [T, hidden of the MLP or of one expert]
    std::size_t logits = kNone;    ///< [T, experts in the widest window]: router logits, then probabilities
    std::size_t chosen = kNone, weights = kNone;                               ///< [T, top_k]
    std::size_t queue_tokens = kNone, queue_weights = kNone, offsets = kNone;  ///< TokenQueues
  };
  /// `share_prefix`: x before the first router outlives a task.
  FramePlan(const Config& config, const Packing& packing, int threads, bool share_prefix = false,
            HeadOptions head_options = {});

  Planner planner;
  std::size_t planes = kNone;  ///< [3, H, W] normalised input
  std::size_t x = kNone;       ///< [T, D] the residual stream
  std::size_t kept = kNone;    ///< its copy before the first router; only with share_prefix, and where one follows
  std::vector<Block> blocks;
  std::map<Precision, HeadPlan> head_plans;  ///< of the tasks whose head has this precision
};

}  // namespace m3vit
