#pragma once
/// Walks a data set at its native size: frames are made on several threads and used one by one, in order.
#include <functional>

#include "data/dataset.h"

namespace m3vit {

/// Hands frames 0 … count−1 to `use` on the calling thread; at most 2·threads of them wait in memory. Stops early when
/// `use` returns false. Rethrows the Error of `get` for the first frame that has one.
void for_each_frame(const Dataset& dataset, std::int64_t count, int threads,
                    const std::function<bool(std::int64_t index, Sample sample)>& use);

}  // namespace m3vit
