#include "reproduce/run.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/error.h"
#include "eval/plot.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Epoch records of a run's log that carry an evaluation.
std::vector<json> evaluations(const fs::path& run) {
  std::vector<json> result;
  std::ifstream in(run / "log.jsonl");
  for (std::string line; std::getline(in, line);) {
    json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (record.is_object() && record.value("type", "") == "epoch" && record.contains("metrics")) {
      result.push_back(std::move(record));
    }
  }
  return result;
}

/// Mean score of each row over the epochs, over its seeds and networks.
std::string score_curves(const Table& table, const std::vector<Job>& jobs, const fs::path& out) {
  std::vector<Series> series;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    std::map<double, std::pair<double, int>> sums;
    for (const Job& job : jobs) {
      if (job.row != r) continue;
      for (const json& e : evaluations(out / job.folder)) {
        auto& [sum, count] = sums[e.at("epoch").get<double>()];
        sum += e.at("score").get<double>();
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

}  // namespace

JobResult read_job(const fs::path& run) {
  const std::vector<json> list = evaluations(run);
  if (list.empty()) {
    throw Error{{.where = (run / "log.jsonl").string(), .wanted = "an evaluated epoch", .found = "none"}};
  }
  const std::string where = (run / "log.jsonl").string();
  JobResult result;
  double best = -std::numeric_limits<double>::infinity();
  for (const json& e : list) {
    const double score = e.value("score", 0.0);
    if (score <= best) continue;
    best = score;
    result.best = eval_result_from_json(e.at("metrics"), where);
  }
  const fs::path metrics = run / "metrics.json";
  const json document = json::parse(std::ifstream(metrics), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("config")) {
    throw Error{{.where = metrics.string(), .field = "config", .wanted = "the run's configuration", .found = "none"}};
  }
  result.config = config_from_text(document["config"].dump(), metrics.string());
  result.last = eval_result_from_json(list.back().at("metrics"), where);
  result.seconds = list.back().value("seconds", 0.0);
  result.steps = list.back().value("step", std::int64_t{0});
  return result;
}

std::optional<Report> reproduce(const Table& table, const ReproduceOptions& options, ReproduceObserver& observer) {
  const std::vector<Job> jobs = plan(table, options.plan);
  std::vector<JobResult> results;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    TrainOptions train_options;
    train_options.run = options.out / jobs[i].folder;
    train_options.resume = true;
    train_options.interrupted = options.interrupted;
    const TrainOutcome outcome = train(jobs[i].config, train_options, observer.starting(jobs[i], i, jobs.size()));
    if (outcome.end == TrainEnd::kInterrupted) return std::nullopt;
    results.push_back(read_job(train_options.run));
  }
  Report report = make_report(table, options.plan.scale, jobs, results);
  write_text_file(options.out / "table.json", to_json(report).dump(1) + "\n");
  write_text_file(options.out / "table.md", to_markdown(report));
  write_text_file(options.out / "scores.svg", score_curves(table, jobs, options.out));
  return report;
}

}  // namespace m3vit
