#pragma once
/// Gradient conflict of a run as records of log.jsonl and as RUN/conflict.json and RUN/conflict.svg, drawn from them.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "train/gradient_conflict.h"

namespace m3vit {

/// {"layers": [{"layer", "params", "cosine": {"a,b": −1 … 1}}]}, pairs in the order of `tasks`.
nlohmann::json conflict_record(const std::vector<LayerConflict>& layers, const std::vector<std::string>& tasks);

/// Over the records of type "conflict":
///   {"measurements", "conflicting": share of (measurement, layer, pair) with a negative cosine, "mean_cosine",
///    "layers": [{"layer", "params", "conflicting", "mean_cosine", "pairs": {"a,b": {"conflicting", "mean_cosine"}}}]}
nlohmann::json conflict_summary(const std::vector<nlohmann::json>& records);

/// Writes both files when there is a measurement.
void write_conflict(const std::filesystem::path& run, const std::vector<nlohmann::json>& records);

}  // namespace m3vit
