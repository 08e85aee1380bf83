#include "cli/latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace m3vit::cli {

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0.0;
  const double rank = std::ceil(percent / 100.0 * static_cast<double>(values.size()));
  const auto index = static_cast<std::ptrdiff_t>(std::clamp(rank, 1.0, static_cast<double>(values.size()))) - 1;
  std::nth_element(values.begin(), values.begin() + index, values.end());
  return values[static_cast<std::size_t>(index)];
}

void Latencies::add(const std::string& task, double milliseconds) {
  recent_ = milliseconds;
  for (auto& [name, values] : tasks_) {
    if (name != task) continue;
    values.push_back(milliseconds);
    return;
  }
  tasks_.push_back({task, {milliseconds}});
}

nlohmann::json Latencies::to_json() const {
  nlohmann::json all = nlohmann::json::object();
  for (const auto& [name, values] : tasks_) {
    all[name] = {{"p50", percentile(values, 50)},
                 {"p95", percentile(values, 95)},
                 {"p99", percentile(values, 99)},
                 {"frames", values.size()}};
  }
  return all;
}

std::string Latencies::table() const {
  std::string text = fmt::format("{:<12} {:>8} {:>9} {:>9} {:>9}\n", "task", "frames", "p50 ms", "p95 ms", "p99 ms");
  for (const auto& [name, values] : tasks_) {
    text += fmt::format("{:<12} {:>8} {:>9.2f} {:>9.2f} {:>9.2f}\n", name, values.size(), percentile(values, 50),
                        percentile(values, 95), percentile(values, 99));
  }
  return text;
}

}  // namespace m3vit::cli
