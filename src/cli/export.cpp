/// `m3vit export`: a checkpoint into the packed file that the runtime maps.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/runtime_model.h"
#include "core/atomic_file.h"
#include "core/error.h"
#include "runtime/m3v.h"

namespace m3vit::cli {
namespace {

struct ExportOptions {
  std::string input, output;
  std::string dtype = "f32";
  std::vector<std::string> tasks;
};

void export_model(const ExportOptions& options, const Globals& globals) {
  if (options.dtype != "f32") {
    throw Error{{.where = "--dtype", .wanted = "f32, the one precision of this version", .found = options.dtype}};
  }
  const Checkpoint checkpoint = open_checkpoint(options.input);
  AtomicFile file(options.output);
  pack_model(checkpoint.config, checkpoint.source(), {.tasks = options.tasks, .producer = checkpoint.producer},
             file.stream(), options.output);
  file.commit();

  const M3vFile packed = M3vFile::open(options.output);
  std::vector<std::string> tasks;
  for (const int t : packed.tasks()) tasks.push_back(packed.config().tasks[static_cast<std::size_t>(t)].name);
  if (globals.json) {
    std::cout << nlohmann::json{{"input", options.input},  {"output", options.output},
                                {"bytes", packed.bytes()}, {"dtype", packed.dtype()},
                                {"tasks", tasks},          {"sections", packed.sections().size()}}
                     .dump()
              << '\n';
    return;
  }
  std::cout << options.output << '\n';
  if (!globals.quiet) {
    std::cerr << fmt::format("{:.2f} MiB, {} sections, {}, tasks {}\n",
                             static_cast<double>(packed.bytes()) / (1024.0 * 1024.0), packed.sections().size(),
                             packed.dtype(), fmt::join(tasks, ", "));
  }
}

}  // namespace

void add_export(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "pack a checkpoint for the runtime (.m3v)");
  command->add_option("MODEL", options->input, "a .safetensors model")->required();
  command->add_option("-o,--output", options->output, "the .m3v to write")->required();
  command->add_option("--dtype", options->dtype, "precision of the weights: f32")->capture_default_str();
  command->add_option("--tasks", options->tasks, "keep only these tasks' routers, experts and heads (a,b)")
      ->allow_extra_args(false)
      ->delimiter(',');
  command->footer(
      "Examples:\n"
      "  m3vit export model.safetensors -o model.m3v\n"
      "  m3vit export model.safetensors -o depth.m3v --tasks depth\n");
  command->callback([options, &globals] { export_model(*options, globals); });
}

}  // namespace m3vit::cli
