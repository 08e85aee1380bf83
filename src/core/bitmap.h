#pragma once
/// A binary image, 64 pixels a word. One zero word stands left and right of every row and one zero row above and below,
/// so that neighbourhoods need no border cases.
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace m3vit {

class Bitmap {
 public:
  Bitmap() = default;
  Bitmap(int height, int width)
      : height_(height),
        width_(width),
        words_((width + 63) / 64),
        data_(static_cast<std::size_t>(height + 2) * static_cast<std::size_t>(words_ + 2)) {
    assert(height >= 0 && width >= 0);
  }

  int height() const { return height_; }
  int width() const { return width_; }
  int words() const { return words_; }                  ///< a row, without its border
  std::ptrdiff_t stride() const { return words_ + 2; }  ///< words from a row to the next

  /// First word of row y, −1 ≤ y ≤ height; words −1 and words() of it may be read.
  std::uint64_t* row(int y) { return data_.data() + (y + 1) * stride() + 1; }
  const std::uint64_t* row(int y) const { return data_.data() + (y + 1) * stride() + 1; }

  bool get(int y, int x) const { return (row(y)[x >> 6] >> (x & 63) & 1U) != 0; }
  void set(int y, int x) { row(y)[x >> 6] |= std::uint64_t{1} << (x & 63); }
  void clear(int y, int x) { row(y)[x >> 6] &= ~(std::uint64_t{1} << (x & 63)); }

  std::int64_t count() const {
    std::int64_t n = 0;
    for (const std::uint64_t word : data_) n += std::popcount(word);
    return n;
  }
  /// Removes the pixels that `other`, of the same size, has.
  void subtract(const Bitmap& other) {
    assert(other.data_.size() == data_.size());
    for (std::size_t i = 0; i < data_.size(); ++i) data_[i] &= ~other.data_[i];
  }
  void unite(const Bitmap& other) {
    assert(other.data_.size() == data_.size());
    for (std::size_t i = 0; i < data_.size(); ++i) data_[i] |= other.data_[i];
  }
  /// Calls f(y, x) for every set pixel, row by row.
  template <class F>
  void for_each(F&& f) const {
    for (int y = 0; y < height_; ++y) {
      for (int w = 0; w < words_; ++w) {
        for (std::uint64_t word = row(y)[w]; word != 0; word &= word - 1) f(y, w * 64 + std::countr_zero(word));
      }
    }
  }
  bool operator==(const Bitmap&) const = default;

 private:
  int height_ = 0, width_ = 0, words_ = 0;
  std::vector<std::uint64_t> data_;
};

}  // namespace m3vit
