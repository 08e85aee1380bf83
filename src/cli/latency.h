#pragma once
/// Latencies of a run and what is said of them.
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace m3vit::cli {

/// The smallest value that at least `percent` % of `values` do not exceed (nearest rank); 0 for none.
double percentile(std::vector<double> values, double percent);

/// Milliseconds by task, in the order in which tasks first came.
class Latencies {
 public:
  void add(const std::string& task, double milliseconds);
  bool empty() const { return tasks_.empty(); }
  /// Of the last run added; 0 before the first.
  double recent() const { return recent_; }
  /// {T: {"p50", "p95", "p99", "frames"}}
  nlohmann::json to_json() const;
  /// A table with a line a task; each ends with a newline.
  std::string table() const;

 private:
  std::vector<std::pair<std::string, std::vector<double>>> tasks_;
  double recent_ = 0;
};

}  // namespace m3vit::cli
