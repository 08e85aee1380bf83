#include "cli/paired.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "cli/latency.h"

namespace m3vit::cli {

std::vector<std::vector<double>> take_turns(const std::vector<Rival>& rivals, int rounds,
                                            const std::function<bool()>& before) {
  std::vector<std::vector<double>> milliseconds(rivals.size());
  for (const Rival& rival : rivals) rival.run();
  for (int round = 0; round < rounds; ++round) {
    if (before && !before()) break;
    for (std::size_t n = 0; n < rivals.size(); ++n) {
      const std::size_t i = round % 2 == 0 ? n : rivals.size() - 1 - n;
      const auto begin = std::chrono::steady_clock::now();
      rivals[i].run();
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
      milliseconds[i].push_back(took.count());
    }
  }
  return milliseconds;
}

double median(std::vector<double> values) { return percentile(std::move(values), 50); }

double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  return median(std::move(ratios));
}

}  // namespace m3vit::cli
