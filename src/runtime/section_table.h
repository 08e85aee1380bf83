#pragma once
/// Where a file's sections stand in the order of section_layouts, by what they are for.
#include <cstddef>
#include <vector>

#include "core/config.h"
#include "runtime/layout.h"

namespace m3vit {

struct SectionTable {
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);  ///< the file lacks it: another task's, or pruned
  struct Block {
    std::size_t attn = kNone;
    std::size_t mlp = kNone;          ///< the dense MLP; of an MoE block its norm2
    std::vector<std::size_t> router;  ///< by task of the configuration; empty for a dense block
    std::vector<std::size_t> expert;  ///< by expert; empty for a dense block
  };
  SectionTable(const Config& config, const Packing& packing);

  std::size_t embed = 0;
  std::vector<Block> blocks;
  std::vector<std::size_t> heads;  ///< by task of the configuration
  std::size_t count = 0;
};

}  // namespace m3vit
