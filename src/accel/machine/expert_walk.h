#pragma once
/// In which order experts meet tokens (docs/accelerator.md §4, "Experts"), and which tiles that loads.
#include <cstdint>
#include <vector>

#include "accel/compiler/micro_op.h"
#include "accel/golden/golden.h"

namespace m3vit::accel {

/// One pass: half an expert with some rows.
struct WorkItem {
  int expert = 0;
  int half = 0;  ///< 0: fc1, 1: fc2
  int slot = 0;
  bool load = true;                 ///< the tile has to come from DDR
  std::vector<std::uint32_t> rows;  ///< indices of entries
  bool operator==(const WorkItem&) const = default;
};

/// `entries` in order of token and rank; experts as the router numbers them. 2 ≤ slots.
std::vector<WorkItem> expert_walk(ExpertMode mode, const Entries& entries, int slots);

}  // namespace m3vit::accel
