#pragma once
/// Runs any predictor over a data set and gathers every task's metrics: the model, the runtime and the accelerator are
/// all measured by this one loop.
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/loader.h"
#include "eval/metric.h"

namespace m3vit {

/// Raw outputs of one task for a batch: [B, C, H, W] at the batch's size.
using Predictor = std::function<std::vector<float>(const Batch& batch, const TaskConfig& task)>;

struct EvalResult {
  std::map<std::string, std::vector<MetricValue>> metrics;  ///< by task
  std::int64_t frames = 0;
  double primary(const std::string& task) const;            ///< the task's primary metric
};

struct EvalOptions {
  std::vector<std::string> tasks;  ///< empty: all of the config
  std::int64_t max_frames = 0;     ///< 0: all
  int metric_threads = 2;
  bool quiet = false;
  std::function<bool()> cancelled; ///< polled between batches
};

EvalResult evaluate(const Dataset& dataset, const Config& config, const Predictor& predict, const EvalOptions& options);

/// Δm in percent against `single` (results keyed like `result`); tasks missing there are left out and named in
/// `missing`. NaN when none is left.
double delta_m(const EvalResult& result, const EvalResult& single, std::vector<std::string>* missing);

nlohmann::json to_json(const EvalResult& result);             ///< {T: {name: value}}
EvalResult eval_result_from_json(const nlohmann::json& json, const std::string& where);
std::string format_table(const EvalResult& result);           ///< aligned text, one row a metric, arrows ↑ ↓

}  // namespace m3vit
