#pragma once
/// A run folder's logs. `log.jsonl` is the record (one JSON object a line, "type": "step" | "epoch"); `epochs.csv`,
/// `curves.svg`, `metrics.svg` and `routing.json` are drawn from it and rewritten at each epoch.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/config.h"

namespace m3vit {

class RunLog {
 public:
  /// Opens RUN/log.jsonl for appending; lines after `step` (of a run that was killed beyond its last checkpoint, or
  /// cut off in the middle) are dropped first. Throws Error when the folder is not writable.
  RunLog(std::filesystem::path run, const Config& config, std::int64_t step);

  void append(const nlohmann::json& record);
  /// Rewrites what is derived from the records.
  void draw() const;
  const std::vector<nlohmann::json>& records() const { return records_; }
  /// The newest epoch record with metrics, or null.
  const nlohmann::json* last_evaluation() const;

 private:
  void write_csv() const;
  void write_curves() const;
  void write_metric_curves() const;

  std::filesystem::path run_;
  std::vector<std::string> tasks_;
  std::vector<nlohmann::json> records_;
  std::ofstream out_;
};

}  // namespace m3vit
