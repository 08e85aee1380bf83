#pragma once
/// Threaded, prefetching loader whose order and content depend only on (seed, epoch): not on the number of workers nor
/// on timing. Workers take single samples, so the first batch comes after batch_size / workers of them.
#include <cstdint>
#include <memory>
#include <optional>

#include "core/config.h"
#include "data/dataset.h"

namespace m3vit {

struct LoaderOptions {
  int height = 0, width = 0;
  int batch_size = 8;
  bool shuffle = true;
  bool drop_last = true;
  bool keep_samples = false;
  /// Batch::samples keep each frame's labels at its own size, for scoring; `labels` stay empty. Not with `augment`.
  bool native_labels = false;
  Protocol protocol = Protocol::kSurvey;  ///< whose transforms bring a frame to [height, width]
  std::uint64_t seed = 1;
  std::int64_t epoch = 0;  ///< of an infinite data set: also chooses the scenes when `fresh`
  bool fresh = true;       ///< infinite data sets: epoch e has frames e·size …; false: the same frames each epoch
  /// This loader's share of the epoch: batches shard, shard + shards, … of the same order. With drop_last.
  int shard = 0, shards = 1;
  std::int64_t skip_batches = 0;  ///< resume within an epoch; of this share
  int workers = 2;                ///< ≥ 1
  int prefetch = 4;               ///< batches made or being made that `next` has not handed out yet, at most; ≥ 1
  const AugmentConfig* augment = nullptr;  ///< null: none
};

class Loader {
 public:
  /// `dataset` must outlive the loader. Throws Error when an option is out of range or when no batch could be made
  /// (fewer frames than batch_size with drop_last).
  Loader(const Dataset& dataset, const LoaderOptions& options);
  ~Loader();  ///< at any time; waits for the samples being made, not for the epoch
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  std::int64_t batches() const;  ///< of this share of the epoch, skipped ones included
  /// The next batch in order, or nullopt at the end. Rethrows what a worker threw, at that batch's place in the order
  /// and again on every later call. For one consumer thread.
  std::optional<Batch> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m3vit
