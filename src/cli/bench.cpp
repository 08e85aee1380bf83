/// `m3vit bench`: how fast a model runs here, against other ways to run it and against what the machine could do.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/bench_measure.h"
#include "cli/bench_table.h"
#include "cli/commands.h"
#include "cli/drive_rate.h"
#include "cli/machine_limits.h"
#include "cli/memory_report.h"
#include "cli/process_memory.h"
#include "cli/random_weights.h"
#include "cli/runtime_model.h"
#ifdef M3VIT_WITH_TRAIN
#include "cli/bench_torch.h"
#include "train/threads.h"
#endif
#include "core/atomic_file.h"
#include "core/config_codec.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "runtime/pack.h"

namespace m3vit::cli {
namespace {

using nlohmann::json;

struct BenchOptions {
  std::string model, config, preset, image_size, isa;
  std::string dtype = "f32";
  std::vector<std::string> tasks;
  std::vector<std::string> baselines{"token_order", "dense"};
  int threads = 0;
  int pairs = 11;
  std::size_t memory = 0;
};

/// The configuration to fill with random weights.
Config random_config(const BenchOptions& options) {
  Config config;
  if (!options.config.empty()) config = load_config(options.config);
  if (!options.preset.empty()) {
    if (!apply_preset(options.preset, config.model)) {
      throw Error{{.where = "--preset",
                   .wanted = fmt::format("one of {}", fmt::join(preset_names(), ", ")),
                   .found = options.preset}};
    }
    config.tasks = {{"semseg", 21, 1.0}, {"depth", 1, 1.0}, {"normals", 3, 1.0}, {"edge", 1, 1.0}};
  }
  for (TaskConfig& task : config.tasks) {
    if (task.outputs == 0 && task_spec(task.id()).default_outputs == 0)
      task.outputs = 21;  // the classes of no data set
  }
  if (!options.image_size.empty()) {
    int width = 0;
    int height = 0;
    const char* const end = options.image_size.data() + options.image_size.size();
    const auto [x, problem] = std::from_chars(options.image_size.data(), end, width);
    const bool good = problem == std::errc{} && x != end && *x == 'x';
    if (!good || std::from_chars(x + 1, end, height).ptr != end) {
      throw Error{{.where = "--image-size", .wanted = "WIDTHxHEIGHT, as 640x480", .found = options.image_size}};
    }
    config.model.image_size = {height, width};
  }
  validate(config,
           SourceMap{.file = options.config.empty() ? "--preset " + options.preset : options.config, .places = {}});
  return config;
}

/// The model to measure, and where its tensors come from when a rival needs them.
struct Subject {
  std::unique_ptr<AtomicFile> stored;  ///< its temporary file, where the model has none of its own and needs one
  Model model;
  std::optional<Checkpoint> checkpoint;
  TensorSource source;
};

std::unique_ptr<Subject> open_subject(const BenchOptions& options) {
  const int given = static_cast<int>(!options.model.empty()) + static_cast<int>(!options.config.empty()) +
                    static_cast<int>(!options.preset.empty());
  if (given != 1) {
    throw Error{{.where = "m3vit bench",
                 .wanted = "MODEL, --config YAML or --preset NAME",
                 .found = given == 0 ? "none of them" : "several"}};
  }
  const std::optional<Precision> dtype = find_precision(options.dtype);
  if (!dtype) throw Error{{.where = "--dtype", .wanted = "f32, bf16 or int8", .found = options.dtype}};
  const auto packed = [&](const Config& config, const TensorSource& source, const std::string& name) {
    const PackOptions how{.tasks = {}, .producer = "m3vit bench", .dtype = *dtype};
    if (options.memory == 0) {
      Model model = Model::from_bytes(pack_model(config, source, how, name), name);
      return std::make_unique<Subject>(nullptr, std::move(model), std::nullopt, source);
    }
    auto file = std::make_unique<AtomicFile>(std::filesystem::temp_directory_path() / "m3vit-bench.m3v");
    pack_model(config, source, how, file->stream(), name);
    file->stream().flush();
    Model model = Model::open(file->temporary());  // streams its weights from there
    return std::make_unique<Subject>(std::move(file), std::move(model), std::nullopt, source);
  };
  if (options.model.empty()) {
    const Config config = random_config(options);
    return packed(config, random_weights(config, 1), "random weights");
  }
  if (is_m3v(options.model)) {
    return std::make_unique<Subject>(nullptr, Model::open(options.model), std::nullopt, TensorSource{});
  }
  Checkpoint checkpoint = open_checkpoint(options.model);
  auto subject = packed(checkpoint.config, checkpoint.source(), options.model);
  subject->checkpoint = std::move(checkpoint);
  subject->source = subject->checkpoint->source();
  return subject;
}

std::vector<std::string> choose_tasks(const Model& model, const std::vector<std::string>& names) {
  std::vector<std::string> tasks;
  for (const TaskInfo& task : model.tasks()) {
    if (names.empty() || std::find(names.begin(), names.end(), task.name) != names.end()) tasks.push_back(task.name);
  }
  for (const std::string& name : names) model.output_size(name);  // throws for an unknown one
  return tasks;
}

class Bench {
 public:
  Bench(const BenchOptions& options, const Subject& subject)
      : options_(options),
        subject_(subject),
        model_(subject.model),
        config_(config_from_text(std::string(model_.config()), "model")),
        precision_(*find_precision(model_.dtype())),
        tasks_(choose_tasks(model_, options.tasks)) {}

