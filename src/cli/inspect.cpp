/// `m3vit inspect`: what a model file or a recipe holds and costs.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/memory_report.h"
#include "core/config_yaml.h"
#include "core/dtype.h"
#include "core/enum_names.h"
#include "core/error.h"
#include "core/image_io.h"
#include "core/json_text.h"
#include "core/model_cost.h"
#include "core/safetensors.h"
#include "core/tensor_check.h"
#include "data/dataset.h"
#include "runtime/m3v.h"
#include "runtime/memory_plan.h"

namespace m3vit::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct InspectOptions {
  std::string file, config, task;
  std::vector<std::string> sets;
  bool layers = false;
  std::size_t memory = 0;
  bool plan = false;  ///< --memory was given
  std::string picture, dtype = "f32";
  int threads = 1;
  int batch = 1;
};

std::string with_unit(double value, const char* unit) {
  constexpr const char* kPrefix[] = {"", "K", "M", "G", "T", "P", "E"};
  int i = 0;
  for (; value >= 1000 && i < 6; ++i) value /= 1000;
  if (i == 0) return fmt::format("{:.0f} {}", value, unit);
  return fmt::format("{:.2f} {}{}", value, kPrefix[i], unit);
}

std::string count(std::int64_t value) {
  std::string text = with_unit(static_cast<double>(value), "");
  if (text.back() == ' ') text.pop_back();
  return text;
}

std::string bytes(std::int64_t value) {
  constexpr const char* kUnit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto size = static_cast<double>(value);
  int i = 0;
  for (; size >= 1024 && i < 4; ++i) size /= 1024;
  return i == 0 ? fmt::format("{} B", value) : fmt::format("{:.2f} {}", size, kUnit[i]);
}

/// First column left, the others right.
void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::cout << (i == 0 ? fmt::format("  {:<{}}", row[i], widths[i]) : fmt::format("  {:>{}}", row[i], widths[i]));
    }
    std::cout << '\n';
  }
}

json metadata_json(const std::map<std::string, std::string>& metadata) {
  json out = json::object();
  for (const auto& [key, value] : metadata) {
    if (key != "config") out[key] = value;
  }
  return out;
}

json tensors_json(const SafetensorsFile& file) {
  json out = json::array();
  for (const TensorView& t : file.tensors()) {
    out.push_back({{"name", t.name}, {"dtype", dtype_name(t.dtype)}, {"shape", t.shape}});
  }
  return out;
}

void print_tensors(const SafetensorsFile& file) {
  std::vector<std::vector<std::string>> rows{{"tensor", "dtype", "shape", "bytes"}};
  for (const TensorView& t : file.tensors()) {
    rows.push_back({printable(t.name), std::string(dtype_name(t.dtype)), shape_text(t.shape),
                    bytes(static_cast<std::int64_t>(t.bytes.size()))});
  }
  print_table(rows);
}

/// Parameters of one expert; 0 in a dense model.
std::int64_t expert_params(const ModelConfig& model) {
  if (!model.moe) return 0;
  const std::int64_t dim = model.embed_dim;
  const std::int64_t hidden = model.expert_hidden();
  return 2 * dim * hidden + hidden + dim;
}

json memory_json(const Config& config, const ModelCost& cost) {
  json memory = {{"weights_bytes", {{"f32", 4 * cost.params}, {"bf16", 2 * cost.params}}}};
  if (config.model.moe) {
    const std::int64_t expert = expert_params(config.model);
    memory["expert_bytes"] = {{"f32", 4 * expert}, {"bf16", 2 * expert}};
  }
  return memory;
}

std::string describe(const ModelConfig& model) {
  if (model.resnet) {
    return fmt::format("{}×{} input, dilated resnet {}, width {}, sharing {}", model.height(), model.width(),
                       model.resnet->depth, model.resnet->width, name_of(model.resnet->sharing));
  }
  std::string text = fmt::format("{}×{} input, patch {}, embed_dim {}, depth {}, num_heads {}", model.height(),
                                 model.width(), model.patch_size, model.embed_dim, model.depth, model.num_heads);
  if (!model.moe) return text + ", dense";
  const MoeConfig& moe = *model.moe;
  text += fmt::format(", {} experts, top {}, expert_hidden {}, {} gate, every {} blocks", moe.num_experts, moe.top_k,
                      model.expert_hidden(), name_of(moe.gate), moe.every);
  return text;
}

