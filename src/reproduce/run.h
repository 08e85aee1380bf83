#pragma once
/// Runs a table's jobs, each resumable, and writes what they say.
#include <filesystem>
#include <functional>
#include <optional>

#include "reproduce/report.h"

namespace m3vit {

struct ReproduceOptions {
  PlanOptions plan;
  std::filesystem::path out;  ///< OUT/ROW/seed_N[/TASK]/ are runs; OUT/table.{md,json} and scores.svg the results
  int jobs = 1;               ///< trainings at a time, each in its own process; they share the cores
  std::function<bool()> interrupted = [] { return false; };
};

struct RunningJob {
  const Job* job;
  std::int64_t step = 0, total = 0;  ///< total 0: not started yet
  double loss = 0;
};

class ReproduceObserver {
 public:
  virtual ~ReproduceObserver() = default;
  virtual void warning(const Job&, const std::string& /*text*/) {}
  /// `done` of `count` runs are finished, `kept` of them before this call.
  virtual void progress(std::size_t /*done*/, std::size_t /*kept*/, std::size_t /*count*/,
                        const std::vector<RunningJob>&) {}
};

/// Trains what is not trained yet (finished runs are kept, begun ones resumed). The report is written whenever a run is
/// finished; rows and seeds whose runs are not all there are left out of it, and counted. Empty when it was
/// interrupted: the same call goes on. A run that diverges or is killed does not stop the others; it is named by the
/// runtime_error at the end. Throws Error.
std::optional<Report> reproduce(const Table& table, const ReproduceOptions& options, ReproduceObserver& observer);

/// The results of a finished run's folder. Throws Error when it is not one.
JobResult read_job(const std::filesystem::path& run);

}  // namespace m3vit
