#include "runtime/planner.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace m3vit {

std::size_t Planner::add(std::string name, std::size_t bytes, int first, int last, std::size_t alignment) {
  assert(first <= last && alignment % kAlignment == 0);
  // Far below what a sum of a frame's buffers could overflow, far above any machine.
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() >> 16U;
  if (bytes > kMost) {
    throw Error{{.where = "memory plan",
                 .field = name,
                 .wanted = "at most " + std::to_string(kMost) + " bytes",
                 .found = std::to_string(bytes),
                 .hint = {}}};
  }
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  buffers_.push_back({std::move(name), rounded, first, last, alignment, 0});
  return buffers_.size() - 1;
}

void Planner::finish() {
  std::vector<std::size_t> order(buffers_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [this](std::size_t a, std::size_t b) { return buffers_[a].bytes > buffers_[b].bytes; });
  arena_ = 0;
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t id : order) {
    PlannedBuffer& buffer = buffers_[id];
    std::size_t offset = 0;
    for (const std::size_t other_id : placed) {
      const PlannedBuffer& other = buffers_[other_id];
      if (other.last < buffer.first || buffer.last < other.first) continue;
      if (other.offset >= offset + buffer.bytes) break;  // the gap before it is wide enough
      const std::size_t end = other.offset + other.bytes;
      offset = std::max(offset, (end + buffer.alignment - 1) / buffer.alignment * buffer.alignment);
    }
    buffer.offset = offset;
    arena_ = std::max(arena_, offset + buffer.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [this](std::size_t at, std::size_t p) { return at < buffers_[p].offset; }),
                  id);
  }
}

std::size_t Planner::lower_bound() const {
  std::size_t most = 0;
  for (const PlannedBuffer& at : buffers_) {  // a maximum is reached where some buffer begins
    std::size_t alive = 0;
    for (const PlannedBuffer& b : buffers_) {
      if (b.first <= at.first && at.first <= b.last) alive += b.bytes;
    }
    most = std::max(most, alive);
  }
  return most;
}

}  // namespace m3vit