  const std::vector<std::string>& tasks() const { return tasks_; }

  /// Everything for one instruction set. `outputs`: the first one's results, filled or compared.
  json measure(const std::string& isa, double bandwidth, std::map<std::string, std::vector<float>>& outputs,
               double& difference) {
    const SessionOptions best{
        .threads = options_.threads, .isa = isa, .keep_times = true, .memory_budget = options_.memory};
    const PeakMemory memory;
    BenchSession ours(model_, best, tasks_);
    for (const std::string& task : tasks_) ours.run(task);
    const std::size_t measured = memory.bytes();
    const std::uint64_t before = ours.session().bytes_read();
    ours.run(tasks_[0]);
    const std::uint64_t bytes_read = ours.session().bytes_read() - before;

    for (const std::string& task : tasks_) {
      const std::vector<float>& out = ours.output(task);
      if (outputs.contains(task)) difference = std::max(difference, relative_difference(out, outputs[task]));
      outputs.try_emplace(task, out);
    }
    json d{{"isa", ours.session().isa()}};
    const std::string& first = tasks_[0];
    std::vector<Rival> rivals{{"", [&] { ours.run(first); }}};
    std::vector<std::unique_ptr<BenchSession>> others;
    json ratio = json::object();
    for (const std::string& name : options_.baselines) add_rival(name, best, ours, rivals, others, ratio);

    // The peak is taken beside each round, and the parts come from the rounds themselves.
    std::vector<double> peaks;
    std::map<std::string, std::vector<double>> parts;
    rivals[0].run = [&] {
      ours.run(first);
      const json taken = part_ms(ours.session().times());
      for (const auto& [name, ms] : taken.items()) parts[name].push_back(ms.get<double>());
    };
    const int threads = ours.session().threads();
    const auto ms = take_turns(rivals, options_.pairs, [&] {
      peaks.push_back(peak_macs(ours.session().isa(), precision_, threads));
      return peaks.size() == 1 || !interrupted();
    });
    d["latency_ms"][first] = spread(ms[0]);
    for (std::size_t i = 1; i < rivals.size(); ++i) {
      ratio[rivals[i].name]["ms"] = median(ms[i]);
      ratio[rivals[i].name]["ratio"] = median_ratio(ms[i], ms[0]);
    }
    d["ratio"] = ratio;
    if (tasks_.size() > 1) {
      std::vector<Rival> rest;
      for (std::size_t t = 1; t < tasks_.size(); ++t) rest.push_back({tasks_[t], [&, t] { ours.run(tasks_[t]); }});
      const auto rest_ms = take_turns(rest, options_.pairs);
      for (std::size_t t = 0; t < rest.size(); ++t) d["latency_ms"][rest[t].name] = spread(rest_ms[t]);
      const int rounds = std::max(1, options_.pairs / 2);
      d["switch"] = measure_switch(ours, tasks_, rounds);
      // A budget that just fits one task need not hold what several share.
      if (options_.memory == 0) d["shared_prefix"] = measure_shared(model_, best, tasks_, rounds);
    }
    add_roofline(d, *std::max_element(peaks.begin(), peaks.end()), bandwidth, parts, median(ms[0]));
    const MemoryPlan plan = ours.session().memory();
    d["memory"] = {{"arena", plan.arena},       {"weights", plan.weights},   {"planned", plan.total()},
                   {"measured", measured},      {"streamed", plan.streamed}, {"smallest", plan.smallest},
                   {"io", ours.session().io()}, {"bytes_read", bytes_read}};
    if (plan.streamed > 0) {
      const double rate =
          drive_rate(subject_.stored ? subject_.stored->temporary() : std::filesystem::path(options_.model));
      d["memory"]["drive_bytes_per_s"] = rate;
      d["memory"]["reading_alone_ms"] = 1e3 * static_cast<double>(bytes_read) / rate;
    }
    return d;
  }

