#pragma once
/// Cycles of one op inside its engine (docs/accelerator.md §4), from the moment the op leaves its queue (cycle 0):
/// recurrences over rows and pairs that follow the RTL's registers, so that without contention for a memory's port they
/// are exact. Times are those at which the next register shows the event.
#include <cstdint>
#include <functional>
#include <vector>

namespace m3vit::accel {

using Cycle = std::int64_t;

/// From which cycle on row r may be read; empty: all at once.
using RowsReady = std::function<Cycle(std::size_t row)>;

struct PassShape {
  std::int64_t rows = 1, row_words = 1, blocks = 1;
  bool conv = false;
  bool by_token = false;  ///< rows or destinations come from a list
};

struct EngineRun {
  Cycle last_step = 0;            ///< of the array
  Cycle done = 0;                 ///< the engine can take its next op; its busy counter grew by done - 1
  std::vector<Cycle> rows_ready;  ///< row r has been written, for whoever chases
};

/// One pass of the array: 2·I + P · max(B · max(I, 2), 2·I, I + B · max(I, 2) / 2 + 1) + kPassLatency, give or take the
/// first pairs; exact in this form.
EngineRun pass_cycles(const PassShape& shape, const RowsReady& ready = {});

/// ATTEND: score blocks of a pair take max(HW, 2) cycles each, then, three pairs later, KB steps for each word of V.
EngineRun attend_cycles(std::int64_t rows, std::int64_t head_words, std::int64_t key_blocks);

struct RouteShape {
  std::int64_t rows = 1, row_words = 1, blocks = 1, experts = 1;
};
/// `kept(row)`: entries of the row that pass `prune`, of top_k.
EngineRun route_cycles(const RouteShape& shape, int top_k, const std::function<int(std::size_t row)>& kept,
                       const RowsReady& ready = {});

/// NORM of rows of `words` words.
EngineRun norm_cycles(std::int64_t rows, std::int64_t words, const RowsReady& ready = {});

/// UPSAMPLE that makes so many words.
EngineRun upsample_cycles(std::int64_t output_words);

/// COPY_OUT of `beats` beats of `pieces` words each, the last of them of `last_pieces`; a DDR that always takes them.
EngineRun store_cycles(std::int64_t beats, std::int64_t pieces, std::int64_t last_pieces);

}  // namespace m3vit::accel
