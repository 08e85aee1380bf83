/// `m3vit run`: one task, or several, of a model on pictures.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/run_outputs.h"
#include "cli/runtime_model.h"
#include "core/atomic_file.h"
#include "core/config.h"
#include "core/error.h"
#include "core/image_io.h"
#include "core/npy.h"
#include "core/progress.h"
#include "data/rooms.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::map<std::string, MoeSchedule> kSchedules{{"expert_order", MoeSchedule::kExpertOrder},
                                                    {"token_order", MoeSchedule::kTokenOrder},
                                                    {"dense", MoeSchedule::kDense}};

struct RunOptions {
  std::string model, out, raw, routing, isa;
  std::vector<std::string> inputs, tasks;
  std::string size = "original";
  std::string schedule = "expert_order";
  int threads = 0;
  bool routing_png = false;
};

struct Input {
  fs::path path;
  std::string name;  ///< of its outputs; unique
  bool planes = false;
};

bool has_extension(const fs::path& path, std::initializer_list<std::string_view> list) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(list.begin(), list.end(), extension) != list.end();
}

/// Files as given, folders' pictures in name order.
std::vector<fs::path> expand(const std::vector<std::string>& inputs) {
  std::vector<fs::path> files;
  for (const std::string& input : inputs) {
    if (!fs::is_directory(input)) {
      files.emplace_back(input);
      continue;
    }
    std::vector<fs::path> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(input)) {
      if (entry.is_regular_file() && has_extension(entry.path(), {".jpg", ".jpeg", ".png", ".npy"})) {
        found.push_back(entry.path());
      }
    }
    if (found.empty()) {
      throw Error{{.where = input, .wanted = "a folder with .jpg, .png or .npy files", .found = "none"}};
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

/// Normalised planes of a `.npy`, checked against the network's size.
std::vector<float> read_planes(const fs::path& path, const Model& model) {
  NpyArray array = read_npy(path);
  const std::vector<std::int64_t> wanted{3, model.height(), model.width()};
  if (array.shape != wanted) {
    throw Error{{.where = path.string(),
                 .field = "shape",
                 .wanted = fmt::format("[{}]", fmt::join(wanted, ", ")),
                 .found = fmt::format("[{}]", fmt::join(array.shape, ", "))}};
  }
  return std::move(array.data);
}

/// Looks at every input before any work: a missing or wrong one ends the run before the first output is written.
std::vector<Input> check_inputs(const std::vector<fs::path>& files, const Model& model) {
  std::vector<Input> inputs;
  std::vector<std::string> problems;
  std::set<std::string> names;
  for (const fs::path& path : files) {
    Input input{path, path.stem().string(), has_extension(path, {".npy"})};
    for (int n = 2; !names.insert(input.name).second; ++n) input.name = path.stem().string() + "_" + std::to_string(n);
    try {
      if (input.planes) {
        read_planes(path, model);
      } else {
        read_image_size(path);
      }
    } catch (const Error& e) {
      problems.emplace_back(e.what());
    }
    inputs.push_back(std::move(input));
  }
  if (!problems.empty()) {
    throw Error{{.where = problems.size() == 1 ? problems.front()
                                               : fmt::format("{} unreadable inputs:\n  {}", problems.size(),
                                                             fmt::join(problems, "\n  "))}};
  }
  return inputs;
}

std::vector<TaskInfo> choose_tasks(const Model& model, const std::vector<std::string>& names) {
  std::vector<TaskInfo> chosen;
  for (const std::string& name : names) {
    for (const TaskInfo& task : model.tasks()) {
      const bool already =
          std::any_of(chosen.begin(), chosen.end(), [&](const auto& c) { return c.name == task.name; });
      if ((name == task.name || name == "all") && !already) chosen.push_back(task);
    }
    if (name != "all") model.output_size(name);  // throws for an unknown one, listing the model's
  }
  return chosen;
}

/// Peak and present resident memory of this process in bytes; 0 where the system does not say.
std::size_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

/// Measures the peak from here on: writing 5 sets VmHWM back to the present size (man 5 proc).
class PeakMemory {
 public:
  PeakMemory() {
    std::ofstream("/proc/self/clear_refs") << 5;
    before_ = status_bytes("VmRSS");
  }
  std::size_t bytes() const {
    const std::size_t peak = status_bytes("VmHWM");
    return peak > before_ ? peak - before_ : 0;
  }

 private:
  std::size_t before_ = 0;
};

/// FILE with "_name" and "_task" before its extension where there are several.
fs::path numbered(const std::string& file, const std::string& name, bool many_inputs, const std::string& task,
                  bool many_tasks) {
  fs::path path(file);
  std::string stem = path.stem().string();
  if (many_inputs) stem += "_" + name;
  if (many_tasks) stem += "_" + task;
  return path.parent_path() / (stem + path.extension().string());
}

class Runner {
 public:
  Runner(const RunOptions& options, const Model& model, Session& session, std::vector<TaskInfo> tasks, bool many_inputs)
      : options_(options), model_(model), session_(session), tasks_(std::move(tasks)), many_inputs_(many_inputs) {
    // The classes of rooms have their own colours; a folder's are not in the model.
    if (config_from_text(std::string(model.config()), "model").data.dataset == "rooms") {
      palette_ = Rooms({}).info().semseg_colors;
    }
  }

  /// Runs and writes every task of one input; one JSON object a task.
  void frame(const Input& input, json& frames) {
    const auto height = static_cast<std::size_t>(model_.height());
    const auto width = static_cast<std::size_t>(model_.width());
    ImageU8 resized;
    std::vector<float> planes;
    int out_height = model_.height();
    int out_width = model_.width();
    if (input.planes) {
      planes = read_planes(input.path, model_);
      if (options_.routing_png) resized = denormalise_rgb(planes, model_.height(), model_.width());
    } else {
      const ImageU8 image = read_rgb(input.path);
      if (options_.size == "original") {
        out_height = image.height;
        out_width = image.width;
      }
      resized = resize_rgb(image, model_.height(), model_.width());
      planes.resize(3 * height * width);
      normalise_rgb(resized, planes);
    }
    for (const TaskInfo& task : tasks_) {
      raw_.resize(model_.output_size(task.name));
      const auto begin = std::chrono::steady_clock::now();
      session_.run(task.name, planes, raw_);
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
      const std::vector<std::string> outputs = write(input, task, resized, out_height, out_width);
      if (tasks_.size() > 1) {
        frames.push_back(
            {{"input", input.path.string()}, {"task", task.name}, {"ms", took.count()}, {"outputs", outputs}});
      } else {
        frames.push_back({{"input", input.path.string()}, {"ms", took.count()}, {"outputs", outputs}});
      }
      milliseconds_.push_back(took.count());
    }
  }

  double median_ms() const {
    std::vector<double> sorted = milliseconds_;
    std::sort(sorted.begin(), sorted.end());
    return sorted.empty() ? 0.0 : sorted[sorted.size() / 2];
  }

 private:
  std::vector<std::string> write(const Input& input, const TaskInfo& task, const ImageU8& resized, int height,
                                 int width) const {
    std::vector<std::string> outputs;
    const bool many_tasks = tasks_.size() > 1;
    if (!options_.out.empty()) {
      const fs::path stem = fs::path(options_.out) / (input.name + "_" + task.name);
      const RawOutput raw{*find_task(task.name), task.channels, model_.height(), model_.width(), raw_};
      for (const fs::path& path : write_prediction(raw, height, width, stem, colors_for(raw.task)))
        outputs.push_back(path.string());
      if (options_.routing_png && !session_.routing().empty()) {
        const fs::path path = stem.string() + "_routing.png";
        write_png(path, routing_picture(session_.routing(), resized, model_.height() / model_.patch_size(),
                                        model_.width() / model_.patch_size()));
        outputs.push_back(path.string());
      }
    }
    if (!options_.raw.empty()) {
      const fs::path path = numbered(options_.raw, input.name, many_inputs_, task.name, many_tasks);
      write_npy(path, std::vector<std::int64_t>{task.channels, model_.height(), model_.width()}, raw_);
      outputs.push_back(path.string());
    }
    if (!options_.routing.empty()) {
      const fs::path path = numbered(options_.routing, input.name, many_inputs_, task.name, many_tasks);
      write_text_file(path, routing_json(session_.routing(), task.name).dump() + "\n");
      outputs.push_back(path.string());
    }
    return outputs;
  }

  ColorOptions colors_for(TaskId task) const {
    return {.palette = task == TaskId::kSemseg ? palette_ : decltype(ColorOptions::palette){}};
  }

  const RunOptions& options_;
  const Model& model_;
  Session& session_;
  std::vector<TaskInfo> tasks_;
  decltype(ColorOptions::palette) palette_;  ///< of semseg; empty: the default one
  bool many_inputs_;
  std::vector<float> raw_;
  std::vector<double> milliseconds_;
};

void run(const RunOptions& options, Globals& globals) {
  if (options.out.empty() && options.raw.empty() && options.routing.empty()) {
    throw Error{{.where = "m3vit run", .wanted = "--out DIR, --raw FILE or --routing FILE", .found = "none of them"}};
  }
  if (options.routing_png && options.out.empty()) {
    throw Error{{.where = "--routing-png", .wanted = "--out DIR beside it", .found = "none"}};
  }
  const std::vector<fs::path> files = expand(options.inputs);
  const PeakMemory peak;
  const bool all = std::find(options.tasks.begin(), options.tasks.end(), "all") != options.tasks.end();
  const Model model = open_runtime_model(options.model, all ? std::vector<std::string>{} : options.tasks);
  const std::vector<TaskInfo> tasks = choose_tasks(model, options.tasks);
  const std::vector<Input> inputs = check_inputs(files, model);
  Session session = model.session({.threads = options.threads,
                                   .schedule = kSchedules.at(options.schedule),
                                   .isa = options.isa,
                                   .keep_routing = options.routing_png || !options.routing.empty()});
  if (!options.out.empty()) {
    std::error_code problem;
    fs::create_directories(options.out, problem);
    if (problem) throw Error{{.where = options.out, .wanted = "a folder to write to", .found = problem.message()}};
  }

  Runner runner(options, model, session, tasks, inputs.size() > 1);
  json frames = json::array();
  std::size_t done = 0;
  {
    Progress progress("run", static_cast<std::int64_t>(inputs.size()), "frames");
    for (; done < inputs.size() && !interrupted(); ++done) {
      runner.frame(inputs[done], frames);
      progress.update(static_cast<std::int64_t>(done) + 1, fmt::format("{:.1f} ms", runner.median_ms()));
    }
  }
  if (done < inputs.size()) {
    std::cerr << fmt::format("m3vit: interrupted after {} of {} inputs\n", done, inputs.size());
    globals.exit_code = 1;
  }
  const MemoryPlan plan = session.memory();
  const std::size_t measured = peak.bytes();
  if (globals.json) {
    json document{{"frames", frames},
                  {"peak_bytes", {{"planned", plan.total()}, {"measured", measured}}},
                  {"isa", session.isa()},
                  {"dtype", model.dtype()},
                  {"threads", session.threads()},
                  {"schedule", options.schedule}};
    if (tasks.size() == 1) {
      document["task"] = tasks[0].name;
    } else {
      for (const TaskInfo& task : tasks) document["tasks"].push_back(task.name);
    }
    std::cout << document.dump() << '\n';
    return;
  }
  for (const json& frame : frames) {
    for (const json& output : frame.at("outputs")) std::cout << output.get<std::string>() << '\n';
  }
  if (!globals.quiet) {
    constexpr double kMiB = 1024.0 * 1024.0;
    std::cerr << fmt::format(
        "{} inputs, {} tasks: {:.1f} ms a frame (median), {} on {} threads; memory {:.1f} MiB planned\n", done,
        tasks.size(), runner.median_ms(), session.isa(), session.threads(), static_cast<double>(plan.total()) / kMiB);
  }
}

}  // namespace

void add_run(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "run one task (or several) of a model on pictures");
  command->add_option("MODEL", options->model, "a .m3v, or a .safetensors (packed on the fly)")->required();
  command->add_option("INPUT", options->inputs, "pictures, folders of them, or .npy planes [3, H, W]")->required();
  command->add_option("-t,--task", options->tasks, "a task of the model, several (a,b), or all")
      ->required()
      ->allow_extra_args(false)
      ->delimiter(',');
  command->add_option("-o,--out", options->out, "folder for INPUT_TASK.png (coloured) and INPUT_TASK_map.png (values)");
  command->add_option("--raw", options->raw,
                      "the head's output [C, H, W] as .npy; with several frames _INPUT and _TASK join the name");
  command->add_option("--routing", options->routing, "which experts each token went to, as JSON (names as --raw)");
  command->add_flag("--routing-png", options->routing_png, "the same as a picture: INPUT_TASK_routing.png");
  command->add_option("--size", options->size, "of the pictures: the input's, or the network's")
      ->check(CLI::IsMember({"original", "network"}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0: all cores")->check(CLI::Range(0, 1024))->capture_default_str();
  command->add_option("--schedule", options->schedule, "how MoE layers walk their work; results are the same")
      ->check(CLI::IsMember({"expert_order", "token_order", "dense"}))
      ->capture_default_str();
  std::string names;
  for (const std::string_view isa : isas()) names += (names.empty() ? "" : ", ") + std::string(isa);
  command->add_option("--isa", options->isa, "instruction set (here: " + names + "); default: the first")
      ->envname("M3VIT_ISA");
  command->footer(
      "Examples:\n"
      "  m3vit run model.m3v --task depth photo.jpg --out pictures\n"
      "  m3vit run model.safetensors --task all photos/ --out pictures --routing-png\n"
      "  m3vit run model.m3v --task semseg photo.png --raw logits.npy --json\n");
  command->callback([options, &globals] { run(*options, globals); });
}

}  // namespace m3vit::cli
