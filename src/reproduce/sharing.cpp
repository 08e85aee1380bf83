#include "reproduce/sharing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/atomic_file.h"
#include "core/markup.h"
#include "eval/plot.h"

namespace m3vit {
namespace {

using nlohmann::json;

struct Mean {
  double sum = 0;
  int count = 0;
  void add(double v) {
    sum += v;
    ++count;
  }
  double value() const { return count > 0 ? sum / count : 0; }
};

/// Share of conflicting pairs and cosine of one thing.
struct Agreement {
  Mean conflicting, cosine;
  void add(const json& from) {
    conflicting.add(from.at("conflicting"));
    cosine.add(from.at("mean_cosine"));
  }
  json values() const { return {{"conflicting", conflicting.value()}, {"mean_cosine", cosine.value()}}; }
};

/// "backbone.blocks.3.mlp" → 3; −1 outside blocks.
int block_of(const std::string& layer) {
  constexpr std::string_view kBlocks = "backbone.blocks.";
  return layer.starts_with(kBlocks) ? std::stoi(layer.substr(kBlocks.size())) : -1;
}

void add_conflict(json& row, const std::vector<const JobResult*>& seeds) {
  std::vector<double> shares, cosines;
  std::map<int, Agreement> blocks;
  std::map<std::string, Agreement> pairs;
  for (const JobResult* seed : seeds) {
    if (!seed->conflict.is_object() || seed->conflict.value("measurements", 0) == 0) continue;
    shares.push_back(seed->conflict.at("conflicting").get<double>());
    cosines.push_back(seed->conflict.at("mean_cosine").get<double>());
    for (const json& layer : seed->conflict.at("layers")) {
      if (const int block = block_of(layer.at("layer")); block >= 0) blocks[block].add(layer);
      for (const auto& [pair, values] : layer.at("pairs").items()) pairs[pair].add(values);
    }
  }
  if (shares.empty()) return;
  row["conflicting"] = to_json(spread(shares));
  row["mean_cosine"] = to_json(spread(cosines));
  row["blocks"] = json::array();
  for (const auto& [block, agreement] : blocks) {
    json entry = agreement.values();
    entry["block"] = block;
    row["blocks"].push_back(std::move(entry));
  }
  for (const auto& [pair, agreement] : pairs) row["pairs"][pair] = agreement.values();
}

void add_experts(json& row, const std::vector<const JobResult*>& seeds) {
  std::map<int, std::map<std::string, Mean>> overlap;
  std::map<int, json> load;
  for (const JobResult* seed : seeds) {
    if (!seed->routing.is_object()) continue;
    for (const json& block : seed->routing.at("blocks")) {
      const int number = block.at("block");
      for (const auto& [pair, value] : block.at("overlap").items()) overlap[number][pair].add(value);
      json loads = json::object();
      for (const auto& [task, use] : block.at("tasks").items()) loads[task] = use.at("load");
      load.emplace(number, std::move(loads));
    }
  }
  for (const auto& [block, loads] : load) {
    json entry{{"block", block}, {"load", loads}, {"overlap", json::object()}};
    for (const auto& [pair, mean] : overlap[block]) entry["overlap"][pair] = mean.value();
    row["experts"].push_back(std::move(entry));
  }
}

/// A cell shaded by `share` (0 … 1): blue, or red for what is bad.
std::string cell(double value, double share, bool bad) {
  return fmt::format("<td style=\"background:rgba({},{:.2f})\">{:.2f}</td>", bad ? "213,94,0" : "0,114,178",
                     std::clamp(share, 0.0, 1.0), value);
}

/// A square table over the tasks that occur in "a,b" keys.
std::string pair_table(const json& pairs, const char* key, bool bad_below_zero) {
  std::set<std::string> names;
  for (const auto& [pair, value] : pairs.items()) {
    names.insert(pair.substr(0, pair.find(',')));
    names.insert(pair.substr(pair.find(',') + 1));
  }
  std::string text = "<table><tr><th></th>";
  for (const std::string& n : names) text += "<th>" + markup_escaped(n) + "</th>";
  text += "</tr>\n";
  for (const std::string& a : names) {
    text += "<tr><th>" + markup_escaped(a) + "</th>";
    for (const std::string& b : names) {
      const std::string one = std::string(a).append(",").append(b), other = std::string(b).append(",").append(a);
      if (!pairs.contains(one) && !pairs.contains(other)) {
        text += "<td></td>";
        continue;
      }
      const json& value = pairs[pairs.contains(one) ? one : other];
      const double v = *key != '\0' ? value.at(key).get<double>() : value.get<double>();
      text += bad_below_zero ? cell(v, std::abs(v), v < 0) : cell(v, v, false);
    }
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

std::string load_table(const json& load) {
  std::string text = "<table>";
  for (const auto& [task, shares] : load.items()) {
    double most = 0;
    for (const json& s : shares) most = std::max(most, s.get<double>());
    text += "<tr><th>" + markup_escaped(task) + "</th>";
    for (const json& s : shares) text += cell(s.get<double>(), most > 0 ? s.get<double>() / most : 0, false);
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

std::string row_section(const json& row) {
  std::string text = "<h2>" + markup_escaped(row.at("label").get<std::string>()) + "</h2>\n";
  if (row.contains("pairs")) {
    text += "<h3>Mean cosine of two tasks' gradients, over layers and steps</h3>\n" +
            pair_table(row["pairs"], "mean_cosine", true);
  }
  if (!row.contains("experts")) return text;
  for (const json& block : row["experts"]) {
    text += fmt::format("<h3>Block {}: share of each task's choices by expert (first seed)</h3>\n{}",
                        block["block"].get<int>(), load_table(block["load"]));
    if (!block["overlap"].empty()) {
      text += "<h3>Overlap of two tasks' experts: 1 the same, 0 none</h3>\n" + pair_table(block["overlap"], "", false);
    }
  }
  return text;
}

std::string shown(const json& spread) {
  std::string text = fmt::format("{:.3f}", spread.at("mean").get<double>());
  if (!spread.at("standard_error").is_null()) {
    text += fmt::format(" ± {:.3f}", spread["standard_error"].get<double>());
  }
  return text;
}

std::string page(const Table& table, const json& report, bool plot) {
  std::string text = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
                     markup_escaped(table.title) +
                     "</title><style>body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
                     "table{border-collapse:collapse}td,th{padding:.2em .6em;text-align:right;font-weight:normal}"
                     "th:first-child{text-align:left}</style></head><body>\n<h1>" +
                     markup_escaped(table.title) + "</h1>\n";
  std::string rows;
  for (const json& row : report.at("rows")) {
    if (!row.contains("conflicting")) continue;
    rows += fmt::format("<tr><th>{}</th><td>{}</td><td>{}</td></tr>\n", markup_escaped(row["label"].get<std::string>()),
                        shown(row["conflicting"]), shown(row["mean_cosine"]));
  }
  if (!rows.empty()) {
    text +=
        "<p>Two tasks conflict in a layer where their gradients' cosine is negative: a step for one is a step against "
        "the other. Over the parameters that two or more tasks use; an expert that only one of two tasks chose counts "
        "in that task's length, not in the product.</p>\n<table><tr><th></th><th>share of conflicting "
        "pairs</th><th>mean "
        "cosine</th></tr>\n" +
        rows + "</table>\n";
  }
  if (plot) text += "<p><img src=\"conflict.svg\" alt=\"share of conflicting pairs by block\"></p>\n";
  for (const json& row : report.at("rows")) text += row_section(row);
  return text + "</body></html>\n";
}

}  // namespace

json sharing_report(const Table& table, const std::vector<Job>& jobs, const std::vector<JobResult>& results) {
  json report{{"rows", json::array()}};
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    std::vector<const JobResult*> seeds;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (jobs[i].row == r && jobs[i].task.empty()) seeds.push_back(&results[i]);
    }
    json row{{"row", table.rows[r].name}, {"label", table.rows[r].label}};
    add_conflict(row, seeds);
    add_experts(row, seeds);
    if (row.size() > 2) report["rows"].push_back(std::move(row));
  }
  return report;
}

void write_sharing(const std::filesystem::path& out, const Table& table, const json& report) {
  if (report.at("rows").empty()) return;
  std::vector<Series> series;
  for (const json& row : report["rows"]) {
    if (!row.contains("blocks")) continue;
    Series s{.name = row["label"], .x = {}, .y = {}};
    for (const json& block : row["blocks"]) {
      s.x.push_back(block["block"].get<int>());
      s.y.push_back(block["conflicting"].get<double>());
    }
    series.push_back(std::move(s));
  }
  if (!series.empty()) {
    PlotOptions options;
    options.title = "Share of pairs of tasks whose gradients conflict";
    options.x_label = "block";
    options.y_label = "share";
    write_text_file(out / "conflict.svg", plot_svg(series, options));
  }
  write_text_file(out / "sharing.json", report.dump(1) + "\n");
  write_text_file(out / "sharing.html", page(table, report, !series.empty()));
}

}  // namespace m3vit
