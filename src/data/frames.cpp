#include "data/frames.h"

#include <algorithm>
#include <deque>
#include <future>

namespace m3vit {

void for_each_frame(const Dataset& dataset, std::int64_t count, int threads,
                    const std::function<bool(std::int64_t, Sample)>& use) {
  // A future made by std::async joins when it is destroyed, so no frame outlives this call, whatever is thrown.
  std::deque<std::future<Sample>> waiting;
  std::int64_t asked = 0;
  const auto room = static_cast<std::size_t>(2 * std::max(threads, 1));
  for (std::int64_t index = 0; index < count; ++index) {
    while (asked < count && waiting.size() < room) {
      waiting.push_back(std::async(std::launch::async, [&dataset, asked] { return dataset.get(asked); }));
      ++asked;
    }
    Sample sample = waiting.front().get();
    waiting.pop_front();
    if (!use(index, std::move(sample))) return;
  }
}

}  // namespace m3vit
