#include "runtime/section_table.h"

namespace m3vit {

SectionTable::SectionTable(const Config& config, const Packing& packing) {
  const ModelConfig& m = config.model;
  embed = count++;
  for (int i = 0; i < m.depth; ++i) {
    Block b;
    b.attn = count++;
    b.mlp = count++;
    if (m.is_moe(i)) {
      b.router.assign(config.tasks.size(), kNone);
      b.expert.assign(static_cast<std::size_t>(m.moe->num_experts), kNone);
      for (const int t : packing.tasks) b.router[static_cast<std::size_t>(t)] = count++;
      for (const int e : packed_experts(config, packing, i)) b.expert[static_cast<std::size_t>(e)] = count++;
    }
    blocks.push_back(std::move(b));
  }
  heads.assign(config.tasks.size(), kNone);
  for (const int t : packing.tasks) heads[static_cast<std::size_t>(t)] = count++;
}

}  // namespace m3vit
