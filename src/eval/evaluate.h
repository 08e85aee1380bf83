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

/// Raw outputs of one task for a batch: [B, C, H, W] at the batch's size. Called from one thread, batch after batch and
/// for each batch task after task.
using Predictor = std::function<std::vector<float>(const Batch& batch, const TaskConfig& task)>;

struct EvalResult {
  std::map<std::string, std::vector<MetricValue>> metrics;  ///< by task
  std::map<std::string, std::vector<double>> per_class;     ///< IoU by class of semseg and human_parts; NaN: absent
  std::int64_t frames = 0;
  double primary(const std::string& task) const;  ///< the task's primary metric; NaN when it was not evaluated
};

struct EvalOptions {
  std::vector<std::string> tasks;  ///< empty: all of the config
  std::int64_t max_frames = 0;     ///< 0: all
  int metric_threads = 2;          ///< ≥ 1; the result does not depend on it
  bool quiet = false;
  std::function<bool()> cancelled;  ///< polled between batches; the result then covers the frames so far
};

/// Frames in the data set's order, config.train.batch_size at a time, without augmentation, labels at model.image_size;
/// of a published archive at their own size, by config.protocol. Throws Error for a task that the config lacks or a
/// prediction of the wrong size.
EvalResult evaluate(const Dataset& dataset, const Config& config, const Predictor& predict, const EvalOptions& options);

/// Δm in percent against `single` (results keyed like `result`); tasks missing there, or without a value, are left out
/// and named in `missing` (may be null). NaN when none is left.
double delta_m(const EvalResult& result, const EvalResult& single, std::vector<std::string>* missing);
/// The same without the edge task, as the authors' script computes PASCAL's: NaN when edge did not count in delta_m.
double delta_m_without_edge(const EvalResult& result, const EvalResult& single);
/// LibMTL's, in percent: the mean over tasks of the mean relative gain of every metric of the task that both have.
/// Tasks without any are left out.
double delta_m_by_metric(const EvalResult& result, const EvalResult& single);

nlohmann::json to_json(const EvalResult& result);            ///< {T: {name: value}}; NaN as null
nlohmann::json per_class_to_json(const EvalResult& result);  ///< {T: [IoU, …]}; absent classes as null
/// Reads `to_json`'s object, or a document that has it under "metrics" (with "frames" and "per_class" where present).
/// Throws Error naming `where` and the field.
EvalResult eval_result_from_json(const nlohmann::json& json, const std::string& where);
std::string format_table(const EvalResult& result);  ///< aligned text, one row a metric, arrows ↑ ↓

}  // namespace m3vit
