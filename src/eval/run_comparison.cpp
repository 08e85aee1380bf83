#include "eval/run_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace m3vit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// One row of the table: a value of every run, already as text, and which of them are best.
struct Row {
  std::string task, name;
  std::vector<std::string> cells;
};

std::string human_count(std::int64_t n) {
  const auto value = static_cast<double>(n);
  if (n >= 1'000'000'000) return fmt::format("{:.2f} G", value / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.2f} M", value / 1e6);
  if (n >= 1'000) return fmt::format("{:.2f} k", value / 1e3);
  return std::to_string(n);
}

double value_of(const RunResult& run, const std::string& task, const std::string& name) {
  const auto found = run.result.metrics.find(task);
  if (found == run.result.metrics.end()) return kNan;
  for (const MetricValue& m : found->second) {
    if (m.name == name) return m.value;
  }
  return kNan;
}

Row value_row(std::string task, std::string name, const std::vector<double>& values, bool higher_is_better,
              const char* format) {
  double best = kNan;
  for (const double v : values) {
    if (std::isfinite(v) && (std::isnan(best) || (higher_is_better ? v > best : v < best))) best = v;
  }
  const auto known = std::count_if(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
  Row row{std::move(task), std::move(name) + (higher_is_better ? " ↑" : " ↓"), {}};
  for (const double v : values) {
    std::string cell = std::isfinite(v) ? fmt::format(fmt::runtime(format), v) : "–";
    row.cells.push_back(cell + (known > 1 && v == best ? "*" : " "));
  }
  return row;
}

std::vector<Row> table_rows(const Comparison& c) {
  std::vector<Row> rows;
  for (const TaskSpec& spec : kTasks) {
    const std::string task(spec.name);
    std::vector<std::string> names;  // in the order of the first run that has them
    for (const RunResult& run : c.runs) {
      const auto found = run.result.metrics.find(task);
      if (found == run.result.metrics.end()) continue;
      for (const MetricValue& m : found->second) {
        if (std::find(names.begin(), names.end(), m.name) == names.end()) names.push_back(m.name);
      }
    }
    bool first = true;
    for (const std::string& name : names) {
      std::vector<double> values;
      for (const RunResult& run : c.runs) values.push_back(value_of(run, task, name));
      rows.push_back(value_row(first ? task : "", name, values, metric_direction(name) == Better::kHigher, "{:.4f}"));
      first = false;
    }
  }
  rows.push_back(value_row("Δm", "%", c.delta_m, true, "{:+.2f}"));
  if (std::any_of(c.delta_m_without_edge.begin(), c.delta_m_without_edge.end(),
                  [](double v) { return std::isfinite(v); })) {
    rows.push_back(value_row("", "% without edge", c.delta_m_without_edge, true, "{:+.2f}"));
  }
  const auto cost_row = [&](std::string task, std::string name, auto&& get) {
    Row row{std::move(task), std::move(name), {}};
    bool any = false;
    for (const RunResult& run : c.runs) {
      const std::optional<std::int64_t> n = run.cost ? get(*run.cost) : std::nullopt;
      any = any || n.has_value();
      row.cells.push_back((n ? human_count(*n) : "–") + " ");
    }
    if (any) rows.push_back(std::move(row));
  };
  cost_row("params", "", [](const ModelCost& m) { return std::optional(m.params); });
  std::string label = "MACs";
  for (const TaskSpec& spec : kTasks) {
    const std::size_t before = rows.size();
    cost_row(label, std::string(spec.name), [&](const ModelCost& m) -> std::optional<std::int64_t> {
      for (const TaskCost& t : m.tasks) {
        if (t.task == spec.name) return t.total;
      }
      return std::nullopt;
    });
    if (rows.size() > before) label.clear();
  }
  Row frames{"frames", "", {}};
  for (const RunResult& run : c.runs) frames.cells.push_back(std::to_string(run.result.frames) + " ");
  rows.push_back(std::move(frames));
  return rows;
}

/// Columns on a terminal; UTF-8 continuation bytes take none.
std::size_t columns(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char ch) { return (static_cast<unsigned char>(ch) & 0xC0U) != 0x80U; }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width > columns(text) ? width - columns(text) : 0, ' ');
  return right ? space + text : text + space;
}

}  // namespace

