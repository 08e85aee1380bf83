#include "reproduce/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/model_cost.h"

namespace m3vit {
namespace {

using nlohmann::json;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// One seed of one row, its networks put together.
struct SeedResult {
  EvalResult last, best;
  double seconds = 0;
};

EvalResult without(EvalResult result, const std::string& task) {
  result.metrics.erase(task);
  return result;
}

using BySeed = std::map<int, SeedResult>;

double delta(const EvalResult& result, const EvalResult& single) { return delta_m(result, single, nullptr); }

template <class Value>
Spread over_seeds(const BySeed& seeds, const BySeed& against, const Value& value) {
  std::vector<double> values;
  for (const auto& [seed, result] : seeds) {
    const auto base = against.find(seed);
    if (base != against.end()) values.push_back(value(result, base->second));
  }
  return spread(values);
}

/// The work of one frame with every task: the networks' sum, what tasks share counted once.
std::int64_t all_tasks_macs(const ModelCost& cost, const Config& config) {
  std::map<std::string, std::int64_t> layers;
  std::int64_t sum = 0;
  const int first = config.model.resnet ? std::numeric_limits<int>::max() : config.model.first_moe_block();
  for (const TaskCost& task : cost.tasks) {
    for (const LayerCost& layer : task.layers) {
      // Behind the first router each task has its own pass; before it, and in a rival's encoder, one pass serves all.
      constexpr std::string_view kBlocks = "backbone.blocks.";
      bool own = !layer.name.starts_with("backbone.");
      if (layer.name.starts_with(kBlocks)) {
        const int block = std::stoi(layer.name.substr(kBlocks.size()));
        own = block > first || (block == first && (layer.kind == "experts" || layer.kind == "router"));
      }
      if (own || layers.emplace(layer.name, layer.macs).second) sum += layer.macs;
    }
  }
  return sum;
}

std::string shown(const Spread& s, int digits) {
  if (s.count == 0) return "–";
  return std::isnan(s.error) ? fmt::format("{:.{}f}", s.mean, digits)
                             : fmt::format("{:.{}f} ± {:.{}f}", s.mean, digits, s.error, digits);
}
std::string signed_percent(const Spread& s) {
  if (s.count == 0) return "–";
  return std::isnan(s.error) ? fmt::format("{:+.2f}", s.mean) : fmt::format("{:+.2f} ± {:.2f}", s.mean, s.error);
}

}  // namespace

json to_json(const Spread& s) {
  return {{"mean", std::isnan(s.mean) ? json() : json(s.mean)},
          {"standard_error", std::isnan(s.error) ? json() : json(s.error)},
          {"seeds", s.count}};
}

Spread spread(const std::vector<double>& values) {
  Spread s{0, kNan, 0};
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    s.mean += v;
    ++s.count;
  }
  if (s.count == 0) return {kNan, kNan, 0};
  s.mean /= s.count;
  if (s.count < 2) return s;
  double squares = 0;
  for (const double v : values) {
    if (std::isfinite(v)) squares += (v - s.mean) * (v - s.mean);
  }
  s.error = std::sqrt(squares / (s.count - 1) / s.count);
  return s;
}

Report make_report(const Table& table, const std::string& scale, const std::vector<Job>& jobs,
                   const std::vector<JobResult>& results) {
  Report report{table, scale, {}, {}, 0};
  std::map<std::string, BySeed> by_row;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    SeedResult& seed = by_row[table.rows[job.row].name][job.seed];
    for (const auto& [task, metrics] : results[i].last.metrics) seed.last.metrics[task] = metrics;
    for (const auto& [task, metrics] : results[i].best.metrics) seed.best.metrics[task] = metrics;
    seed.seconds += results[i].seconds;
    for (const TaskConfig& task : results[i].config.tasks) {
      const auto same = [&](const TaskConfig& t) { return t.name == task.name; };
      if (std::none_of(report.tasks.begin(), report.tasks.end(), same)) report.tasks.push_back(task);
    }
  }
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const TableRow& row = table.rows[r];
    const auto found = by_row.find(row.name);
    if (found == by_row.end()) continue;
    const BySeed& seeds = found->second;
    RowReport out;
    out.row = r;
    for (const TaskConfig& task : report.tasks) {
      std::vector<double> values;
      for (const auto& [seed, result] : seeds) {
        if (result.last.metrics.contains(task.name)) values.push_back(result.last.primary(task.name));
      }
      out.primary[task.name] = spread(values);
    }
    for (const auto& [seed, result] : seeds) out.seconds += result.seconds / static_cast<double>(seeds.size());
    const BySeed& against = row.against.empty() ? BySeed{} : by_row[row.against];
    out.delta_m = over_seeds(seeds, against, [](const auto& a, const auto& b) { return delta(a.last, b.last); });
    out.delta_m_best = over_seeds(seeds, against, [](const auto& a, const auto& b) { return delta(a.best, b.best); });
    out.delta_m_without_edge =
        over_seeds(seeds, against, [](const auto& a, const auto& b) { return delta(without(a.last, "edge"), b.last); });
    std::int64_t one_task = 0, networks = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (jobs[i].row != r || jobs[i].seed != seeds.begin()->first) continue;
      const ModelCost cost = model_cost(results[i].config);
      out.params += cost.params;
      out.macs_all_tasks += all_tasks_macs(cost, results[i].config);
      for (const TaskCost& t : cost.tasks) {
        one_task += t.total;
        ++networks;
      }
    }
    out.macs_one_task = networks > 0 ? one_task / networks : 0;
    report.rows.push_back(std::move(out));
  }
  return report;
}