void print_cost(const Config& config, const ModelCost& cost, bool layers) {
  std::cout << "  " << describe(config.model) << '\n'
            << "  " << count(cost.params) << " parameters, " << bytes(4 * cost.params) << " in f32, "
            << bytes(2 * cost.params) << " in bf16";
  if (config.model.moe) std::cout << "; one expert " << bytes(4 * expert_params(config.model)) << " in f32";
  std::cout << "\n\n";
  std::vector<std::vector<std::string>> rows{{"task", "outputs", "active", "patch_embed", "attention", "linear",
                                              "router", "experts", "head", "MACs", "FLOPs"}};
  for (const TaskCost& t : cost.tasks) {
    const TaskConfig& task = config.tasks[static_cast<std::size_t>(*config.task_index(t.task))];
    const int outputs = task.outputs > 0 ? task.outputs : task_spec(task.id()).default_outputs;
    rows.push_back({t.task, std::to_string(outputs), count(t.active_params), count(t.patch_embed), count(t.attention),
                    count(t.linear), count(t.router), count(t.experts), count(t.head), count(t.total),
                    count(2 * t.total)});
  }
  print_table(rows);
  std::cout << "  active: parameters one token of the task uses; MACs of one frame, FLOPs = 2·MACs\n";
  if (config.model.moe) {
    std::cout << "  published counts leave out the routers:";
    for (const TaskCost& t : cost.tasks) std::cout << ' ' << t.task << ' ' << count(t.total - t.router);
    std::cout << '\n';
  }
  if (!layers) return;
  for (const TaskCost& t : cost.tasks) {
    std::cout << '\n' << t.task << '\n';
    std::vector<std::vector<std::string>> table{{"layer", "kind", "params", "active", "MACs"}};
    for (const LayerCost& layer : t.layers) {
      table.push_back({layer.name, layer.kind, count(layer.params), count(layer.active_params), count(layer.macs)});
    }
    print_table(table);
  }
}

json layers_json(const ModelCost& cost) {
  json out = json::object();
  for (const TaskCost& t : cost.tasks) {
    for (const LayerCost& layer : t.layers) {
      out[t.task].push_back({{"name", layer.name},
                             {"kind", layer.kind},
                             {"macs", layer.macs},
                             {"params", layer.params},
                             {"active_params", layer.active_params}});
    }
  }
  return out;
}

/// The cost of all tasks, or of the one asked for.
ModelCost cost_of(const Config& config, const std::string& task, const std::string& where) {
  ModelCost cost = model_cost(config);
  if (task.empty()) return cost;
  std::string names;
  for (const TaskConfig& t : config.tasks) names += (names.empty() ? "" : ", ") + t.name;
  if (!config.task_index(task)) {
    throw Error{{.where = where, .field = "--task", .wanted = "one of " + names, .found = task, .hint = {}}};
  }
  std::erase_if(cost.tasks, [&](const TaskCost& t) { return t.task != task; });
  return cost;
}

/// Class counts that a recipe leaves to its data set.
void fill_outputs(Config& config, const std::string& where) {
  const bool open = std::any_of(config.tasks.begin(), config.tasks.end(), [](const TaskConfig& t) {
    return t.outputs == 0 && task_spec(t.id()).default_outputs == 0;
  });
  if (open) resolve_outputs(config, make_dataset(config, Split::kTest)->info(), where);
}

enum class Kind { kRecipe, kSafetensors, kM3v, kTorch };

Kind kind_of(const fs::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".yaml" || extension == ".yml") return Kind::kRecipe;
  if (extension == ".pth" || extension == ".pt") return Kind::kTorch;
  std::string magic(kM3vMagic.size(), '\0');
  std::ifstream(path, std::ios::binary).read(magic.data(), static_cast<std::streamsize>(magic.size()));
  return extension == ".m3v" || magic == kM3vMagic ? Kind::kM3v : Kind::kSafetensors;
}

