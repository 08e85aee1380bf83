#pragma once
/// Lays buffers with known lifetimes into one arena: two buffers that are alive at the same step never share a byte,
/// others may. Greedy by size, first fit (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net
/// Inference"): largest first, each at the lowest free offset.
#include <cstddef>
#include <string>
#include <vector>

namespace m3vit {

struct PlannedBuffer {
  std::string name;
  std::size_t bytes = 0;
  int first = 0, last = 0;  ///< steps, inclusive
  std::size_t alignment = 0;
  std::size_t offset = 0;  ///< set by `finish`
};

class Planner {
 public:
  /// Cache line and the widest vector.
  static constexpr std::size_t kAlignment = 64;

  /// Returns the buffer's id. `first` ≤ `last`; `alignment` is a multiple of kAlignment.
  std::size_t add(std::string name, std::size_t bytes, int first, int last, std::size_t alignment = kAlignment);
  /// Places everything; more may be added and all placed again. Throws Error ("memory plan") when a size is beyond what
  /// an address can hold.
  void finish();

  const std::vector<PlannedBuffer>& buffers() const { return buffers_; }
  std::size_t offset(std::size_t id) const { return buffers_[id].offset; }
  std::size_t arena_bytes() const { return arena_; }
  /// The largest sum of sizes alive at one step: no plan can be smaller.
  std::size_t lower_bound() const;

 private:
  std::vector<PlannedBuffer> buffers_;
  std::size_t arena_ = 0;
};

}  // namespace m3vit
