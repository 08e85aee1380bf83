#include "train/run_log.h"

#include <cmath>
#include <limits>
#include <set>

#include "core/atomic_file.h"
#include "core/error.h"
#include "eval/plot.h"
#include "train/conflict_log.h"

namespace m3vit {
namespace {

using nlohmann::json;

bool is_epoch(const json& r) { return r.value("type", "") == "epoch"; }

/// NaN is written as null.
double number(const json& v) { return v.is_number() ? v.get<double>() : std::numeric_limits<double>::quiet_NaN(); }

double at(const json& record, const char* group, const std::string& key) {
  const auto g = record.find(group);
  if (g == record.end() || !g->contains(key)) return std::numeric_limits<double>::quiet_NaN();
  return number((*g)[key]);
}

std::string cell(const json& v) { return v.is_null() ? "" : v.is_string() ? v.get<std::string>() : v.dump(); }

}  // namespace

RunLog::RunLog(std::filesystem::path run, const Config& config, std::int64_t step) : run_(std::move(run)) {
  for (const TaskConfig& t : config.tasks) tasks_.push_back(t.name);
  const std::filesystem::path path = run_ / "log.jsonl";
  std::string kept;
  if (std::ifstream in(path); in) {
    for (std::string line; std::getline(in, line);) {
      json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!record.is_object() || record.value("step", std::int64_t{0}) > step) continue;
      kept += line + '\n';
      records_.push_back(std::move(record));
    }
  }
  write_text_file(path, kept);
  out_.open(path, std::ios::app);
  if (!out_) throw Error{{.where = path.string(), .wanted = "a writable file", .found = "it cannot be opened"}};
}

void RunLog::append(const json& record) {
  out_ << record.dump() << '\n' << std::flush;
  records_.push_back(record);
}

const json* RunLog::last_evaluation() const {
  for (auto it = records_.rbegin(); it != records_.rend(); ++it) {
    if (is_epoch(*it) && it->contains("metrics")) return &*it;
  }
  return nullptr;
}

void RunLog::draw() const {
  write_csv();
  write_curves();
  write_metric_curves();
  write_conflict(run_, records_);
  for (auto it = records_.rbegin(); it != records_.rend(); ++it) {
    if (is_epoch(*it) && it->contains("routing")) {
      write_text_file(run_ / "routing.json",
                      json{{"epoch", (*it)["epoch"]}, {"step", (*it)["step"]}, {"blocks", (*it)["routing"]}}.dump(1));
      break;
    }
  }
}

void RunLog::write_csv() const {
  std::vector<std::string> metrics;  // "semseg/mIoU" …, in the order of tasks
  for (const std::string& t : tasks_) {
    std::set<std::string> seen;
    for (const json& r : records_) {
      if (!is_epoch(r) || !r.contains("metrics") || !r["metrics"].contains(t)) continue;
      for (const auto& [name, value] : r["metrics"][t].items()) {
        if (seen.insert(name).second) metrics.push_back(std::string(t).append("/").append(name));
      }
    }
  }
  std::string text = "epoch,step,seconds,lr,loss,balance";
  for (const std::string& t : tasks_) text += "," + t + "/loss";
  for (const std::string& m : metrics) text += "," + m;
  text += ",score\n";
  for (const json& r : records_) {
    if (!is_epoch(r)) continue;
    for (const char* key : {"epoch", "step", "seconds", "lr", "loss", "balance"}) {
      text += cell(r.value(key, json())) + ",";
    }
    for (const std::string& t : tasks_) text += cell(r["losses"].value(t, json())) + ",";
    for (const std::string& m : metrics) {
      const json pointer = r.contains("metrics") ? r["metrics"] : json::object();
      text += cell(pointer.value(json::json_pointer("/" + m), json())) + ",";
    }
    text += cell(r.value("score", json())) + "\n";
  }
  write_text_file(run_ / "epochs.csv", text);
}

void RunLog::write_curves() const {
  std::size_t epochs = 0;
  for (const json& r : records_) epochs += is_epoch(r) ? 1U : 0U;
  const bool by_epoch = epochs >= 10;  // few epochs: the step records show more
  std::vector<Series> series;
  for (const std::string& t : tasks_) {
    Series s;
    s.name = t;
    for (const json& r : records_) {
      if (is_epoch(r) != by_epoch) continue;
      s.x.push_back(number(r.value("step", json())));
      s.y.push_back(at(r, "losses", t));
    }
    series.push_back(std::move(s));
  }
  PlotOptions options;
  options.title = "Training loss by task (unweighted)";
  options.x_label = "step";
  options.y_label = "loss";
  options.log_y = true;
  write_text_file(run_ / "curves.svg", plot_svg(series, options));
}

void RunLog::write_metric_curves() const {
  std::vector<Series> series;
  for (const std::string& t : tasks_) {
    const TaskSpec& spec = task_spec(*find_task(t));
    Series s;
    s.name = t + " " + std::string(spec.primary_metric);
    double first = std::numeric_limits<double>::quiet_NaN();
    for (const json& r : records_) {
      if (!is_epoch(r) || !r.contains("metrics") || !r["metrics"].contains(t)) continue;
      const double value = at(r["metrics"], t.c_str(), std::string(spec.primary_metric));
      if (std::isnan(first) && value > 0) first = value;
      s.x.push_back(number(r["epoch"]));
      // log2 of the improvement puts tasks of any unit and direction on one axis
      const double ratio = spec.better == Better::kHigher ? value / first : first / value;
      s.y.push_back(ratio > 0 ? std::log2(ratio) : std::numeric_limits<double>::quiet_NaN());
    }
    series.push_back(std::move(s));
  }
  PlotOptions options;
  options.title = "Test metrics against the first evaluation (up is better)";
  options.x_label = "epoch";
  options.y_label = "log2 of the improvement factor";
  write_text_file(run_ / "metrics.svg", plot_svg(series, options));
}

}  // namespace m3vit
