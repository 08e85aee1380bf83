/// `m3vit compare`: runs side by side.
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "eval/run_comparison.h"

namespace m3vit::cli {

void add_compare(CLI::App& app, Globals& globals) {
  struct Options {
    std::vector<std::string> runs;
    std::vector<std::string> single;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("compare", "side-by-side table of runs: metrics, Δm, parameters, MACs");
  command->add_option("RUN", options->runs, "folder of a training run, or JSON file of `m3vit eval --json`")
      ->required();
  command
      ->add_option("--single", options->single,
                   "single-task results (run folders or JSON files, comma-separated) that Δm is measured against; "
                   "default: the first RUN")
      ->delimiter(',');
  command->footer(
      "Examples:\n"
      "  m3vit compare runs/rooms_stl runs/rooms_m3vit\n"
      "  m3vit compare runs/rooms_m3vit --single runs/semseg,runs/depth,runs/normals\n"
      "  m3vit compare a.json b.json --json");
  command->callback([options, &globals] {
    std::vector<RunResult> runs;
    for (const std::string& path : options->runs) runs.push_back(read_run(path));
    std::optional<EvalResult> single;
    if (!options->single.empty()) {
      single = read_single_tasks({options->single.begin(), options->single.end()});
    }
    const Comparison comparison = compare_runs(std::move(runs), single);
    if (globals.json) {
      std::cout << to_json(comparison).dump(2) << '\n';
    } else {
      std::cout << format_table(comparison);
    }
  });
}

}  // namespace m3vit::cli
