/// m3vit eval: metrics of a model, by any engine, on any data set.
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/runtime_model.h"
#include "core/atomic_file.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "core/heap.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "eval/evaluate.h"
#include "eval/mean_predictor.h"
#include "eval/prediction_sheet.h"
#include "eval/run_comparison.h"
#include "m3vit/m3vit.hpp"

#ifdef M3VIT_WITH_TRAIN
#include "model/weights.h"
#include "train/predictor.h"
#include "train/threads.h"
#endif

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct EvalArguments {
  std::string model, data, engine, out, contact, device = "auto";
  std::vector<std::string> tasks, single, overrides;
  std::int64_t frames = 0, mean_frames = 1000;
  int threads = 0;
};

/// A predictor with the config its model carries; whatever it runs on lives as long as `predict`.
struct Engine {
  Config config;
  Predictor predict;
};

bool is_yaml(const fs::path& path) { return path.extension() == ".yaml" || path.extension() == ".yml"; }

std::string default_engine(const fs::path& model) {
  if (model.extension() == ".m3v") return "runtime";
  if (is_yaml(model)) return "mean";
#ifdef M3VIT_WITH_TRAIN
  return "model";
#else
  return "runtime";
#endif
}

/// The config of a model or recipe without loading its weights.
Config read_config(const fs::path& path) {
  if (is_yaml(path)) return load_config(path);
  if (path.extension() == ".m3v") {
    return config_from_text(Model::open(path).config(), path.string());
  }
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto it = file.metadata().find("config");
  if (it == file.metadata().end()) {
    throw Error{{.where = path.string(),
                 .field = "__metadata__.config",
                 .wanted = "the model's configuration",
                 .found = "none",
                 .hint = "`m3vit import` makes a complete file of it"}};
  }
  return config_from_text(it->second, path.string());
}

/// Replaces the config's data section by what --data names: a `folder` data set, or a recipe's `data:`.
void choose_data(Config& config, const EvalArguments& a) {
  if (!a.data.empty()) {
    if (fs::is_directory(a.data)) {
      config.data.dataset = "folder";
      config.data.root = a.data;
      config.data.test = {};
    } else {
      config.data = load_config(a.data).data;
    }
  }
  if (a.overrides.empty()) return;
  config = parse_config(to_yaml(config), "--set", a.overrides);
}

#ifdef M3VIT_WITH_TRAIN
Predictor model_engine(const fs::path& path, const std::string& device, int threads) {
  if (path.extension() != ".safetensors") {
    throw Error{{.where = "--engine model", .wanted = "a .safetensors file", .found = path.string()}};
  }
  set_threads(threads);
  const bool cuda = device == "cuda" || (device == "auto" && torch::cuda::is_available());
  const torch::Device place(cuda ? torch::kCUDA : torch::kCPU);
  auto loaded = std::make_shared<LoadedModel>(load_model(path));
  loaded->network->to(place);
  return [loaded, predict = make_predictor(*loaded->network, loaded->config, place)](
             const Batch& batch, const TaskConfig& task) { return predict(batch, task); };
}
#endif

Predictor runtime_engine(const fs::path& path, int threads) {
  const Model model = open_runtime_model(path, {});
  auto session = std::make_shared<Session>(model.session({.threads = threads}));
  return [model, session](const Batch& batch, const TaskConfig& task) {
    const std::size_t in = batch.images.size() / static_cast<std::size_t>(batch.size);
    const std::size_t out = model.output_size(task.name);
    std::vector<float> raw(out * static_cast<std::size_t>(batch.size));
    for (std::size_t b = 0; b < static_cast<std::size_t>(batch.size); ++b) {
      session->run(task.name, std::span(batch.images).subspan(b * in, in), std::span(raw).subspan(b * out, out));
    }
    return raw;
  };
}

Engine make_engine(const EvalArguments& a) {
  Engine engine;
  engine.config = read_config(a.model);
  choose_data(engine.config, a);
  const std::string name = a.engine.empty() ? default_engine(a.model) : a.engine;
  if (name == "runtime") {
    engine.predict = runtime_engine(a.model, a.threads);
  } else if (name == "mean") {
    const std::unique_ptr<Dataset> train = make_dataset(engine.config, Split::kTrain);
    resolve_outputs(engine.config, train->info(), a.model);
    engine.predict = MeanPredictor(*train, engine.config, a.mean_frames);
  } else {
#ifdef M3VIT_WITH_TRAIN
    engine.predict = model_engine(a.model, a.device, a.threads);
#else
    throw Error{{.where = "--engine model",
                 .wanted = "a build with libtorch (-DM3VIT_TRAIN=ON)",
                 .found = "a build without",
                 .hint = "`m3vit export` the model and evaluate the .m3v"}};
#endif
  }
  return engine;
}

