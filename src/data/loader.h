#pragma once
/// Threaded, prefetching loader whose order and content depend only on (seed, epoch): not on the number of workers nor
/// on timing.
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
  std::uint64_t seed = 1;
  std::int64_t epoch = 0;        ///< rooms: also chooses the scenes when `fresh`
  std::int64_t skip_batches = 0; ///< resume within an epoch
  int workers = 2;               ///< ≥ 1
  int prefetch = 4;
  const AugmentConfig* augment = nullptr;  ///< null: none
};

class Loader {
 public:
  Loader(const Dataset& dataset, const LoaderOptions& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  std::int64_t batches() const;   ///< of the whole epoch, skipped ones included
  /// The next batch in order, or nullopt at the end. Rethrows a worker's Error.
  std::optional<Batch> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m3vit
