/// `m3vit accel`: a compiled model's programs; the other subcommands stand in their own files.
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "accel/compiler/accel_file.h"
#include "cli/accel_report.h"
#include "cli/commands.h"
#include "core/error.h"

namespace m3vit::cli {
namespace {

struct DisasmOptions {
  std::string file, task;
};

void disassemble(const DisasmOptions& options, const Globals& globals) {
  const accel::Compiled model = accel::read_accel_file(options.file);
  nlohmann::json document = nlohmann::json::object();
  bool found = options.task.empty();
  for (const accel::TaskProgram& p : model.programs) {
    const std::string& task = model.config.tasks[static_cast<std::size_t>(p.task)].name;
    if (!options.task.empty() && task != options.task) continue;
    found = true;
    if (!globals.json) std::cout << "# " << task << ", " << p.ops.size() << " micro-ops\n";
    nlohmann::json lines = nlohmann::json::array();
    accel::Waits count{};
    for (std::size_t i = 0; i < p.ops.size(); ++i) {
      const std::string text = accel::disassemble(p.ops[i]);
      lines.push_back(text);
      if (globals.json) continue;
      // The number of the op in its engine is what others wait for.
      const std::optional<accel::Engine> engine = accel::engine_of(p.ops[i]);
      const std::string number = engine ? fmt::format("{}{}", "LGVS"[static_cast<std::size_t>(*engine)],
                                                      count[static_cast<std::size_t>(*engine)]++)
                                        : std::string("-");
      std::cout << fmt::format("{:5} {:>6}  {}\n", i, number, text);
    }
    document[task] = std::move(lines);
  }
  if (!found) {
    std::string known;
    for (const accel::TaskProgram& p : model.programs) {
      known += (known.empty() ? "" : ", ") + model.config.tasks[static_cast<std::size_t>(p.task)].name;
    }
    throw Error{{.where = options.file, .field = "--task", .wanted = known, .found = options.task, .hint = {}}};
  }
  if (globals.json) std::cout << document.dump() << '\n';
}

}  // namespace

void add_accel(CLI::App& app, Globals& globals) {
  CLI::App* accel = app.add_subcommand("accel", "the accelerator: programs, costs, other arrays");
  accel->require_subcommand(1);
  auto options = std::make_shared<DisasmOptions>();
  CLI::App* command = accel->add_subcommand("disasm", "list a compiled model's micro-ops");
  command->add_option("FILE", options->file, "a .m3v exported with --target zcu104")->required();
  command->add_option("--task", options->task, "only this task's program");
  command->footer(
      "Each line: position, number in its engine (L load, G gemm, V vec, S store), op and fields; wait.X=n: starts "
      "when\n"
      "engine X has completed n ops.\n"
      "Example:\n"
      "  m3vit accel disasm rooms_zcu104.m3v --task depth");
  command->callback([options, &globals] { disassemble(*options, globals); });
  add_accel_report(*accel, globals);
  add_accel_explore(*accel, globals);
}

}  // namespace m3vit::cli
