/// m3vit train: thin over src/train/trainer.h.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/config_yaml.h"
#include "core/heap.h"
#include "core/progress.h"
#include "train/threads.h"
#include "train/trainer.h"
#include "train/world.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;

struct TrainArguments {
  std::string config;
  std::string out;
  std::vector<std::string> overrides;
  bool resume = false, overwrite = false;
  std::int64_t steps = 0;
};

/// 1234567 → "1,234,567".
std::string grouped(std::int64_t n) {
  const std::string digits = std::to_string(n);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

class Console final : public TrainObserver {
 public:
  explicit Console(bool quiet) : quiet_(quiet) {}

  void started(const RunInfo& info) override {
    total_steps_ = info.total_steps;
    first_step_ = done_ = info.first_step;
    start_ = std::chrono::steady_clock::now();
    for (const std::string& w : info.warnings) fmt::print(stderr, "m3vit: warning: {}\n", w);
    if (quiet_) return;
    fmt::print(stderr, "model   {}\n        {} parameters, {:.3f} GMAC a task and frame\n", info.network,
               grouped(info.params), static_cast<double>(info.macs_per_task) * 1e-9);
    fmt::print(stderr, "data    {} training frames an epoch, {} test frames\n", grouped(info.train_frames),
               grouped(info.test_frames));
    fmt::print(stderr, "steps   {} an epoch, {} in all{}\n", grouped(info.steps_per_epoch), grouped(info.total_steps),
               info.first_step > 0 ? fmt::format(", going on from step {}", grouped(info.first_step)) : "");
    fmt::print(stderr, "device  {}\n", info.device);
  }

  void step(const StepInfo& info) override {
    done_ = info.step;
    if (!bar_) {
      before_ = info.step_in_epoch - 1;
      bar_ =
          std::make_unique<Progress>(fmt::format("epoch {}", info.epoch + 1), info.steps_per_epoch - before_, "steps");
    }
    std::string metrics = fmt::format("lr {:.2g}  loss {:.3f} (", info.lr, info.loss);
    for (std::size_t i = 0; i < info.losses.size(); ++i) {
      metrics += fmt::format("{}{} {:.3f}", i > 0 ? ", " : "", info.losses[i].first, info.losses[i].second);
    }
    bar_->update(info.step_in_epoch - before_, metrics + ")  run ETA " + eta());
    if (info.step_in_epoch == info.steps_per_epoch) bar_.reset();
  }

  void evaluating(int /*epoch*/) override { bar_.reset(); }

  void epoch(const EpochInfo& info) override {
    if (quiet_) return;
    std::string text = fmt::format("epoch {}: loss {:.4f}", info.epoch + 1, info.loss);
    if (info.result != nullptr) {
      for (const auto& [task, metrics] : info.result->metrics) {
        if (!metrics.empty()) text += fmt::format("  {} {} {:.3f}", task, metrics.front().name, metrics.front().value);
      }
      text += fmt::format("  score {:.3f}{}", info.score, info.best ? " (best)" : "");
    }
    fmt::print(stderr, "{}  [{}, ETA {}]\n", text, format_duration(info.seconds), eta());
  }

  void finish() { bar_.reset(); }

 private:
  std::string eta() const {
    if (done_ <= first_step_) return "?";
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    return format_duration(seconds / static_cast<double>(done_ - first_step_) *
                           static_cast<double>(total_steps_ - done_));
  }

  bool quiet_;
  std::unique_ptr<Progress> bar_;
  std::int64_t total_steps_ = 0, first_step_ = 0, done_ = 0, before_ = 0;
  std::chrono::steady_clock::time_point start_;
};

void run(const TrainArguments& a, Globals& globals) {
  const Config config = load_config(a.config, a.overrides);
  TrainOptions options;
  options.run = a.out.empty() ? fs::path("runs") / fs::path(a.config).stem() : fs::path(a.out);
  options.resume = a.resume;
  options.overwrite = a.overwrite;
  options.max_steps = a.steps;
  options.interrupted = interrupted;
  const Rank rank = launched_rank();
  if (rank.rank > 0) Progress::set_quiet(true);
  Console console(globals.quiet || rank.rank > 0);
  const TrainOutcome outcome = train(config, options, console);
  console.finish();
  if (rank.rank > 0) return;  // rank 0 speaks for all

  const fs::path last = options.run / "last.safetensors";
  const char* ends[] = {"finished", "interrupted", "stopped by --steps"};
  const char* end = ends[static_cast<int>(outcome.end)];
  if (globals.json) {
    fmt::print("{}\n", nlohmann::json{{"end", end},
                                      {"step", outcome.step},
                                      {"run", options.run.string()},
                                      {"model", last.string()},
                                      {"metrics", to_json(outcome.result)}}
                           .dump(1));
    return;
  }
  if (outcome.end == TrainEnd::kFinished) {
    fmt::print("{}", format_table(outcome.result));
    fmt::print(stderr, "{}: curves.svg, metrics.svg, contact.png; weights {} (best: {})\n", options.run.string(),
               last.string(), (options.run / "best.safetensors").string());
  } else {
    std::string again = "m3vit train " + a.config + " --out " + options.run.string() + " --resume";
    for (const std::string& o : a.overrides) again += " --set " + o;
    fmt::print(stderr, "{} at step {}; saved {}\ngo on with: {}\n", end, outcome.step, last.string(), again);
  }
}

}  // namespace

void add_train(CLI::App& app, Globals& globals) {
  auto* command = app.add_subcommand("train", "train a multi-task model from a recipe");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("CONFIG", arguments->config, "recipe (YAML), e.g. configs/rooms/micro_m3vit.yaml")->required();
  command->add_option("--out", arguments->out, "run folder (default: runs/<recipe's name>)");
  command->add_option("--set", arguments->overrides, "override a key, e.g. --set train.epochs=5 (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  auto* resume = command->add_flag("--resume", arguments->resume, "go on with the run in --out, bit for bit");
  command->add_flag("--overwrite", arguments->overwrite, "delete the earlier run's files in --out first")
      ->excludes(resume);
  command->add_option("--steps", arguments->steps, "save and stop after this many steps")->check(CLI::PositiveNumber);
  command->footer(
      "Ctrl-C and SIGTERM finish the step, save and exit with 0.\n"
      "Examples:\n"
      "  m3vit train configs/rooms/micro_m3vit.yaml\n"
      "  m3vit train configs/rooms/micro_m3vit.yaml --out runs/short --set train.epochs=2 --set data.train.frames=400\n"
      "  m3vit train configs/rooms/micro_m3vit.yaml --out runs/short --resume\n"
      "  m3vit train configs/rooms/micro_m3vit.yaml --set data.dataset=folder --set data.root=my_photos\n"
      "  mpirun -n 2 m3vit train configs/rooms/micro_m3vit.yaml --set train.batch_size=4 --set train.accumulate=2");
  command->callback([arguments, &globals] {
    keep_freed_memory();
    wait_passively();
    run(*arguments, globals);
  });
}

}  // namespace m3vit::cli