class Inspect {
 public:
  Inspect(const InspectOptions& options, const Globals& globals)
      : options_(options), globals_(globals), layers_(options.layers || globals.verbose > 0) {}

  void run() {
    if (options_.file.empty() == options_.config.empty()) {
      throw Error{{.where = "m3vit inspect",
                   .field = {},
                   .wanted = "either FILE or --config YAML",
                   .found = options_.file.empty() ? "neither" : "both",
                   .hint = {}}};
    }
    const std::string& path = options_.file.empty() ? options_.config : options_.file;
    const Kind kind = options_.file.empty() ? Kind::kRecipe : kind_of(path);
    if (kind != Kind::kRecipe && !options_.sets.empty()) {
      throw Error{{.where = path, .field = "--set", .wanted = "a YAML recipe", .found = "a model file", .hint = {}}};
    }
    switch (kind) {
      case Kind::kRecipe:
        recipe(path);
        break;
      case Kind::kSafetensors:
        safetensors(path);
        break;
      case Kind::kM3v:
        packed(path);
        break;
      case Kind::kTorch:
        throw Error{{.where = path,
                     .field = {},
                     .wanted = "a .safetensors, .m3v or YAML file",
                     .found = "a PyTorch checkpoint",
                     .hint = "`m3vit import` turns it into .safetensors"}};
    }
    if (globals_.json) std::cout << document_.dump(2) << '\n';
  }

 private:
  /// Header line of the text, or the file's entry of the document.
  void title(const std::string& path, const std::string& what) {
    document_["file"] = path;
    if (!globals_.json) std::cout << path << ": " << what << '\n';
  }

  void report(const Config& config, const ModelCost& cost) {
    document_.update(to_json(cost));
    document_["memory"].update(memory_json(config, cost));
    document_["config"] = to_json(config);
    if (options_.plan) plan(config);
    if (layers_) document_["layers"] = layers_json(cost);
    if (!globals_.json) print_cost(config, cost, layers_);
  }

  /// The memory plan of a frame, for a file as it is packed, else for all tasks in --dtype.
  void plan(const Config& config) {
    Packing packing = packing_;
    if (packing.tasks.empty()) {
      for (std::size_t t = 0; t < config.tasks.size(); ++t) packing.tasks.push_back(static_cast<int>(t));
      packing.dtype = *find_precision(options_.dtype);
    }
    const MemoryLayout layout =
        plan_model(config, packing, {.threads = options_.threads, .budget = options_.memory, .batch = options_.batch},
                   document_["file"].get<std::string>());
    document_["plan"] = layout_json(layout);
    if (!globals_.json) {
      const MemoryPlan sums{layout.frame.planner.arena_bytes(), layout.resident_bytes, layout.streamed_bytes,
                            layout.stream_buffers, layout.smallest};
      std::cout << '\n' << layout_table(layout) << "  " << memory_text(sums, precision_name(packing.dtype)) << '\n';
    }
    if (!options_.picture.empty()) write_png(options_.picture, layout_picture(layout));
  }

  void recipe(const std::string& path) {
    Config config = load_config(path, options_.sets);
    fill_outputs(config, path);
    const ModelCost cost = cost_of(config, options_.task, path);
    title(path, "recipe");
    report(config, cost);
  }