json to_json(const Report& report) {
  json rows = json::array();
  for (const RowReport& r : report.rows) {
    const TableRow& row = report.table.rows[r.row];
    json metrics = json::object();
    for (const auto& [task, value] : r.primary) {
      metrics[task] = to_json(value);
      metrics[task]["metric"] = task_spec(*find_task(task)).primary_metric;
    }
    rows.push_back({{"row", row.name},
                    {"label", row.label},
                    {"against", row.against},
                    {"metrics", metrics},
                    {"delta_m", to_json(r.delta_m)},
                    {"delta_m_best_epoch", to_json(r.delta_m_best)},
                    {"delta_m_without_edge", to_json(r.delta_m_without_edge)},
                    {"params", r.params},
                    {"macs_one_task", r.macs_one_task},
                    {"operations_one_task", 2 * r.macs_one_task},
                    {"macs_all_tasks", r.macs_all_tasks},
                    {"train_seconds", r.seconds}});
  }
  json published = json::array();
  for (const Published& p : report.table.published) {
    published.push_back({{"row", p.row}, {"what", p.what}, {"value", p.value}, {"source", p.source}});
  }
  return {{"table", report.table.name}, {"title", report.table.title},   {"scale", report.scale}, {"rows", rows},
          {"published", published},     {"missing_runs", report.missing}};
}

std::string to_markdown(const Report& report) {
  std::string text = fmt::format("# {}\nScale `{}`.", report.table.title, report.scale);
  if (report.missing > 0) text += fmt::format(" **Not whole: {} runs are not finished.**", report.missing);
  text += "\n\n| |";
  for (const TaskConfig& t : report.tasks) {
    const TaskSpec& spec = task_spec(t.id());
    text += fmt::format(" {} {} {} |", t.name, spec.primary_metric, spec.better == Better::kHigher ? "↑" : "↓");
  }
  const bool edge =
      std::any_of(report.tasks.begin(), report.tasks.end(), [](const auto& t) { return t.name == "edge"; });
  text += " Δm % |";
  if (edge) text += " Δm % without edge |";
  text += " Δm % best epoch | parameters M | one task GMAC | GFLOP | all tasks GMAC | training s |\n|---|";
  for (std::size_t i = 0; i < report.tasks.size() + (edge ? 8 : 7); ++i) text += "---|";
  text += "\n";
  std::int64_t reference = 0, reference_all = 0;
  for (const RowReport& r : report.rows) {
    const TableRow& row = report.table.rows[r.row];
    if (row.name == report.table.macs_against) {
      reference = r.macs_one_task;
      reference_all = r.macs_all_tasks;
    }
    text += fmt::format("| {} |", row.label);
    for (const TaskConfig& t : report.tasks) text += fmt::format(" {} |", shown(r.primary.at(t.name), 4));
    text += fmt::format(" {} |", signed_percent(r.delta_m));
    if (edge) text += fmt::format(" {} |", signed_percent(r.delta_m_without_edge));
    const auto giga = [](std::int64_t n) { return static_cast<double>(n) * 1e-9; };
    text += fmt::format(" {} | {:.2f} | {:.3f} | {:.3f} | {:.3f} | {:.0f} |\n", signed_percent(r.delta_m_best),
                        static_cast<double>(r.params) * 1e-6, giga(r.macs_one_task), giga(2 * r.macs_one_task),
                        giga(r.macs_all_tasks), r.seconds);
  }
  text +=
      "\nMetrics of the last epoch, mean ± standard error over seeds. Δm against the row of the same seed named in the "
      "table's file; \"best epoch\" picks each run's best on the test split, as the authors' script does. One task: "
      "what one task of one frame costs, mean over tasks. 1 GMAC = 2 GFLOP; publications call MACs FLOPs.\n";
  const auto savings = [&](const std::string& of, std::int64_t macs) {
    if (macs == 0) return;
    text += fmt::format("\nMultiplications for one task, saved against {} of {}:", of,
                        report.table.find(report.table.macs_against)->label);
    for (const RowReport& r : report.rows) {
      const double saved = 1.0 - static_cast<double>(r.macs_one_task) / static_cast<double>(macs);
      text += fmt::format(" {} {:.1f} %;", report.table.rows[r.row].label, 100 * saved);
    }
    text.back() = '.';
    text += "\n";
  };
  savings("one task", reference);
  savings("all tasks, which the published code always runs,", reference_all);
  if (!report.table.published.empty()) {
    text += "\nPublished, for comparison (not measured here):\n\n| row | what | value | source |\n|---|---|---|---|\n";
    for (const Published& p : report.table.published) {
      text += fmt::format("| {} | {} | {} | {} |\n", p.row, p.what, p.value, p.source);
    }
  }
  return text;
}

}  // namespace m3vit
