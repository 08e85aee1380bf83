#pragma once
/// A clock and a median for bench programs.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace m3vit::timing {

template <class F>
double seconds_of(const F& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The upper one of an even number; `v` is not empty.
inline double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

}  // namespace m3vit::timing
