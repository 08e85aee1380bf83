#pragma once
/// A plain interleaved array [height, width, channels]: what every room can hand to every other without a library type.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace m3vit {

template <class T>
struct Image {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<T> data;  ///< row-major, channel fastest

  Image() = default;
  Image(int h, int w, int c, T fill = T{})
      : height(h),
        width(w),
        channels(c),
        data(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * static_cast<std::size_t>(c), fill) {}

  bool empty() const { return data.empty(); }
  std::size_t index(int y, int x, int c = 0) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) *
               static_cast<std::size_t>(channels) +
           static_cast<std::size_t>(c);
  }
  T& at(int y, int x, int c = 0) { return data[index(y, x, c)]; }
  const T& at(int y, int x, int c = 0) const { return data[index(y, x, c)]; }
  bool operator==(const Image&) const = default;
};

using ImageU8 = Image<std::uint8_t>;
using ImageU16 = Image<std::uint16_t>;
using ImageF32 = Image<float>;

}  // namespace m3vit
