#include "reproduce/run.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/progress.h"
#include "eval/plot.h"
#include "reproduce/processes.h"
#include "reproduce/sharing.h"
#include "train/threads.h"
#include "train/trainer.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::chrono::milliseconds kBetweenMessages{500};

/// Mean score of each row over the epochs, over its seeds and networks.
std::string score_curves(const Table& table, const std::vector<Job>& jobs, const std::vector<JobResult>& results) {
  std::vector<Series> series;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    std::map<double, std::pair<double, int>> sums;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (jobs[i].row != r) continue;
      for (const auto& [epoch, score] : results[i].scores) {
        auto& [sum, count] = sums[epoch];
        sum += score;
        ++count;
      }
    }
    if (sums.empty()) continue;
    Series s{.name = table.rows[r].label, .x = {}, .y = {}};
    for (const auto& [epoch, total] : sums) {
      s.x.push_back(epoch);
      s.y.push_back(total.first / total.second);
    }
    series.push_back(std::move(s));
  }
  PlotOptions options;
  options.title = table.title + ": score on the test split";
  options.x_label = "epoch";
  options.y_label = "mean log of the tasks' metrics";
  return plot_svg(series, options);
}

/// Tells the parent how the training in this child is doing.
class Messages final : public TrainObserver {
 public:
  explicit Messages(const Send& send) : send_(send) {}

  void started(const RunInfo& info) override {
    for (const std::string& w : info.warnings) send_({{"warning", w}});
    send_({{"started", info.first_step}, {"total", info.total_steps}});
  }
  void step(const StepInfo& info) override {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kBetweenMessages && info.step < info.total_steps) return;
    last_ = now;
    send_({{"step", info.step}, {"total", info.total_steps}, {"loss", info.loss}});
  }

 private:
  const Send& send_;
  std::chrono::steady_clock::time_point last_;
};

/// What is running and what is done, as the observer is told it.
class Board {
 public:
  Board(const std::vector<Job>& jobs, ReproduceObserver& observer) : jobs_(jobs), observer_(observer) {}

  void start(std::size_t index) { running_.push_back({&jobs_[index]}); }
  void take(std::size_t index, const json& message) {
    if (message.contains("warning")) return observer_.warning(jobs_[index], message["warning"]);
    RunningJob& job = *find(index);
    job.total = message.at("total");
    job.step = message.contains("started") ? message["started"] : message.at("step");
    job.loss = message.value("loss", 0.0);
    if (message.contains("started") && job.step == job.total) ++kept_;
    tell();
  }
  void finish(std::size_t index) {
    running_.erase(find(index));
    ++done_;
    tell();
  }

 private:
  std::vector<RunningJob>::iterator find(std::size_t index) {
    return std::find_if(running_.begin(), running_.end(), [&](const RunningJob& r) { return r.job == &jobs_[index]; });
  }
  void tell() { observer_.progress(done_, kept_, jobs_.size(), running_); }

  const std::vector<Job>& jobs_;
  ReproduceObserver& observer_;
  std::vector<RunningJob> running_;
  std::size_t done_ = 0, kept_ = 0;
};

/// The results so far, of the rows and seeds whose runs are all there.
class Results {
 public:
  Results(const Table& table, const ReproduceOptions& options, const std::vector<Job>& jobs)
      : table_(table), options_(options), jobs_(jobs), results_(jobs.size()) {}

  void read(std::size_t index) { results_[index] = read_job(options_.out / jobs_[index].folder); }