void run(const EvalArguments& a, Globals& globals) {
  Engine engine = make_engine(a);
  const std::unique_ptr<Dataset> test = make_dataset(engine.config, Split::kTest);
  resolve_outputs(engine.config, test->info(), a.model);
  EvalOptions options;
  options.tasks = a.tasks;
  options.max_frames = a.frames;
  options.quiet = globals.quiet;
  options.cancelled = interrupted;
  const EvalResult result = evaluate(*test, engine.config, engine.predict, options);
  if (interrupted()) {
    fmt::print(stderr, "m3vit: interrupted after {} frames; no result\n", result.frames);
    globals.exit_code = 1;
    return;
  }

  json document{{"metrics", to_json(result)}, {"per_class", per_class_to_json(result)},
                {"frames", result.frames},    {"engine", a.engine.empty() ? default_engine(a.model) : a.engine},
                {"model", a.model},           {"config", to_json(engine.config)}};
  std::string delta;
  if (!a.single.empty()) {
    std::vector<std::string> missing;
    const EvalResult single = read_single_tasks({a.single.begin(), a.single.end()});
    const double value = delta_m(result, single, &missing);
    document["delta_m"] = value;
    delta = fmt::format("delta_m {:+.2f} %", value);
    for (const std::string& m : missing) delta += (&m == &missing.front() ? "  (without " : ", ") + m;
    if (!missing.empty()) delta += ")";
    delta += "\n";
  }
  if (!a.out.empty()) write_text_file(a.out, document.dump(1) + "\n");
  if (!a.contact.empty()) {
    Config shown = engine.config;
    if (!a.tasks.empty()) {
      std::erase_if(shown.tasks,
                    [&](const TaskConfig& t) { return std::ranges::find(a.tasks, t.name) == a.tasks.end(); });
    }
    write_prediction_sheet(a.contact, *test, shown, engine.predict);
    if (!globals.quiet) fmt::print(stderr, "contact sheet: {}\n", a.contact);
  }
  std::cout << (globals.json ? document.dump(1) + "\n" : format_table(result) + delta);
}

}  // namespace

void add_eval(CLI::App& app, Globals& globals) {
  auto* command = app.add_subcommand("eval", "measure a model on a data set, task by task");
  auto arguments = std::make_shared<EvalArguments>();
  EvalArguments& a = *arguments;
  command->add_option("MODEL", a.model, "model (.safetensors or .m3v), or a recipe for --engine mean")
      ->required()
      ->check(CLI::ExistingFile);
  command
      ->add_option("--data", a.data,
                   "recipe whose data: to use, or the root of a `folder` data set "
                   "(default: the model's own test split)")
      ->check(CLI::ExistingPath);
  command
      ->add_option("--engine", a.engine,
                   "model (libtorch) | runtime (any file, packed when need be) | mean (per-pixel mean of the training "
                   "set; default: by MODEL's kind)")
      ->check(CLI::IsMember({"model", "runtime", "mean"}));
  command->add_option("--tasks", a.tasks, "comma-separated subset of the model's tasks")->delimiter(',');
  command->add_option("--frames", a.frames, "only the first N test frames")->check(CLI::PositiveNumber);
  command->add_option("--mean-frames", a.mean_frames, "training frames --engine mean looks at")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--single", a.single, "JSON of single-task evaluations: adds delta_m against them")
      ->check(CLI::ExistingFile);
  command->add_option("--out", a.out, "write the JSON document here as well");
  command->add_option("--contact", a.contact, "write a contact sheet (PNG) of the first test frames");
  command->add_option("--threads", a.threads, "CPU threads (default: all cores)")->check(CLI::PositiveNumber);
  command->add_option("--device", a.device, "auto | cpu | cuda, for --engine model")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  command->add_option("--set", a.overrides, "override a key of the configuration, e.g. --set data.test.frames=50")
      ->take_all()
      ->allow_extra_args(false);
  command->footer(
      "Examples:\n"
      "  m3vit eval models/rooms_micro.safetensors\n"
      "  m3vit eval runs/micro_m3vit/best.safetensors --data my_photos --contact sheet.png\n"
      "  m3vit eval rooms.m3v --tasks depth,normals --json\n"
      "  m3vit eval configs/rooms/micro_m3vit.yaml --engine mean      (the baseline that ignores the image)\n"
      "  m3vit eval runs/mtl/best.safetensors --single stl_semseg.json stl_depth.json");
  command->callback([arguments, &globals] {
    keep_freed_memory();
#ifdef M3VIT_WITH_TRAIN
    wait_passively();
#endif
    run(*arguments, globals);
  });
}

}  // namespace m3vit::cli
