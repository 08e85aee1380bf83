#include "accel/machine/expert_walk.h"

#include <algorithm>
#include <map>
#include <utility>

namespace m3vit::accel {
namespace {

/// The groups of entries that share an expert, in order.
std::vector<std::vector<std::uint32_t>> groups(ExpertMode mode, const Entries& entries) {
  std::vector<std::vector<std::uint32_t>> out;
  const auto n = static_cast<std::uint32_t>(entries.size());
  if (mode == ExpertMode::kExpert) {
    std::map<int, std::vector<std::uint32_t>> by_expert;
    for (std::uint32_t i = 0; i < n; ++i) by_expert[entries[i].expert].push_back(i);
    for (auto& [expert, rows] : by_expert) out.push_back(std::move(rows));
    return out;
  }
  const bool pairs = mode == ExpertMode::kTokenPairs;
  for (std::uint32_t i = 0; i < n;) {
    const int first = entries[i].token;
    std::uint32_t end = i;
    while (end < n && (entries[end].token == first || (pairs && entries[end].token / 2 == first / 2))) ++end;
    std::vector<std::vector<std::uint32_t>> some;
    for (; i < end; ++i) {
      const auto same = std::find_if(some.begin(), some.end(),
                                     [&](const auto& g) { return pairs && entries[g[0]].expert == entries[i].expert; });
      if (same == some.end()) {
        some.push_back({i});
      } else {
        same->push_back(i);
      }
    }
    out.insert(out.end(), some.begin(), some.end());
  }
  return out;
}

}  // namespace

std::vector<WorkItem> expert_walk(ExpertMode mode, const Entries& entries, int slots) {
  struct Slot {
    std::pair<int, int> tile{-1, -1};
    std::uint64_t used = 0;
  };
  std::vector<Slot> held(static_cast<std::size_t>(slots));
  std::vector<WorkItem> items;
  std::size_t next = 0;
  std::uint64_t clock = 0;
  for (const std::vector<std::uint32_t>& rows : groups(mode, entries)) {
    for (const int half : {0, 1}) {
      WorkItem item{entries[rows[0]].expert, half, 0, true, rows};
      const std::pair<int, int> tile{item.expert, half};
      std::size_t slot = next;
      if (mode == ExpertMode::kTokenCached) {
        auto at = std::find_if(held.begin(), held.end(), [&](const Slot& s) { return s.tile == tile; });
        item.load = at == held.end();
        if (item.load) {
          at = std::min_element(held.begin(), held.end(), [](const Slot& a, const Slot& b) { return a.used < b.used; });
        }
        slot = static_cast<std::size_t>(at - held.begin());
      } else {
        next = (next + 1) % held.size();
      }
      held[slot] = {tile, ++clock};
      item.slot = static_cast<int>(slot);
      items.push_back(std::move(item));
    }
  }
  return items;
}

}  // namespace m3vit::accel
