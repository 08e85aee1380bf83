#include "runtime/section_table.h"

#include "runtime/layout.h"

namespace m3vit {

SectionTable::SectionTable(const Config& config, const std::vector<int>& tasks) {
  const ModelConfig& m = config.model;
  const std::vector<int> experts = m.moe ? reachable_experts(config, tasks) : std::vector<int>{};
  embed = count++;
  for (int i = 0; i < m.depth; ++i) {
    Block b;
    b.attn = count++;
    b.mlp = count++;
    if (m.is_moe(i)) {
      b.router.assign(config.tasks.size(), kNone);
      b.expert.assign(static_cast<std::size_t>(m.moe->num_experts), kNone);
      for (const int t : tasks) b.router[static_cast<std::size_t>(t)] = count++;
      for (const int e : experts) b.expert[static_cast<std::size_t>(e)] = count++;
    }
    blocks.push_back(std::move(b));
  }
  heads.assign(config.tasks.size(), kNone);
  for (const int t : tasks) heads[static_cast<std::size_t>(t)] = count++;
}

}  // namespace m3vit
