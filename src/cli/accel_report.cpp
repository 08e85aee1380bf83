#include "cli/accel_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "accel/compiler/accel_file.h"
#include "accel/report/explore.h"
#include "accel/report/report.h"
#include "accel/report/shape_model.h"
#include "core/atomic_file.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "core/progress.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "eval/plot.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;

struct Source {
  std::string file, config;
  std::vector<std::string> sets;
};
struct ReportCommand {
  Source source;
  std::string out, resources;
  double clock = 250, efficiency = 100 * accel::kDdrEfficiency;
};
struct ExploreCommand {
  Source source;
  std::string out;
  double efficiency = 100 * accel::kDdrEfficiency;
};

/// Class counts that a recipe leaves to its data set do not matter for the encoder.
void fill_outputs(Config& config) {
  for (TaskConfig& task : config.tasks) {
    if (task.outputs == 0) task.outputs = std::max(1, task_spec(task.id()).default_outputs);
  }
}

Config config_of(const Source& source) {
  if (!source.config.empty()) return load_config(source.config, source.sets);
  if (accel::is_accel_file(source.file)) return accel::read_accel_file(source.file).config;
  const SafetensorsFile file = SafetensorsFile::open(source.file);
  const auto text = file.metadata().find("config");
  if (text == file.metadata().end()) {
    throw Error{
        {.where = source.file, .field = "metadata", .wanted = "config", .found = "none", .hint = "try --config"}};
  }
  return config_from_text(text->second, source.file);
}

/// The model asked for, or both published sizes.
std::vector<accel::ReportModel> models_of(const Source& source) {
  if (source.file.empty() && source.config.empty()) {
    return {{"tiny", accel::published_tiny()}, {"small", accel::published_small()}};
  }
  Config config = config_of(source);
  fill_outputs(config);
  if (config.model.resnet) {
    throw Error{{.where = source.file.empty() ? source.config : source.file,
                 .field = "model.resnet",
                 .wanted = "a vision transformer",
                 .found = "a residual network",
                 .hint = {}}};
  }
  const std::string name = fs::path(source.file.empty() ? source.config : source.file).stem().string();
  return {{name, config}};
}

void add_source(CLI::App& command, Source& source) {
  auto* file = command.add_option("MODEL", source.file, "a .safetensors, or a .m3v exported with --target zcu104");
  command.add_option("--config", source.config, "a recipe instead: sizes are all that counts")->excludes(file);
  command.add_option("--set", source.sets, "key=value of the recipe, repeatable");
}

void show(const accel::Report& report, const std::string& out, const std::string& name, const Globals& globals) {
  if (!out.empty()) {
    std::vector<std::string> svgs;
    for (const accel::Figure& f : report.figures) {
      std::vector<Series> series;
      for (const accel::Line& line : f.lines) series.push_back({line.name, line.x, line.y});
      svgs.push_back(plot_svg(
          series, {.title = f.title, .x_label = f.x_label, .y_label = f.y_label, .log_y = f.log_y, .width = 860}));
      write_text_file(fs::path(out) / (name + '_' + f.id + ".svg"), svgs.back());
    }
    write_text_file(fs::path(out) / (name + ".html"), accel::report_html(report, svgs));
    write_text_file(fs::path(out) / (name + ".json"), accel::report_json(report).dump(1) + '\n');
    write_text_file(fs::path(out) / (name + ".txt"), accel::report_text(report));
  }
  if (globals.json) {
    std::cout << accel::report_json(report).dump() << '\n';
  } else {
    std::cout << accel::report_text(report);
    if (!out.empty() && !globals.quiet) std::cerr << (fs::path(out) / (name + ".html")).string() << '\n';
  }
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error{{.where = path, .field = "file", .wanted = "readable", .found = "not", .hint = {}}};
  return {std::istreambuf_iterator<char>(file), {}};
}

void run_report(const ReportCommand& command, const Globals& globals) {
  accel::ReportOptions options;
  options.models = models_of(command.source);
  options.clock_hz = command.clock * 1e6;
  options.ddr_efficiency = command.efficiency / 100;
  if (!command.resources.empty()) options.resources = text_of(command.resources);
  if (!command.out.empty()) fs::create_directories(command.out);
  Progress progress("report", accel::report_stages(options), "frames");
  std::int64_t done = 0;
  const accel::Report report = accel::make_report(options, [&] { progress.update(++done); });
  progress.finish();
  show(report, command.out, "report", globals);
}

void run_explore(const ExploreCommand& command, const Globals& globals) {
  const std::vector<accel::ReportModel> models = models_of(command.source);
  if (!command.out.empty()) fs::create_directories(command.out);
  accel::ExploreOptions options;
  options.config = models[0].config;
  options.bytes_per_second = accel::kDdrPeak * command.efficiency / 100;
  Progress progress("explore", static_cast<std::int64_t>(accel::explore_points(options).size()), "arrays");
  std::int64_t done = 0;
  const std::vector<accel::ExploreResult> results = accel::explore(options, [&] { progress.update(++done); });
  progress.finish();
  show(accel::explore_report("m3vit accelerator: arrays for " + models[0].name, results), command.out, "explore",
       globals);
}

}  // namespace

void add_accel_report(CLI::App& accel, Globals& globals) {
  auto options = std::make_shared<ReportCommand>();
  CLI::App* command = accel.add_subcommand("report", "expert order beside token order: cycles, bytes, energy");
  add_source(*command, options->source);
  command->add_option("--out", options->out, "folder for report.html, .json, .txt and the plots");
  command->add_option("--clock", options->clock, "MHz, an assumption")
      ->check(CLI::Range(10.0, 1000.0))
      ->capture_default_str();
  command->add_option("--ddr-efficiency", options->efficiency, "% of 19.2 GB/s that can be used")
      ->check(CLI::Range(1.0, 100.0))
      ->capture_default_str();
  command->add_option("--resources", options->resources, "what scripts/rtl_resources.py printed, to be shown too");
  command->footer(
      "Without MODEL: the published sizes, tiny (128×256, 16 experts, top 2) and small (512², top 4).\n"
      "Examples:\n"
      "  m3vit accel report --out report\n"
      "  m3vit accel report models/rooms_micro.safetensors --json\n"
      "  m3vit accel report --config configs/rooms/small_m3vit.yaml --set model.moe.num_experts=64");
  command->callback([options, &globals] { run_report(*options, globals); });
}

void add_accel_explore(CLI::App& accel, Globals& globals) {
  auto options = std::make_shared<ExploreCommand>();
  CLI::App* command = accel.add_subcommand("explore", "arrays of other sizes: the front of time, resources, energy");
  add_source(*command, options->source);
  command->add_option("--out", options->out, "folder for explore.html, .json, .txt and the plot");
  command->add_option("--ddr-efficiency", options->efficiency, "% of 19.2 GB/s that can be used")
      ->check(CLI::Range(1.0, 100.0))
      ->capture_default_str();
  command->footer(
      "Without MODEL: the published tiny size.\n"
      "Examples:\n"
      "  m3vit accel explore --out explore\n"
      "  m3vit accel explore --config configs/rooms/small_m3vit.yaml");
  command->callback([options, &globals] { run_explore(*options, globals); });
}

}  // namespace m3vit::cli
