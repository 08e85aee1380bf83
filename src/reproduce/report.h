#pragma once
/// What a table's runs say together: means over seeds, Δm, costs.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/evaluate.h"
#include "reproduce/table.h"

namespace m3vit {

/// What one run left behind.
struct JobResult {
  EvalResult last;     ///< the last epoch's
  Config config;       ///< as it was trained, outputs resolved from the data set
  EvalResult best;     ///< of the epoch with the best score (train/trainer.h) on the test split
  double seconds = 0;  ///< of training
  std::int64_t steps = 0;
  std::vector<std::pair<double, double>> scores = {};  ///< (epoch, score) of each evaluation
  nlohmann::json conflict = {}, routing = {};          ///< RUN/conflict.json and routing.json; null where it has none
};

struct Spread {
  double mean = 0;
  double error = 0;  ///< standard error over seeds; NaN with one
  int count = 0;
};
/// Mean and standard error of the finite values.
Spread spread(const std::vector<double>& values);
/// NaN becomes null.
nlohmann::json to_json(const Spread& spread);

struct RowReport {
  std::size_t row = 0;
  std::map<std::string, Spread> primary;  ///< by task, the last epoch's primary metric
  Spread delta_m;                         ///< percent, last epoch, against the same seed of the `against` row
  Spread delta_m_best;                    ///< the same with each run's best epoch
  Spread delta_m_without_edge;
  std::int64_t params = 0;          ///< of all networks of the row
  std::int64_t macs_one_task = 0;   ///< mean over tasks of what one task of one frame costs
  std::int64_t macs_all_tasks = 0;  ///< of one frame with every task, nothing shared computed twice
  double seconds = 0;               ///< training, mean over seeds, summed over a row's networks
  std::vector<double> scores;       ///< by seed, for the record
};

struct Report {
  Table table;
  std::string scale;
  std::vector<TaskConfig> tasks;
  std::vector<RowReport> rows;
  std::int64_t missing = 0;  ///< runs that are not finished and so not in `rows`
};

/// `results` parallel to `jobs`.
Report make_report(const Table& table, const std::string& scale, const std::vector<Job>& jobs,
                   const std::vector<JobResult>& results);
nlohmann::json to_json(const Report& report);
std::string to_markdown(const Report& report);

}  // namespace m3vit
