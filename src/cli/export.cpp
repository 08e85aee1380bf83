/// `m3vit export`: a checkpoint into the packed file that the runtime maps.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/accel_export.h"
#include "cli/calibration.h"
#include "cli/commands.h"
#include "cli/expert_usage.h"
#include "cli/runtime_model.h"
#include "core/atomic_file.h"
#include "core/error.h"
#include "runtime/m3v.h"

namespace m3vit::cli {
namespace {

using nlohmann::json;

struct ExportOptions {
  std::string input, output, calibrate, prune;
  std::string dtype = "f32";
  std::string target = "panel32";
  std::vector<std::string> tasks;
  double max_loss = 0.0;
  int frames = 0;  ///< 0: the default
  int threads = 0;
};

std::vector<std::string> kept_tasks(const Config& config, const std::vector<std::string>& asked) {
  if (!asked.empty()) return asked;
  std::vector<std::string> all;
  for (const TaskConfig& task : config.tasks) all.push_back(task.name);
  return all;
}

/// Measures, and sets pack.layers when a bound is given. Returns the report.
json calibrate(const ExportOptions& options, const Checkpoint& checkpoint, PackOptions& pack, bool quiet) {
  const std::string source = options.calibrate.empty() ? "rooms" : options.calibrate;
  std::vector<std::vector<float>> frames =
      calibration_frames(checkpoint.config, source, options.frames > 0 ? options.frames : 8);
  json report{{"source", source}, {"frames", frames.size()}};
  Calibration calibration(checkpoint.config, checkpoint.source(), pack, std::move(frames), options.threads);
  const std::map<std::string, Loss>& layers = calibration.by_layer([&](const std::string& layer) {
    if (!quiet) std::cerr << "calibrate: " << layer << '\n';
  });
  if (options.max_loss > 0.0) {
    pack.layers = calibration.fallback(options.max_loss);
    report["max_loss"] = options.max_loss;
  }
  report["loss"] = calibration.measure(pack.layers);
  for (const auto& [layer, loss] : layers) report["layers"][layer] = loss;
  return report;
}

void print_report(const json& report, const M3vFile& packed) {
  std::cerr << fmt::format("error against f32 on {} frames ({}):\n", report["frames"].get<int>(),
                           report["source"].get<std::string>());
  for (const auto& [task, loss] : report["loss"].items()) {
    std::cerr << fmt::format("  {:<12} {:.4f}\n", task, loss.get<double>());
  }
  std::string kept;
  for (const auto& [layer, precision] : packed.packing().layers) {
    kept += fmt::format("{}{} {}", kept.empty() ? "" : ", ", layer, precision_name(precision));
  }
  if (!kept.empty()) std::cerr << "other precisions: " << kept << '\n';
}

/// What only the runtime's files have; calibration makes the accelerator's scales.
void export_for_zcu104(const ExportOptions& options, const Globals& globals) {
  const char* wrong = options.dtype != "f32" ? "--dtype" : options.max_loss > 0.0 ? "--max-loss" : nullptr;
  if (!options.prune.empty()) wrong = "--prune-unused";
  if (wrong != nullptr) {
    throw Error{{.where = wrong,
                 .field = {},
                 .wanted = "nothing with --target zcu104, which is int8 throughout",
                 .found = "a value"}};
  }
#ifdef M3VIT_WITH_ACCEL
  AccelExport request{.input = options.input, .output = options.output, .tasks = options.tasks};
  if (!options.calibrate.empty()) request.frames_from = options.calibrate;
  if (options.frames > 0) request.frames = options.frames;
  export_accel(request, globals);
#else
  (void)globals;
  throw Error{{.where = "--target",
               .field = {},
               .wanted = "panel32 (this build lacks the accelerator)",
               .found = options.target}};
#endif
}

void export_model(const ExportOptions& options, const Globals& globals) {
  if (options.target == "zcu104") {
    export_for_zcu104(options, globals);
    return;
  }
  const std::optional<Precision> dtype = find_precision(options.dtype);
  if (!dtype) throw Error{{.where = "--dtype", .wanted = "f32, bf16 or int8", .found = options.dtype}};
  const bool measured = !options.calibrate.empty() || options.max_loss > 0.0;
  if (measured && *dtype == Precision::kF32) {
    throw Error{{.where = options.max_loss > 0.0 ? "--max-loss" : "--calibrate",
                 .wanted = "--dtype bf16 or int8",
                 .found = "f32, which loses nothing"}};
  }
  const Checkpoint checkpoint = open_checkpoint(options.input);
  PackOptions pack{.tasks = options.tasks, .producer = checkpoint.producer, .dtype = *dtype};
  if (!options.prune.empty()) {
    pack.pruned = unused_experts(options.prune, checkpoint.config, kept_tasks(checkpoint.config, options.tasks));
  }
  json report;
  if (measured) report = calibrate(options, checkpoint, pack, globals.quiet || globals.json);

  AtomicFile file(options.output);
  pack_model(checkpoint.config, checkpoint.source(), pack, file.stream(), options.output);
  file.commit();

  const M3vFile packed = M3vFile::open(options.output);
  std::vector<std::string> tasks;
  for (const int t : packed.tasks()) tasks.push_back(packed.config().tasks[static_cast<std::size_t>(t)].name);
  json pruned = json::object();
  std::size_t pruned_count = 0;
  for (const auto& [block, experts] : packed.packing().pruned) {
    pruned[std::to_string(block)] = experts;
    pruned_count += experts.size();
  }
  if (globals.json) {
    json layers = json::object();
    for (const auto& [layer, precision] : packed.packing().layers) layers[layer] = precision_name(precision);
    json document{{"input", options.input},  {"output", options.output},
                  {"bytes", packed.bytes()}, {"dtype", packed.dtype()},
                  {"layers", layers},        {"pruned", pruned},
                  {"tasks", tasks},          {"sections", packed.sections().size()}};
    if (measured) document["calibration"] = report;
    std::cout << document.dump() << '\n';
    return;
  }
  std::cout << options.output << '\n';
  if (globals.quiet) return;
  std::cerr << fmt::format("{:.2f} MiB, {} sections, {}, tasks {}\n",
                           static_cast<double>(packed.bytes()) / (1024.0 * 1024.0), packed.sections().size(),
                           packed.dtype(), fmt::join(tasks, ", "));
  if (pruned_count > 0) std::cerr << fmt::format("{} experts left out\n", pruned_count);
  if (measured) print_report(report, packed);
}

}  // namespace

void add_export(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "pack a checkpoint for the runtime (.m3v)");
  command->add_option("MODEL", options->input, "a .safetensors model")->required();
  command->add_option("-o,--output", options->output, "the .m3v to write")->required();
  command->add_option("--dtype", options->dtype, "precision of the matrices: f32 | bf16 | int8")->capture_default_str();
  command
      ->add_option("--target", options->target,
                   "panel32: the runtime on any CPU; zcu104: programs and int8 image for the accelerator")
      ->check(CLI::IsMember({"panel32", "zcu104"}))
      ->capture_default_str();
  command->add_option("--tasks", options->tasks, "keep only these tasks' routers, experts and heads (a,b)")
      ->allow_extra_args(false)
      ->delimiter(',');
  command
      ->add_option(
          "--calibrate", options->calibrate,
          "measure each layer's error against f32 on `rooms` (generated frames) or the pictures of DIR; zcu104: "
          "choose int8 scales on them (default: rooms)")
      ->type_name("rooms|DIR");
  command
      ->add_option("--max-loss", options->max_loss,
                   "keep the layers that lose most one precision higher, until no task's output is further than "
                   "this share from f32's (0.02: 2 %); measured as by --calibrate")
      ->check(CLI::PositiveNumber);
  command->add_option("--calibration-frames", options->frames, "frames to measure on (default: 8; zcu104: 32)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--prune-unused", options->prune,
                   "leave out the experts that no kept task chose, by a run's routing.json or an eval document")
      ->check(CLI::ExistingFile);
  command->add_option("--threads", options->threads, "CPU threads of measuring (default: all cores)")
      ->check(CLI::PositiveNumber);
  command->footer(
      "Examples:\n"
      "  m3vit export model.safetensors -o model.m3v\n"
      "  m3vit export model.safetensors -o depth.m3v --tasks depth --dtype bf16\n"
      "  m3vit export model.safetensors -o model.m3v --dtype int8 --calibrate photos/ --max-loss 0.03\n"
      "  m3vit export model.safetensors -o small.m3v --tasks depth --prune-unused runs/a/routing.json\n"
      "  m3vit export model.safetensors -o model_zcu104.m3v --target zcu104 --calibrate photos/\n");
  command->callback([options, &globals] { export_model(*options, globals); });
}

}  // namespace m3vit::cli
