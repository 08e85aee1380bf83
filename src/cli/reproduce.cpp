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
  int seeds = 0;
  bool plan_only = false;
};

/// One bar a run, headed by what it is.
class Bars final : public ReproduceObserver, public TrainObserver {
 public:
  explicit Bars(bool quiet) : quiet_(quiet) {}

  TrainObserver& starting(const Job& job, std::size_t index, std::size_t count) override {
    bar_.reset();
    title_ = fmt::format("{}/{} {}", index + 1, count, job.folder);
    return *this;
  }
  void started(const RunInfo& info) override {
    for (const std::string& w : info.warnings) fmt::print(stderr, "m3vit: warning: {}: {}\n", title_, w);
    if (!quiet_ && info.first_step == info.total_steps) fmt::print(stderr, "{}: done before\n", title_);
    first_ = info.first_step;
    if (info.first_step < info.total_steps)
      bar_ = std::make_unique<Progress>(title_, info.total_steps - first_, "steps");
  }
  void step(const StepInfo& info) override { bar_->update(info.step - first_, fmt::format("loss {:.3f}", info.loss)); }
  void finish() { bar_.reset(); }

 private:
  bool quiet_;
  std::string title_;
  std::int64_t first_ = 0;
  std::unique_ptr<Progress> bar_;
};

void run(const ReproduceArguments& a, Globals& globals) {
  const Table table = read_table(a.table);
  ReproduceOptions options;
  options.plan = {a.scale, a.seeds, a.rows, a.overrides};
  if (!a.data.empty()) options.plan.overrides.push_back("data.root=" + nlohmann::json(a.data).dump());
  options.out = a.out.empty() ? fs::path("runs") / (table.name + "_" + a.scale) : fs::path(a.out);
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
  Bars bars(globals.quiet);
  const std::optional<Report> report = reproduce(table, options, bars);
  bars.finish();
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
      "  m3vit reproduce configs/reproduce/rooms.yaml --rows m3vit,mvit --seeds 1\n"
      "  m3vit reproduce configs/reproduce/weighting.yaml --plan");
  command->callback([arguments, &globals] {
    keep_freed_memory();
    wait_passively();
    run(*arguments, globals);
  });
}

}  // namespace m3vit::cli
