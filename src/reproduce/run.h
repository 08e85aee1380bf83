#pragma once
/// Runs a table's jobs, each resumable, and writes what they say.
#include <filesystem>
#include <functional>
#include <optional>

#include "reproduce/report.h"
#include "train/trainer.h"

namespace m3vit {

struct ReproduceOptions {
  PlanOptions plan;
  std::filesystem::path out;  ///< OUT/ROW/seed_N[/TASK]/ are runs; OUT/table.{md,json} and scores.svg the results
  std::function<bool()> interrupted = [] { return false; };
};

class ReproduceObserver {
 public:
  virtual ~ReproduceObserver() = default;
  /// Before run `index` of `count`; the observer of its training, which must live until the next call.
  virtual TrainObserver& starting(const Job& job, std::size_t index, std::size_t count) = 0;
};

/// Trains what is not trained yet (finished runs are kept, begun ones resumed), then writes the report. Empty when it
/// was interrupted: the same call goes on. Throws Error.
std::optional<Report> reproduce(const Table& table, const ReproduceOptions& options, ReproduceObserver& observer);

/// The results of a finished run's folder. Throws Error when it is not one.
JobResult read_job(const std::filesystem::path& run);

}  // namespace m3vit
