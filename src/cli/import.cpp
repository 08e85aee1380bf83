/// m3vit import: someone else's weights → a model file of ours.
#include "model/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "data/dataset.h"
#include "model/weights.h"

namespace m3vit::cli {
namespace {

struct Options {
  std::string file, output, config;
  std::vector<std::string> overrides;
  bool list = false;
  ImportOptions import;
};

void list_tensors(const StateDict& file, bool json) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const auto& [name, tensor] : file.tensors) {
    if (json) {
      tensors.push_back({{"name", name}, {"shape", tensor.sizes().vec()}, {"elements", tensor.numel()}});
    } else {
      fmt::print("{}  [{}]\n", name, fmt::join(tensor.sizes().vec(), ", "));
    }
  }
  if (json) {
    std::cout << nlohmann::json{{"file", file.where}, {"format", file.format}, {"tensors", tensors}}.dump() << '\n';
  }
}

/// A line of the table: neighbours with one fate and one reason share it ("decoders.*", 114 tensors).
struct Line {
  ImportStatus status;
  std::string name, note;
  int tensors = 1;
};

std::string common_prefix(const std::string& a, const std::string& b) {
  const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  const std::string same(a.begin(), differ);
  return same.substr(0, same.rfind('.') + 1) + "*";
}

/// Plainly loaded tensors are only counted unless `every` tensor is asked for.
void print_table(const ImportReport& report, bool every) {
  std::vector<Line> lines;
  std::map<ImportStatus, int> counts;
  bool neighbour = false;  // of the last line
  for (const ImportRow& r : report.rows) {
    ++counts[r.status];
    if (!every && r.status == ImportStatus::kLoaded) {
      neighbour = false;
    } else if (!every && neighbour && lines.back().status == r.status && lines.back().note == r.note) {
      lines.back().name = common_prefix(lines.back().name, r.name);
      ++lines.back().tensors;
    } else {
      lines.push_back({.status = r.status, .name = r.name, .note = r.note});
      neighbour = true;
    }
  }
  std::size_t width = 0;
  for (const Line& l : lines) width = std::max(width, l.name.size());
  for (const Line& l : lines) {
    const std::string number = l.tensors > 1 ? fmt::format("{} tensors: ", l.tensors) : "";
    fmt::print(stderr, "{:<12} {:<{}}  {}{}\n", import_status_name(l.status), l.name, width, number, l.note);
  }
  std::string total;
  for (const auto& [status, n] : counts) {
    total += fmt::format("{}{} {}", total.empty() ? "" : ", ", n, import_status_name(status));
  }
  fmt::print(stderr, "{} tensors: {}\n", report.rows.size(), total);
}

void run(const Options& o, const Globals& globals) {
  const StateDict file = read_state_dict(o.file);
  if (o.list) return list_tensors(file, globals.json);
  if (o.output.empty() || o.config.empty()) {
    throw Error{{.field = o.output.empty() ? "-o" : "--config", .wanted = "a file name", .found = "none"}};
  }
  Config config = load_config(o.config, o.overrides);
  for (const TaskConfig& task : config.tasks) {
    if (task.outputs > 0) continue;
    resolve_outputs(config, make_dataset(config, Split::kTrain)->info(), o.config);
    break;
  }
  torch::manual_seed(o.import.seed);
  config.model.tam = false;  // its modules are training-only and made anew by `m3vit train`
  const std::shared_ptr<NetworkImpl> network = make_network(config);
  const ImportReport report = import_weights(*network, config, file, o.import);
  std::map<std::string, std::string> metadata{
      {"source", fmt::format("{} ({})", std::filesystem::path(o.file).filename().string(), file.format)}};
  if (!report.upcycling.empty()) metadata["upcycling"] = report.upcycling;
  save_model(o.output, *network, config, metadata);

  if (!globals.quiet) print_table(report, globals.verbose > 0);
  if (globals.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const ImportRow& r : report.rows) {
      rows.push_back({{"status", import_status_name(r.status)}, {"name", r.name}, {"note", r.note}});
    }
    std::cout << nlohmann::json{{"output", o.output}, {"format", file.format}, {"tensors", rows}}.dump() << '\n';
  } else {
    std::cout << o.output << '\n';
  }
}

}  // namespace

void add_import(CLI::App& app, Globals& globals) {
  auto* sub = app.add_subcommand("import", "turn a timm/DeiT or M3ViT checkpoint into a .safetensors model");
  auto o = std::make_shared<Options>();
  sub->add_option("FILE", o->file, ".safetensors, or .pth/.pt of torch.save (nothing in it is executed)")->required();
  sub->add_option("-o,--output", o->output, "the .safetensors to write");
  sub->add_option("-c,--config", o->config, "YAML recipe of the network to fill");
  sub->add_option("--set", o->overrides, "override a config key: model.moe.top_k=2 (repeatable)")
      ->take_all()
      ->expected(1);
  sub->add_flag("--list", o->list, "only print the file's tensors");
  sub->add_flag("--allow-missing", o->import.allow_missing, "keep initial values where the file has no fitting tensor");
  sub->add_flag("--allow-unexpected", o->import.allow_unexpected, "ignore tensors that the network has no place for");
  sub->add_option("--noise", o->import.noise, "upcycling noise, share of each expert tensor's standard deviation")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  sub->add_option("--seed", o->import.seed, "of initial values and noise")->capture_default_str();
  sub->footer(
      "Examples:\n"
      "  m3vit import deit_small_patch16_224.pth -o start.safetensors --config configs/rooms/small_m3vit.yaml\n"
      "  m3vit import m3vit_nyud.pth -o m3vit.safetensors --config configs/nyud/small_m3vit.yaml\n"
      "  m3vit import weights.pth --list");
  sub->callback([o, &globals] { run(*o, globals); });
}

}  // namespace m3vit::cli
