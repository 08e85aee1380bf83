#pragma once
/// The DDR image under construction: 64-byte units, each named block once.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "accel/compiler/array.h"
#include "accel/golden/quant_model.h"

namespace m3vit::accel {

/// What of a matrix one pass takes. Input channels come as `segments` equal runs, each padded to whole words (taps of a
/// convolution, heads of the attention's output); the outputs of several matrices are each padded to whole blocks.
struct TileParts {
  std::vector<const QLinear*> matrices;
  int segments = 1;
  int row_words(const Array& a) const { return segments * a.words(matrices[0]->in / segments); }
  int blocks(const Array& a) const;
};

/// Blocks [first, first + count) as a tile (docs/accelerator.md §2).
std::vector<std::byte> pack_tile(const TileParts& parts, const Array& array, int first, int count);
/// Bytes that such a tile takes.
std::size_t tile_bytes(const Array& array, int row_words, int blocks);

class ImageBuilder {
 public:
  struct Section {
    std::string name;
    std::uint32_t address;  ///< 64-byte units
    std::size_t bytes;
  };

  /// `layout_only`: addresses as ever, but nothing is made and `take` gives no bytes.
  explicit ImageBuilder(bool layout_only = false) : layout_only_(layout_only) {}

  /// The unit address of block `name`; its `size` bytes are made by `bytes` when it is new.
  std::uint32_t add(const std::string& name, std::size_t size, const std::function<std::vector<std::byte>()>& bytes);
  /// Room that the machine or the host writes, zeros at first.
  std::uint32_t reserve(const std::string& name, std::size_t bytes);

  const std::vector<Section>& sections() const { return sections_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

  /// Bytes so far.
  std::size_t size() const { return size_; }

 private:
  bool layout_only_;
  std::size_t size_ = 0;
  std::vector<std::byte> bytes_;
  std::vector<Section> sections_;
  std::map<std::string, std::uint32_t> by_name_;
};

}  // namespace m3vit::accel
