#include "reproduce/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/model_cost.h"

namespace m3vit {
namespace {

using testing::HasSubstr;
using testing::Not;

EvalResult measured(double miou, double rmse) {
  EvalResult r;
  r.metrics["semseg"] = {{"mIoU", miou}};
  r.metrics["depth"] = {{"rmse", rmse}};
  return r;
}
EvalResult only(const EvalResult& r, const std::string& task) {
  EvalResult one;
  one.metrics[task] = r.metrics.at(task);
  return one;
}

Config config(std::vector<TaskConfig> tasks, bool moe) {
  Config c;
  c.model.preset = "micro";
  c = config_from_json({{"model", {{"preset", "micro"}}}, {"tasks", {{{"name", "depth"}}}}}, {});
  if (!moe) c.model.moe.reset();
  c.tasks = std::move(tasks);
  return c;
}

TEST(Spread, IsTheMeanAndTheStandardErrorOfTheFiniteValues) {
  const Spread s = spread({1, 2, 3, NAN});
  EXPECT_EQ(s.count, 3);
  EXPECT_DOUBLE_EQ(s.mean, 2);
  EXPECT_DOUBLE_EQ(s.error, 1 / std::sqrt(3.0));
  EXPECT_TRUE(std::isnan(spread({4}).error));
  EXPECT_EQ(spread({}).count, 0);
}

struct Example {
  Table table;
  std::vector<Job> jobs;
  std::vector<JobResult> results;
};

/// Two seeds of single-task networks and of one shared network.
Example example() {
  Example e;
  e.table.title = "Example";
  e.table.macs_against = "stl";
  e.table.rows = {{"stl", "One a task", "", true, {}}, {"all", "All in one", "stl", false, {}}};
  const TaskConfig semseg{"semseg", 5, 1}, depth{"depth", 1, 1};
  for (int seed = 1; seed <= 2; ++seed) {
    for (const TaskConfig& task : {semseg, depth}) {
      e.jobs.push_back({0, seed, task.name, "", config({task}, false)});
      const EvalResult r = only(measured(0.5, 1.0), task.name);
      e.results.push_back({r, e.jobs.back().config, r, 10, 0});
    }
  }
  for (int seed = 1; seed <= 2; ++seed) {
    e.jobs.push_back({1, seed, "", "", config({semseg, depth}, true)});
    // Seed 1: +10 % and −10 % of error: Δm 10. Seed 2: +20 %, 0: Δm 10. Best epochs 2 points better in mIoU.
    const EvalResult last = seed == 1 ? measured(0.55, 0.9) : measured(0.6, 1.0);
    EvalResult best = last;
    best.metrics["semseg"][0].value += 0.02;
    e.results.push_back({last, e.jobs.back().config, best, 30, 0});
  }
  return e;
}

TEST(Report, DeltaMIsTakenSeedBySeedAgainstTheRowsReference) {
  const Example e = example();
  const Report report = make_report(e.table, "smoke", e.jobs, e.results);
  ASSERT_EQ(report.rows.size(), 2U);
  const RowReport& all = report.rows[1];
  EXPECT_NEAR(all.delta_m.mean, 10, 1e-9);
  EXPECT_NEAR(all.delta_m.error, 0, 1e-9);
  EXPECT_NEAR(all.delta_m_best.mean, 12, 1e-9);
  EXPECT_NEAR(all.primary.at("semseg").mean, 0.575, 1e-12);
  EXPECT_NEAR(all.primary.at("semseg").error, 0.025, 1e-12);
  EXPECT_EQ(report.rows[0].delta_m.count, 0);
  EXPECT_DOUBLE_EQ(report.rows[0].seconds, 20);  // two networks
  EXPECT_DOUBLE_EQ(all.seconds, 30);
}

TEST(Report, CostsAreThoseOfTheNetworksOfOneSeed) {
  const Example e = example();
  const Report report = make_report(e.table, "smoke", e.jobs, e.results);
  const ModelCost semseg = model_cost(e.jobs[0].config), depth = model_cost(e.jobs[1].config);
  EXPECT_EQ(report.rows[0].params, semseg.params + depth.params);
  EXPECT_EQ(report.rows[0].macs_one_task, (semseg.tasks[0].total + depth.tasks[0].total) / 2);
  EXPECT_EQ(report.rows[0].macs_all_tasks, semseg.tasks[0].total + depth.tasks[0].total);
  const ModelCost all = model_cost(e.jobs[4].config);
  EXPECT_EQ(report.rows[1].macs_one_task, (all.tasks[0].total + all.tasks[1].total) / 2);
  // Two passes less the shared prefix: patch embedding, block 0, block 1's attention.
  std::int64_t prefix = 0;
  for (const LayerCost& l : all.tasks[0].layers) {
    const bool in_prefix = l.name == "backbone.patch_embed" || l.name.starts_with("backbone.blocks.0.") ||
                           (l.name.starts_with("backbone.blocks.1.") && l.name.find("mlp") == std::string::npos);
    if (in_prefix) prefix += l.macs;
  }
  EXPECT_GT(prefix, 0);
  EXPECT_EQ(report.rows[1].macs_all_tasks, all.tasks[0].total + all.tasks[1].total - prefix);
}

TEST(Report, IsReadableAndMachineReadable) {
  Example e = example();
  EXPECT_THAT(to_markdown(make_report(e.table, "smoke", e.jobs, e.results)), Not(HasSubstr("not finished")));
  e.table.published = {{"all", "Δm", "2.71 %", "the paper"}};
  Report report = make_report(e.table, "smoke", e.jobs, e.results);
  report.missing = 3;
  const std::string text = to_markdown(report);
  EXPECT_THAT(text, HasSubstr("3 runs are not finished"));
  EXPECT_THAT(text, HasSubstr("| All in one | 0.5750 ± 0.0250 | 0.9500 ± 0.0500 | +10.00 ± 0.00 |"));
  EXPECT_THAT(text, HasSubstr("saved against one task of One a task"));
  EXPECT_THAT(text, HasSubstr("| all | Δm | 2.71 % | the paper |"));
  // Every line of the table has the same number of cells.
  std::set<long> cells;
  std::istringstream lines(text);
  bool first_table = true;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Published")) first_table = false;
    if (first_table && line.starts_with("|")) cells.insert(std::count(line.begin(), line.end(), '|'));
  }
  EXPECT_EQ(cells.size(), 1U);
  const nlohmann::json json = to_json(report);
  EXPECT_EQ(json["rows"][1]["delta_m"]["seeds"], 2);
  EXPECT_EQ(json["rows"][1]["operations_one_task"], 2 * json["rows"][1]["macs_one_task"].get<std::int64_t>());
}

}  // namespace
}  // namespace m3vit
