#pragma once
/// Runs side by side: metrics, Δm, parameters and MACs (`m3vit compare`).
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/model_cost.h"
#include "eval/evaluate.h"

namespace m3vit {

struct RunResult {
  std::string name;  ///< the folder's or file's name
  EvalResult result;
  std::optional<std::int64_t> epoch;
  std::optional<ModelCost> cost;  ///< when the file carries its configuration
};

/// A training run's folder (its metrics.json) or the JSON document of `m3vit eval --json`. Throws Error.
RunResult read_run(const std::filesystem::path& path);

/// Single-task results from several such files, each giving the tasks it has. Throws Error when two give the same task.
EvalResult read_single_tasks(const std::vector<std::filesystem::path>& paths);

struct Comparison {
  std::vector<RunResult> runs;
  EvalResult baseline;  ///< S of Δm
  std::string baseline_name;
  std::vector<double> delta_m;                    ///< percent, one a run; NaN when it shares no task with the baseline
  std::vector<double> delta_m_without_edge;       ///< NaN where edge does not count in delta_m
  std::vector<std::vector<std::string>> missing;  ///< tasks left out of each run's Δm
};

/// Δm against `single`, or against the first run when there is none.
Comparison compare_runs(std::vector<RunResult> runs, const std::optional<EvalResult>& single);

nlohmann::json to_json(const Comparison& comparison);
/// One column a run, one row a metric; the best value of a row is marked with *.
std::string format_table(const Comparison& comparison);

}  // namespace m3vit
