/// m3vit reproduce: thin over src/reproduce/run.h.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/heap.h"
#include "core/progress.h"
#include "reproduce/run.h"
#include "train/threads.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;

struct ReproduceArguments {
  std::string table, out, scale = "rooms", data;
  std::vector<std::string> rows, overrides;
  int seeds = 0, jobs = 1;
  bool plan_only = false;
};

/// One bar for the table: runs done, and what each running one is at.
class Bar final : public ReproduceObserver {
 public:
  explicit Bar(std::string title) : title_(std::move(title)) {}

  void warning(const Job& job, const std::string& text) override {
    fmt::print(stderr, "m3vit: warning: {}: {}\n", job.folder, text);
  }
  void progress(std::size_t done, std::size_t kept, std::size_t count,
                const std::vector<RunningJob>& running) override {
    if (kept == count) return;
    // Runs that were there before say nothing of how long the others take.
    if (kept != kept_ || !bar_) {
      kept_ = kept;
      bar_ = std::make_unique<Progress>(title_, static_cast<std::int64_t>(count - kept), "runs");
    }
    std::string text;
    for (const RunningJob& r : running) {
      if (r.total == 0 || r.step == r.total) continue;
      text += fmt::format("{}{} {}/{} loss {:.3f}", text.empty() ? "" : " · ", r.job->folder, r.step, r.total, r.loss);
    }
    bar_->update(static_cast<std::int64_t>(done > kept ? done - kept : 0), text);
  }
  void finish() { bar_.reset(); }

 private:
  std::string title_;
  std::size_t kept_ = 0;
  std::unique_ptr<Progress> bar_;
};

void run(const ReproduceArguments& a, Globals& globals) {
  const Table table = read_table(a.table);
  ReproduceOptions options;
  options.plan = {a.scale, a.seeds, a.rows, a.overrides};
  if (!a.data.empty()) options.plan.overrides.push_back("data.root=" + nlohmann::json(a.data).dump());
  options.out = a.out.empty() ? fs::path("runs") / (table.name + "_" + a.scale) : fs::path(a.out);
  options.jobs = a.jobs;
  options.interrupted = interrupted;
  if (a.plan_only) {
    nlohmann::json list = nlohmann::json::array();
    for (const Job& job : plan(table, options.plan)) {
      if (globals.json) {
        list.push_back({{"row", table.rows[job.row].name},
                        {"seed", job.seed},
                        {"task", job.task},
                        {"run", (options.out / job.folder).string()},
                        {"config", to_json(job.config)}});
      } else {
        fmt::print("{}\n", (options.out / job.folder).string());
      }
    }
    if (globals.json) fmt::print("{}\n", list.dump(1));
    return;
  }
  Bar bar(table.name);
  const std::optional<Report> report = reproduce(table, options, bar);
  bar.finish();
  if (!report) {
    fmt::print(stderr, "interrupted; finished runs are kept in {}: the same command goes on\n", options.out.string());
    return;
  }
  if (globals.json) {
    fmt::print("{}\n", to_json(*report).dump(1));
    return;
  }
  fmt::print("{}", to_markdown(*report));
  fmt::print(stderr, "{}: table.md, table.json, scores.svg\n", options.out.string());
}

}  // namespace

void add_reproduce(CLI::App& app, Globals& globals) {
  auto* command = app.add_subcommand("reproduce", "train every row of a table and print it beside the published one");
  auto arguments = std::make_shared<ReproduceArguments>();
  command->add_option("TABLE", arguments->table, "table (YAML), e.g. configs/reproduce/rooms.yaml")->required();
  command->add_option("--scale", arguments->scale, "one of the table's scales: smoke, rooms, full …")
      ->capture_default_str();
  command->add_option("--data", arguments->data, "the data set's folder (data.root)");
  command->add_option("--seeds", arguments->seeds, "runs a row (default: the table's)")->check(CLI::Range(1, 1000));
  command->add_option("--jobs", arguments->jobs, "trainings at a time, each on its share of the cores")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--rows", arguments->rows, "only these rows and what their Δm needs")->delimiter(',');
  command->add_option("--set", arguments->overrides, "override a key of every row, before the row's own (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--out", arguments->out, "folder of the runs and results (default: runs/TABLE_SCALE)");
  command->add_flag("--plan", arguments->plan_only, "only list the runs");
  command->footer(
      "Finished runs are kept and begun ones go on, so the command may be stopped and repeated, or run row by row.\n"
      "Examples:\n"
      "  m3vit reproduce configs/reproduce/rooms.yaml --scale smoke\n"
      "  m3vit reproduce configs/reproduce/rooms.yaml --jobs 2\n"
      "  m3vit reproduce configs/reproduce/rooms.yaml --rows m3vit,mvit --seeds 1\n"
      "  m3vit reproduce configs/reproduce/weighting.yaml --plan");
  command->callback([arguments, &globals] {
    keep_freed_memory();
    wait_passively();
    run(*arguments, globals);
  });
}

}  // namespace m3vit::cli