  void safetensors(const std::string& path) {
    const SafetensorsFile file = SafetensorsFile::open(path);
    std::optional<Config> config;
    ModelCost cost;
    if (const auto text = file.metadata().find("config"); text != file.metadata().end()) {
      config = config_from_text(text->second, path);
      cost = cost_of(*config, options_.task, path);
    }
    title(path, fmt::format("{} tensors{}", file.tensors().size(), config ? "" : ", no configuration"));
    document_["metadata"] = metadata_json(file.metadata());
    if (!globals_.json) {
      for (const auto& [key, value] : file.metadata()) {
        if (key != "config") std::cout << "  " << printable(key) << ": " << printable(value) << '\n';
      }
    }
    if (config) {
      report(*config, cost);
      const std::vector<std::string> problems = tensor_problems(file, *config);
      document_["problems"] = problems;
      if (!globals_.json) {
        for (const std::string& problem : problems) std::cout << "  ! " << problem << '\n';
      }
    }
    document_["memory"]["file_bytes"] = fs::file_size(path);
    if (!config || globals_.verbose > 0) {
      document_["tensors"] = tensors_json(file);
      if (!globals_.json) {
        std::cout << '\n';
        print_tensors(file);
      }
    }
  }

  void packed(const std::string& path) {
    const M3vFile file = M3vFile::open(path);
    const Config& config = file.config();
    packing_ = file.packing();
    ModelCost cost = cost_of(config, options_.task, path);
    std::erase_if(cost.tasks, [&](const TaskCost& t) {
      const auto& held = file.tasks();
      return std::find(held.begin(), held.end(), *config.task_index(t.task)) == held.end();
    });
    title(path, fmt::format("packed model, {}, {} sections, by {}", file.dtype(), file.sections().size(),
                            printable(file.producer())));
    document_["dtype"] = file.dtype();
    document_["producer"] = file.producer();
    json tasks = json::array();
    std::string names;
    for (const int t : file.tasks()) {
      const std::string& name = config.tasks[static_cast<std::size_t>(t)].name;
      tasks.push_back(name);
      names += (names.empty() ? "" : ", ") + name;
    }
    document_["tasks"] = tasks;
    if (!globals_.json) std::cout << "  runs " << names << '\n';
    report(config, cost);
    document_["memory"]["file_bytes"] = file.bytes();
    if (globals_.verbose == 0) return;
    std::vector<std::vector<std::string>> rows{{"section", "bytes", "crc32c"}};
    for (const M3vSection& s : file.sections()) {
      document_["sections"].push_back({{"name", s.name}, {"bytes", s.bytes.size()}, {"crc32c", s.crc}});
      rows.push_back({s.name, bytes(static_cast<std::int64_t>(s.bytes.size())), fmt::format("{:08x}", s.crc)});
    }
    if (globals_.json) return;
    std::cout << '\n';
    print_table(rows);
  }

  const InspectOptions& options_;
  const Globals& globals_;
  bool layers_;
  Packing packing_;  ///< of an .m3v; else no tasks
  json document_ = json::object();
};

}  // namespace

void add_inspect(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "parameters, MACs, memory and tensors of a model or recipe");
  command->add_option("file", options->file, "model.safetensors, model.m3v or recipe.yaml")->type_name("FILE");
  command->add_option("--config", options->config, "a recipe: its cost without weights")->type_name("YAML");
  command->add_option("--task", options->task, "this task only")->type_name("TASK");
  command->add_option("--set", options->sets, "override a key of the recipe; may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--layers", options->layers, "every layer (also with -v, which lists tensors or sections too)");
  CLI::Option* memory = add_memory_option(*command, options->memory);
  command->add_option("--picture", options->picture, "the memory plan as a PNG")->type_name("FILE")->needs(memory);
  command->add_option("--dtype", options->dtype, "of the plan's weights, where FILE is no .m3v")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->needs(memory)
      ->capture_default_str();
  command->add_option("--threads", options->threads, "of the plan")->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_option("--batch", options->batch, "frames that run together, of the plan")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  m3vit inspect models/rooms_micro.safetensors\n"
      "  m3vit inspect --config configs/rooms/micro_m3vit.yaml --task depth --layers\n"
      "  m3vit inspect --config configs/rooms/micro_m3vit.yaml --set model.moe.num_experts=64 --json\n"
      "  m3vit inspect rooms.m3v --memory 16MiB --picture plan.png\n"
      "  m3vit inspect rooms.m3v -v");
  command->callback([options, memory, &globals] {
    options->plan = memory->count() > 0;
    Inspect(*options, globals).run();
  });
}

}  // namespace m3vit::cli
