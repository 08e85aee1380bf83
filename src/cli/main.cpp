/// m3vit: one compact vision model for many dense tasks, run one task at a time on a small device.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <iostream>

#include "cli/commands.h"
#include "core/error.h"
#include "core/progress.h"
#include "core/version.h"

namespace m3vit::cli {
namespace {

// Atomic, not sig_atomic_t: frames are read and written by threads of their own, and those ask as well.
std::atomic<bool> g_signalled = false;
std::atomic<std::int64_t> g_first_second = 0;
static_assert(decltype(g_signalled)::is_always_lock_free && decltype(g_first_second)::is_always_lock_free);

/// The first signal asks to save and leave; one two seconds later or more kills. Not the next one whenever it comes:
/// timeout(1) signals its child and then the child's group, so one request arrives twice.
extern "C" void on_signal(int signal) {
  const int kept = errno;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t second = now.tv_sec;
  if (!g_signalled) g_first_second = second;
  g_signalled = true;
  if (second - g_first_second > 1) std::_Exit(128 + signal);
  errno = kept;
}

}  // namespace

bool interrupted() { return g_signalled; }

}  // namespace m3vit::cli

int main(int argc, char** argv) {
  using namespace m3vit::cli;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  std::signal(SIGPIPE, SIG_IGN);

  CLI::App app{"m3vit: one compact vision model for many dense tasks, run one task at a time on a small device",
               "m3vit"};
  app.set_version_flag("--version", std::string("m3vit ") + std::string(m3vit::kVersion));
  app.require_subcommand(1);
  app.fallthrough();
  Globals globals;
  app.add_flag("--json", globals.json, "one JSON document on stdout instead of text");
  app.add_flag("-q,--quiet", globals.quiet, "no progress, errors only");
  app.add_flag("-v,--verbose", globals.verbose, "more detail");
  app.parse_complete_callback([&] { m3vit::Progress::set_quiet(globals.quiet); });
  app.footer("`m3vit COMMAND --help` explains each command with examples.");
  add_data(app, globals);
#ifdef M3VIT_WITH_TRAIN
  add_train(app, globals);
  add_reproduce(app, globals);
#endif
  add_eval(app, globals);
  add_compare(app, globals);
  add_inspect(app, globals);
#ifdef M3VIT_WITH_TRAIN
  add_import(app, globals);
#endif
  add_export(app, globals);
  add_run(app, globals);
  add_bench(app, globals);
#ifdef M3VIT_WITH_ACCEL
  add_accel(app, globals);
#endif

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e, std::cout, std::cerr) == 0 ? 0 : 2;
  } catch (const m3vit::Error& e) {
    std::cerr << "m3vit: " << e.what() << '\n';
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "m3vit: " << e.what() << '\n';
    return 1;
  }
  return globals.exit_code;
}