 private:
  /// Checks a rival's result, then lists it.
  void add_rival(const std::string& name, const SessionOptions& best, BenchSession& ours, std::vector<Rival>& rivals,
                 std::vector<std::unique_ptr<BenchSession>>& others, json& ratio) {
    const std::string& task = tasks_[0];
    const auto schedule = kMoeSchedules.find(name);
    if (schedule != kMoeSchedules.end() || name == "resident") {
      SessionOptions options = best;
      if (schedule != kMoeSchedules.end()) {
        options.schedule = schedule->second;
      } else {
        options.memory_budget = 0;
      }
      others.push_back(std::make_unique<BenchSession>(model_, options, std::vector<std::string>{task}));
      BenchSession* const other = others.back().get();
      require_same_bits(name, task, other->run(task), ours.output(task));
      rivals.push_back({name, [other, task] { other->run(task); }});
      ratio[name]["equal"] = "same bits";
      return;
    }
#ifdef M3VIT_WITH_TRAIN
    if (name == "libtorch" || name == "libtorch_bf16") {
      if (!subject_.source) {
        throw Error{
            {.where = "--baseline " + name, .wanted = "a .safetensors, --config or --preset", .found = "a .m3v"}};
      }
      const int index = *config_.task_index(task);
      auto network = torch_rival(config_, subject_.source, index, name == "libtorch_bf16", ours.session().threads(),
                                 ours.planes());
      const double difference = relative_difference(network->run(), ours.output(task));
      ratio[name]["equal"] = fmt::format("relative difference {:.1e}", difference);
      ratio[name]["difference"] = difference;
      rivals.push_back({name, [network] { network->run(); }});
      return;
    }
#endif
    throw Error{{.where = "--baseline",
                 .wanted = "token_order, dense, resident, libtorch or libtorch_bf16 (a build with M3VIT_TRAIN)",
                 .found = name}};
  }

  void add_roofline(json& d, double peak, double bandwidth, const std::map<std::string, std::vector<double>>& parts,
                    double frame_ms) const {
    json macs = part_macs(config_, tasks_[0]);
    macs["input"] = 0;
    double all = 0.0;
    d["parts_task"] = tasks_[0];
    for (const auto& [name, ms] : parts) {
      const double work = macs.at(name).get<double>();
      const double rate = work / std::max(median(ms), 1e-6) * 1e3;
      all += work;
      d["parts"][name] = {{"ms", median(ms)},
                          {"macs", work},
                          {"macs_per_s", rate},
                          {"fraction", peak > 0 ? json(rate / peak) : json(nullptr)}};
    }
    d["roofline"] = {{"macs_per_s", peak},
                     {"bytes_per_s", bandwidth},
                     {"frame_macs", all},
                     {"direct_ms", peak > 0 ? json(1e3 * all / peak) : json(nullptr)},
                     {"fraction", peak > 0 ? json(1e3 * all / peak / frame_ms) : json(nullptr)}};
  }

