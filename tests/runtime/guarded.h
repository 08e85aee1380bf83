#pragma once
/// An array between canaries, to see that a kernel writes nothing beside its output.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace m3vit::testing {

/// `n` values at `offset` values past a 64-byte boundary, with canaries on both sides and, at first, inside.
template <class T>
class Guarded {
 public:
  static constexpr T kCanary = static_cast<T>(-123);
  explicit Guarded(std::size_t n, std::size_t offset = 0) : n_(n), data_(n + 2 * kBorder + kLine + offset, kCanary) {
    const auto address = reinterpret_cast<std::uintptr_t>(data_.data() + kBorder);
    begin_ = kBorder + (64 - address % 64) % 64 / sizeof(T) + offset;
  }
  T* data() { return data_.data() + begin_; }
  const T* data() const { return data_.data() + begin_; }
  std::size_t size() const { return n_; }
  T& operator[](std::size_t i) { return data_[begin_ + i]; }
  T operator[](std::size_t i) const { return data_[begin_ + i]; }
  bool intact() const {
    const auto is_canary = [](T v) { return v == kCanary; };
    const auto first = data_.begin() + static_cast<std::ptrdiff_t>(begin_);
    return std::all_of(data_.begin(), first, is_canary) &&
           std::all_of(first + static_cast<std::ptrdiff_t>(n_), data_.end(), is_canary);
  }

 private:
  static constexpr std::size_t kLine = 64 / sizeof(T);
  static constexpr std::size_t kBorder = 256 / sizeof(T);
  std::size_t n_, begin_ = 0;
  std::vector<T> data_;
};

}  // namespace m3vit::testing
