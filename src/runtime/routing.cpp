#include "runtime/routing.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace m3vit {
namespace {

// A strict weak order also with NaN, so that indices stay valid whatever the input.
bool larger(float a, float b) { return std::isnan(b) ? !std::isnan(a) : a > b; }

}  // namespace

void top_k(const float* p, std::size_t n, std::size_t k, std::int32_t* indices) {
  assert(k >= 1 && k <= n);
  std::size_t held = 0;
  for (std::size_t e = 0; e < n; ++e) {
    if (held == k && !larger(p[e], p[indices[k - 1]])) continue;
    std::size_t at = held < k ? held++ : k - 1;
    for (; at > 0 && larger(p[e], p[indices[at - 1]]); --at) indices[at] = indices[at - 1];
    indices[at] = static_cast<std::int32_t>(e);
  }
}

void fill_queues(const std::int32_t* chosen, const float* weights, std::size_t tokens, std::size_t k, int first,
                 std::size_t experts, const TokenQueues& queues) {
  std::fill_n(queues.offsets, experts + 1, 0);
  for (std::size_t i = 0; i < tokens * k; ++i) {
    if (weights[i] != 0.0F) ++queues.offsets[chosen[i] - first + 1];
  }
  for (std::size_t e = 0; e < experts; ++e) queues.offsets[e + 1] += queues.offsets[e];
  // Placing moves offsets[e] to the end of queue e, which is the start of e + 1; the shift afterwards restores them.
  for (std::size_t i = 0; i < tokens * k; ++i) {
    if (weights[i] == 0.0F) continue;
    const std::int32_t at = queues.offsets[chosen[i] - first]++;
    queues.tokens[at] = static_cast<std::int32_t>(i / k);
    queues.weights[at] = weights[i];
  }
  for (std::size_t e = experts; e > 0; --e) queues.offsets[e] = queues.offsets[e - 1];
  queues.offsets[0] = 0;
}

}  // namespace m3vit