  Report write() const {
    std::set<std::pair<std::size_t, int>> unfinished;
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      if (!results_[i]) unfinished.emplace(jobs_[i].row, jobs_[i].seed);
    }
    std::vector<Job> jobs;
    std::vector<JobResult> results;
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      if (unfinished.contains({jobs_[i].row, jobs_[i].seed})) continue;
      jobs.push_back(jobs_[i]);
      results.push_back(*results_[i]);
    }
    Report report = make_report(table_, options_.plan.scale, jobs, results);
    report.missing = std::count(results_.begin(), results_.end(), std::nullopt);
    write_text_file(options_.out / "table.json", to_json(report).dump(1) + "\n");
    write_text_file(options_.out / "table.md", to_markdown(report));
    write_text_file(options_.out / "scores.svg", score_curves(table_, jobs, results));
    write_sharing(options_.out, table_, sharing_report(table_, jobs, results));
    return report;
  }

 private:
  const Table& table_;
  const ReproduceOptions& options_;
  const std::vector<Job>& jobs_;
  std::vector<std::optional<JobResult>> results_;
};

/// Null when there is no such file.
json read_json(const fs::path& path) {
  std::ifstream in(path);
  if (!in) return {};
  json document = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) throw Error{{.where = path.string(), .wanted = "JSON", .found = "something else"}};
  return document;
}

bool train_job(const Job& job, const ReproduceOptions& options, const Send& send) {
  Progress::set_quiet(true);  // the parent shows all children's
  Config config = job.config;
  if (config.train.threads == 0) config.train.threads = std::max(1, usable_cores() / options.jobs);
  TrainOptions train_options;
  train_options.run = options.out / job.folder;
  train_options.resume = true;
  train_options.interrupted = options.interrupted;
  Messages messages(send);
  return train(std::move(config), train_options, messages).end == TrainEnd::kFinished;
}

}  // namespace

JobResult read_job(const fs::path& run) {
  const std::string where = (run / "log.jsonl").string();
  JobResult result;
  double best = -std::numeric_limits<double>::infinity();
  std::ifstream in(where);
  for (std::string line; std::getline(in, line);) {
    const json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!record.is_object() || record.value("type", "") != "epoch" || !record.contains("metrics")) continue;
    result.last = eval_result_from_json(record["metrics"], where);
    result.seconds = record.value("seconds", 0.0);
    result.steps = record.value("step", std::int64_t{0});
    const double score = record.value("score", 0.0);
    result.scores.emplace_back(record.value("epoch", 0.0), score);
    if (score > best) {
      best = score;
      result.best = result.last;
    }
  }
  if (result.scores.empty()) throw Error{{.where = where, .wanted = "an evaluated epoch", .found = "none"}};
  const fs::path metrics = run / "metrics.json";
  const json document = read_json(metrics);
  if (!document.is_object() || !document.contains("config")) {
    throw Error{{.where = metrics.string(), .field = "config", .wanted = "the run's configuration", .found = "none"}};
  }
  result.conflict = read_json(run / "conflict.json");
  result.routing = read_json(run / "routing.json");
  result.config = config_from_text(document["config"].dump(), metrics.string());
  return result;
}

std::optional<Report> reproduce(const Table& table, const ReproduceOptions& options, ReproduceObserver& observer) {
  const std::vector<Job> jobs = plan(table, options.plan);
  Results results(table, options, jobs);
  Board board(jobs, observer);
  ProcessEvents events;
  events.started = [&](std::size_t i) { board.start(i); };
  events.message = [&](std::size_t i, const json& message) { board.take(i, message); };
  events.finished = [&](std::size_t i) {
    board.finish(i);
    results.read(i);
    results.write();
  };
  const ProcessesEnd end = run_processes(
      jobs.size(), options.jobs, [&](std::size_t i, const Send& send) { return train_job(jobs[i], options, send); },
      events, options.interrupted);
  if (end.interrupted) return std::nullopt;
  if (!end.failures.empty()) {
    std::string text = std::to_string(end.failures.size()) + " of " + std::to_string(jobs.size()) + " runs failed";
    for (const auto& [index, what] : end.failures) text += "\n  " + jobs[index].folder + ": " + what;
    throw std::runtime_error(text);
  }
  return results.write();
}

}  // namespace m3vit