RunResult read_run(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  fs::path file = path;
  if (fs::is_directory(path)) {
    file = path / "metrics.json";
    if (!fs::exists(file)) {
      throw Error({.where = path.string(),
                   .field = "metrics.json",
                   .wanted = "a finished training run or an evaluation's JSON file",
                   .found = "no such file",
                   .hint = "`m3vit eval MODEL --json > FILE` measures a checkpoint"});
    }
  }
  std::ifstream in(file);
  if (!in) throw Error({.where = file.string(), .wanted = "a readable file or a run folder", .found = "none"});
  const nlohmann::json json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw Error({.where = file.string(), .wanted = "JSON", .found = "something else"});
  RunResult run;
  run.name = fs::absolute(path).lexically_normal().stem().string();
  if (run.name.empty()) run.name = fs::absolute(path).lexically_normal().parent_path().filename().string();
  run.result = eval_result_from_json(json, file.string());
  if (const auto epoch = json.find("epoch"); epoch != json.end() && epoch->is_number_integer()) {
    run.epoch = epoch->get<std::int64_t>();
  }
  if (const auto config = json.find("config"); config != json.end() && config->is_object()) {
    run.cost = model_cost(config_from_json(*config, SourceMap{file.string(), {}}));
  }
  return run;
}

EvalResult read_single_tasks(const std::vector<std::filesystem::path>& paths) {
  EvalResult single;
  for (const std::filesystem::path& path : paths) {
    RunResult run = read_run(path);
    for (auto& [task, values] : run.result.metrics) {
      if (!single.metrics.emplace(task, std::move(values)).second) {
        throw Error({.where = path.string(), .field = task, .wanted = "each task in one file only", .found = "twice"});
      }
    }
  }
  return single;
}

Comparison compare_runs(std::vector<RunResult> runs, const std::optional<EvalResult>& single) {
  if (runs.empty()) throw Error({.where = "compare", .wanted = "at least one run", .found = "none"});
  Comparison c;
  c.baseline = single ? *single : runs.front().result;
  c.baseline_name = single ? "single-task results" : runs.front().name;
  for (const RunResult& run : runs) {
    c.missing.emplace_back();
    c.delta_m.push_back(delta_m(run.result, c.baseline, &c.missing.back()));
    c.delta_m_without_edge.push_back(delta_m_without_edge(run.result, c.baseline));
  }
  c.runs = std::move(runs);
  return c;
}

nlohmann::json to_json(const Comparison& c) {
  nlohmann::json json{{"baseline", c.baseline_name}, {"runs", nlohmann::json::array()}};
  for (std::size_t i = 0; i < c.runs.size(); ++i) {
    const RunResult& run = c.runs[i];
    nlohmann::json one{{"name", run.name},
                       {"metrics", to_json(run.result)},
                       {"frames", run.result.frames},
                       {"delta_m", nullptr},
                       {"delta_m_without", c.missing[i]}};
    if (std::isfinite(c.delta_m[i])) one["delta_m"] = c.delta_m[i];
    if (std::isfinite(c.delta_m_without_edge[i])) one["delta_m_without_edge"] = c.delta_m_without_edge[i];
    if (run.epoch) one["epoch"] = *run.epoch;
    if (run.cost) one.update(to_json(*run.cost));
    json["runs"].push_back(std::move(one));
  }
  return json;
}

std::string format_table(const Comparison& c) {
  const std::vector<Row> rows = table_rows(c);
  std::size_t task_width = 0;
  std::size_t name_width = 0;
  std::vector<std::size_t> widths;
  for (const RunResult& run : c.runs) widths.push_back(columns(run.name) + 1);
  for (const Row& row : rows) {
    task_width = std::max(task_width, columns(row.task));
    name_width = std::max(name_width, columns(row.name));
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], columns(row.cells[i]));
  }
  std::string out = padded("", task_width + 2 + name_width, false);
  for (std::size_t i = 0; i < widths.size(); ++i) out += "  " + padded(c.runs[i].name + " ", widths[i], true);
  out += '\n';
  for (const Row& row : rows) {
    out += padded(row.task, task_width, false) + "  " + padded(row.name, name_width, false);
    for (std::size_t i = 0; i < widths.size(); ++i) out += "  " + padded(row.cells[i], widths[i], true);
    out += '\n';
  }
  std::set<std::string> left_out;
  for (const auto& tasks : c.missing) left_out.insert(tasks.begin(), tasks.end());
  out += "\nΔm against " + c.baseline_name;
  if (!left_out.empty()) {
    out += ", without";
    for (const std::string& task : left_out) out += " " + task;
  }
  return out + "; * best of its row\n";
}

}  // namespace m3vit
