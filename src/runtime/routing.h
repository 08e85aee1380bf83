#pragma once
/// From router probabilities to token queues (model.md, "MoE layer" steps 2 and 3). Dropless: every token reaches every
/// expert it chose.
#include <cstddef>
#include <cstdint>

namespace m3vit {

/// Indices of the k largest of p[0 … n), descending; ties: the lower index first; NaN counts as smaller than all.
/// 1 ≤ k ≤ n. Throws nothing, allocates nothing.
void top_k(const float* p, std::size_t n, std::size_t k, std::int32_t* indices);

/// queue[offsets[e] … offsets[e + 1]) lists the tokens that chose expert `first + e`, ascending, with their weights.
struct TokenQueues {
  std::int32_t* tokens = nullptr;   ///< [tokens · top_k]
  float* weights = nullptr;         ///< [tokens · top_k]
  std::int32_t* offsets = nullptr;  ///< [experts + 1]
};

/// Counting sort of a routing table [tokens, k] of experts in [first, first + experts); entries of weight 0 (pruned)
/// are left out.
void fill_queues(const std::int32_t* chosen, const float* weights, std::size_t tokens, std::size_t k, int first,
                 std::size_t experts, const TokenQueues& queues);

}  // namespace m3vit
