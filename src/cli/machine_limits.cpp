#include "cli/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "cli/peak.h"

namespace m3vit::cli {
namespace {

/// Sum over threads of each one's result, all running at once.
double on_all(int threads, const std::function<double(std::size_t)>& work) {
  std::vector<double> each(static_cast<std::size_t>(threads));
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < each.size(); ++i) others.emplace_back([&, i] { each[i] = work(i); });
    each[0] = work(0);
  }
  return std::accumulate(each.begin(), each.end(), 0.0);
}

}  // namespace

double peak_macs(std::string_view isa, Precision precision, int threads) {
  return on_all(threads, [&](std::size_t) { return measured_peak(isa, precision); }) / 2.0;
}

double read_bandwidth(int threads) {
  constexpr std::size_t kWords = std::size_t{12} << 20U;  // 96 MiB a thread: beyond any cache here
  std::vector<std::vector<std::uint64_t>> data(static_cast<std::size_t>(threads),
                                               std::vector<std::uint64_t>(kWords, 1));
  double best = 0.0;
  for (int pass = 0; pass < 3; ++pass) {
    best = std::max(best, on_all(threads, [&](std::size_t thread) {
                      const std::vector<std::uint64_t>& mine = data[thread];
                      const auto begin = std::chrono::steady_clock::now();
                      const std::uint64_t sum = std::accumulate(mine.begin(), mine.end(), std::uint64_t{0});
                      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
                      return sum == kWords ? static_cast<double>(kWords * sizeof(sum)) / took.count() : 0.0;
                    }));
  }
  return best;
}

}  // namespace m3vit::cli
