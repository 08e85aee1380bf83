#pragma once
/// One file per subcommand: `add_X` declares its options on `app` and sets a callback that does the work.
/// Human output goes to stderr, results to stdout; with --json one JSON document and nothing else on stdout.
#include <CLI/CLI.hpp>
#include <csignal>

namespace m3vit::cli {

struct Globals {
  bool json = false;
  bool quiet = false;
  int verbose = 0;
  int exit_code = 0;  ///< 0 ok, 1 failed, 2 bad usage or input (an Error is turned into 2 by main)
};

/// Set by SIGINT/SIGTERM; long work polls it, saves and leaves cleanly. A second signal kills.
bool interrupted();

void add_data(CLI::App& app, Globals& globals);
void add_inspect(CLI::App& app, Globals& globals);
void add_export(CLI::App& app, Globals& globals);
void add_run(CLI::App& app, Globals& globals);
void add_bench(CLI::App& app, Globals& globals);
void add_compare(CLI::App& app, Globals& globals);
void add_eval(CLI::App& app, Globals& globals);
#ifdef M3VIT_WITH_ACCEL
void add_accel(CLI::App& app, Globals& globals);
#endif
#ifdef M3VIT_WITH_TRAIN
void add_train(CLI::App& app, Globals& globals);
void add_reproduce(CLI::App& app, Globals& globals);
void add_import(CLI::App& app, Globals& globals);
#endif

}  // namespace m3vit::cli