  const BenchOptions& options_;
  const Subject& subject_;
  const Model& model_;
  Config config_;
  Precision precision_;
  std::vector<std::string> tasks_;
};

void bench(const BenchOptions& options, Globals& globals) {
#ifdef M3VIT_WITH_TRAIN
  const bool torch = std::any_of(options.baselines.begin(), options.baselines.end(),
                                 [](const std::string& name) { return name.starts_with("libtorch"); });
  if (torch) wait_passively();  // its idle threads would spin beside ours
#endif
  const std::unique_ptr<Subject> subject = open_subject(options);
  Bench bench(options, *subject);
  std::vector<std::string> names{options.isa};
  if (options.isa == "all") {
    names.clear();
    for (const std::string_view isa : isas()) names.emplace_back(isa);
  }
  json document{{"model", !options.model.empty()   ? options.model
                          : options.preset.empty() ? options.config
                                                   : options.preset},
                {"image_size", {subject->model.height(), subject->model.width()}},
                {"dtype", subject->model.dtype()},
                {"pairs", options.pairs},
                {"isas", json::array()},
                {"isa_difference", json::object()}};
  std::map<std::string, std::vector<float>> outputs;
  for (const std::string& isa : names) {
    if (interrupted()) break;
    const int threads =
        subject->model.session({.threads = options.threads, .isa = isa, .memory_budget = options.memory}).threads();
    document["threads"] = threads;
    double difference = 0.0;
    json one = bench.measure(isa, read_bandwidth(threads), outputs, difference);
    if (!document["isas"].empty()) document["isa_difference"][one["isa"].get<std::string>()] = difference;
    document["isas"].push_back(std::move(one));
  }
  if (interrupted()) globals.exit_code = 1;
  // The first instruction set's results are the document's own (docs/formats.md).
  const json best = document["isas"].at(0);
  for (const auto& [key, value] : best.items()) document[key] = value;
  if (globals.json) {
    std::cout << document.dump() << '\n';
  } else {
    std::cout << bench_table(document);
  }
}

}  // namespace

void add_bench(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "measure a model's speed here: parts, rivals, task switches, share of the peak");
  command->add_option("MODEL", options->model, "a .m3v, or a .safetensors (packed as --dtype says)");
  command->add_option("--config", options->config, "a recipe, with random weights");
  command->add_option("--preset", options->preset, "micro, tiny, small or base, with random weights");
  command->add_option("--image-size", options->image_size, "with --config or --preset: WIDTHxHEIGHT");
  command->add_option("--dtype", options->dtype, "of the weights, unless MODEL is a .m3v: f32, bf16, int8")
      ->capture_default_str();
  command->add_option("--tasks", options->tasks, "of the model; default: all. Parts and rivals are of the first")
      ->allow_extra_args(false)
      ->delimiter(',');
  command
      ->add_option("--baseline", options->baselines,
                   "rivals: token_order, dense, resident (without the budget of --memory), and where built with "
                   "libtorch: libtorch, libtorch_bf16")
      ->allow_extra_args(false)
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--pairs", options->pairs, "rounds in which everything runs once")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  add_memory_option(*command, options->memory);
  command->add_option("--threads", options->threads, "0: all cores")->check(CLI::Range(0, 1024))->capture_default_str();
  command->add_option("--isa", options->isa, "an instruction set, or all of them; default: the best")
      ->envname("M3VIT_ISA");
  command->footer(
      "Examples:\n"
      "  m3vit bench model.m3v\n"
      "  m3vit bench --preset small --image-size 512x512 --dtype bf16 --threads 2\n"
      "  m3vit bench model.safetensors --tasks depth --baseline token_order,libtorch --json\n"
      "  m3vit bench model.m3v --memory 16MiB --baseline resident,token_order --pairs 3\n"
      "  m3vit bench model.m3v --isa all --baseline dense --pairs 5\n");
  command->callback([options, &globals] { bench(*options, globals); });
}

}  // namespace m3vit::cli
