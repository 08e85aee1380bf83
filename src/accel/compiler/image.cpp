#include "accel/compiler/image.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace m3vit::accel {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

std::size_t padded(std::size_t bytes) {
  return (bytes + Array::kBeatBytes - 1) / Array::kBeatBytes * Array::kBeatBytes;
}

}  // namespace

int TileParts::blocks(const Array& a) const {
  int n = 0;
  for (const QLinear* m : matrices) n += a.words(m->out);
  return n;
}

std::size_t tile_bytes(const Array& array, int row_words, int blocks) {
  const std::size_t w = size(array.width);
  return padded(8 * w * size(blocks)) + padded(w * w * size(blocks) * size(row_words));
}

std::vector<std::byte> pack_tile(const TileParts& parts, const Array& array, int first, int count) {
  const std::size_t w = size(array.width);
  const int row_words = parts.row_words(array);
  std::vector<std::byte> tile(tile_bytes(array, row_words, count));
  std::byte* const weights = tile.data() + padded(8 * w * size(count));
  int block = 0;
  for (const QLinear* m : parts.matrices) {
    const std::size_t run = size(m->in / parts.segments);
    for (int b = 0; b < array.words(m->out); ++b, ++block) {
      if (block < first || block >= first + count) continue;
      const std::size_t at = size(block - first);
      for (std::size_t lane = 0; lane < w && size(b) * w + lane < size(m->out); ++lane) {
        const std::size_t output = size(b) * w + lane;
        const std::uint64_t param = m->params[output].bits();
        std::memcpy(tile.data() + (at * w + lane) * 8, &param, 8);
        for (std::size_t i = 0; i < size(m->in); ++i) {
          const std::size_t word = i / run * size(array.words(static_cast<int>(run))) + i % run / w;
          weights[((at * size(row_words) + word) * w + lane) * w + i % run % w] =
              static_cast<std::byte>(m->weight[output * size(m->in) + i]);
        }
      }
    }
  }
  return tile;
}

std::uint32_t ImageBuilder::add(const std::string& name, std::size_t size,
                                const std::function<std::vector<std::byte>()>& bytes) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  const std::uint32_t address = reserve(name, size);
  if (layout_only_) return address;
  const std::vector<std::byte> block = bytes();
  assert(block.size() == size);
  std::copy(block.begin(), block.end(),
            bytes_.begin() + static_cast<std::ptrdiff_t>(std::size_t{address} * Array::kBeatBytes));
  return address;
}

std::uint32_t ImageBuilder::reserve(const std::string& name, std::size_t bytes) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  const auto address = static_cast<std::uint32_t>(size_ / Array::kBeatBytes);
  size_ += padded(bytes);
  if (!layout_only_) bytes_.resize(size_);
  sections_.push_back({name, address, bytes});
  by_name_[name] = address;
  return address;
}

}  // namespace m3vit::accel
