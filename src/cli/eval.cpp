/// m3vit eval: metrics of a model, by any engine, on any data set.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/expert_usage.h"
#include "cli/runtime_model.h"
#include "core/atomic_file.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "core/heap.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "eval/edge/edge_options.h"
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
  std::string model, data, engine, out, contact, against, device = "auto";
  std::vector<std::string> tasks, single, overrides;
  std::int64_t frames = 0, mean_frames = 1000;
  int threads = 0;
};

/// What a runtime's frames were routed to, frame by frame and task by task in the order of evaluation.
struct Routed {
  std::optional<ExpertUsage> usage;
  /// By task: for each frame, block and token its top_k experts, ascending.
  std::map<std::string, std::vector<std::int32_t>> chosen;
  std::size_t top_k = 0;
};

/// A predictor with the config its model carries; whatever it runs on lives as long as `predict`.
struct Engine {
  Config config;
  Predictor predict;
  std::shared_ptr<Routed> routed;  ///< runtime only
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

/// Replaces the config's data section by what --data names: a data set's directory, or a recipe's `data:`.
void choose_data(Config& config, const EvalArguments& a) {
  if (!a.data.empty()) {
    if (fs::is_directory(a.data)) {
      config.data.dataset = dataset_at(a.data);
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

Predictor runtime_engine(const fs::path& path, int threads, const std::shared_ptr<Routed>& routed, bool keep_chosen) {
  const Model model = open_runtime_model(path, {});
  auto session = std::make_shared<Session>(model.session({.threads = threads, .keep_routing = true}));
  const Config config = config_from_text(model.config(), path.string());
  if (config.model.moe) {
    routed->usage.emplace(config.model.moe->num_experts);
    routed->top_k = static_cast<std::size_t>(config.model.moe->top_k);
  }
  return [model, session, routed, keep_chosen](const Batch& batch, const TaskConfig& task) {
    const std::size_t in = batch.images.size() / static_cast<std::size_t>(batch.size);
    const std::size_t out = model.output_size(task.name);
    std::vector<float> raw(out * static_cast<std::size_t>(batch.size));
    for (std::size_t b = 0; b < static_cast<std::size_t>(batch.size); ++b) {
      session->run(task.name, std::span(batch.images).subspan(b * in, in), std::span(raw).subspan(b * out, out));
      if (routed->usage) routed->usage->add(task.name, session->routing());
      if (!keep_chosen) continue;
      for (const RoutingMap& map : session->routing()) {
        std::vector<std::int32_t>& to = routed->chosen[task.name];
        for (std::size_t i = 0; i < map.experts.size(); i += routed->top_k) {
          to.insert(to.end(), map.experts.begin() + static_cast<std::ptrdiff_t>(i),
                    map.experts.begin() + static_cast<std::ptrdiff_t>(i + routed->top_k));
          std::sort(to.end() - static_cast<std::ptrdiff_t>(routed->top_k), to.end());
        }
      }
    }
    return raw;
  };
}

/// By task: the share of (token, MoE block) pairs that went to another set of experts.
json routed_differently(const Routed& a, const Routed& b) {
  json shares = json::object();
  for (const auto& [task, mine] : a.chosen) {
    const auto other = b.chosen.find(task);
    if (other == b.chosen.end() || other->second.size() != mine.size() || a.top_k != b.top_k || mine.empty()) continue;
    const auto k = static_cast<std::ptrdiff_t>(a.top_k);
    std::int64_t different = 0;
    for (auto x = mine.begin(), y = other->second.begin(); x != mine.end(); x += k, y += k) {
      different += std::equal(x, x + k, y) ? 0 : 1;
    }
    shares[task] = static_cast<double>(different) * static_cast<double>(k) / static_cast<double>(mine.size());
  }
  return shares;
}

/// {"metrics" of the other model, "change": {T: {name: this − the other}}, "routed_differently"}.
json comparison(const EvalResult& result, const EvalResult& other, const Engine& engine, const Engine& other_engine) {
  json change = json::object();
  for (const auto& [task, values] : result.metrics) {
    const auto theirs = other.metrics.find(task);
    if (theirs == other.metrics.end()) continue;
    for (const MetricValue& value : values) {
      for (const MetricValue& reference : theirs->second) {
        if (reference.name == value.name) change[task][value.name] = value.value - reference.value;
      }
    }
  }
  json document{{"metrics", to_json(other)}, {"change", change}};
  if (engine.routed != nullptr && other_engine.routed != nullptr) {
    document["routed_differently"] = routed_differently(*engine.routed, *other_engine.routed);
  }
  return document;
}

std::string comparison_table(const json& document, const EvalResult& result) {
  std::string text = fmt::format("\nagainst {}\n", document["model"].get<std::string>());
  for (const auto& [task, values] : result.metrics) {
    if (values.empty() || !document["change"].contains(task)) continue;
    const std::string& name = values.front().name;
    const json& change = document["change"][task][name];
    text += fmt::format("  {:<12} {:<8} {}", task, name,
                        change.is_number() ? fmt::format("{:+.4f}", change.get<double>()) : std::string("-"));
    if (document.contains("routed_differently") && document["routed_differently"].contains(task)) {
      text += fmt::format("   {:.2f} % of tokens routed differently",
                          100.0 * document["routed_differently"][task].get<double>());
    }
    text += '\n';
  }
  return text;
}

Engine make_engine(const EvalArguments& a) {
  Engine engine;
  engine.config = read_config(a.model);
  choose_data(engine.config, a);
  const std::string name = a.engine.empty() ? default_engine(a.model) : a.engine;
  if (name == "runtime") {
    engine.routed = std::make_shared<Routed>();
    engine.predict = runtime_engine(a.model, a.threads, engine.routed, !a.against.empty());
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
  document["protocol"] = document["config"]["protocol"];
  if (result.metrics.contains("edge")) document["edge"] = edge_options_json(engine.config.eval);
  if (engine.routed != nullptr && engine.routed->usage)
    document["routing"] = {{"blocks", engine.routed->usage->blocks()}};
  std::string delta;
  if (!a.single.empty()) {
    std::vector<std::string> missing;
    const EvalResult single = read_single_tasks({a.single.begin(), a.single.end()});
    const double value = delta_m(result, single, &missing);
    document["delta_m"] = value;
    delta = fmt::format("delta_m {:+.2f} %", value);
    if (const double rest = delta_m_without_edge(result, single); std::isfinite(rest)) {
      document["delta_m_without_edge"] = rest;
      delta += fmt::format(", without edge {:+.2f} %", rest);
    }
    if (engine.config.protocol == Protocol::kMtan) {
      document["delta_m_by_metric"] = delta_m_by_metric(result, single);
      delta += fmt::format(", over all metrics {:+.2f} %", document["delta_m_by_metric"].get<double>());
    }
    for (const std::string& m : missing) delta += (&m == &missing.front() ? "  (without " : ", ") + m;
    if (!missing.empty()) delta += ")";
    delta += "\n";
  }
  if (!a.against.empty()) {
    EvalArguments reference = a;
    reference.model = a.against;
    Engine other = make_engine(reference);
    other.config.data = engine.config.data;
    resolve_outputs(other.config, test->info(), a.against);
    options.tasks.clear();
    for (const auto& [task, values] : result.metrics) {
      if (other.config.task_index(task)) options.tasks.push_back(task);
    }
    const EvalResult theirs = evaluate(*test, other.config, other.predict, options);
    if (interrupted()) {
      fmt::print(stderr, "m3vit: interrupted after {} frames of {}; no result\n", theirs.frames, a.against);
      globals.exit_code = 1;
      return;
    }
    document["against"] = comparison(result, theirs, engine, other);
    document["against"]["model"] = a.against;
    delta += comparison_table(document["against"], result);
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
                   "recipe whose data: to use, or the directory of a data set "
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
  command
      ->add_option("--against", a.against,
                   "another form of the model (f32 beside int8, whole beside pruned): adds the change of every metric "
                   "and the share of tokens routed differently")
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
      "  m3vit eval int8.m3v --engine runtime --against models/rooms_micro.safetensors\n"
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
