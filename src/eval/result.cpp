/// What follows from an EvalResult: Δm, JSON, text table.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "eval/evaluate.h"

namespace m3vit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

nlohmann::json number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr); }

double read_number(const nlohmann::json& json, const std::string& where, const std::string& field) {
  if (json.is_null()) return kNan;
  if (!json.is_number()) {
    throw Error({.where = where, .field = field, .wanted = "a number or null", .found = json.type_name()});
  }
  return json.get<double>();
}

void want_object(const nlohmann::json& json, const std::string& where, const std::string& field) {
  if (!json.is_object()) {
    throw Error({.where = where, .field = field, .wanted = "an object", .found = json.type_name()});
  }
}

}  // namespace

double EvalResult::primary(const std::string& task) const {
  const auto id = find_task(task);
  const auto found = metrics.find(task);
  if (!id || found == metrics.end()) return kNan;
  for (const MetricValue& m : found->second) {
    if (m.name == task_spec(*id).primary_metric) return m.value;
  }
  return kNan;
}

double delta_m(const EvalResult& result, const EvalResult& single, std::vector<std::string>* missing) {
  double sum = 0;
  int tasks = 0;
  for (const TaskSpec& spec : kTasks) {  // fixed order: the sum does not depend on the map
    const std::string name(spec.name);
    if (!result.metrics.contains(name)) continue;
    const double gain = relative_gain(spec, result.primary(name), single.primary(name));
    if (std::isfinite(gain)) {
      sum += gain;
      ++tasks;
    } else if (missing != nullptr) {
      missing->push_back(name);
    }
  }
  return tasks == 0 ? kNan : 100 * sum / tasks;
}

double delta_m_without_edge(const EvalResult& result, const EvalResult& single) {
  const std::string edge(task_spec(TaskId::kEdge).name);
  if (!std::isfinite(relative_gain(task_spec(TaskId::kEdge), result.primary(edge), single.primary(edge)))) return kNan;
  EvalResult rest = result;
  rest.metrics.erase(edge);
  return delta_m(rest, single, nullptr);
}

double delta_m_by_metric(const EvalResult& result, const EvalResult& single) {
  double sum = 0;
  int tasks = 0;
  for (const TaskSpec& spec : kTasks) {
    const auto mine = result.metrics.find(std::string(spec.name));
    const auto theirs = single.metrics.find(std::string(spec.name));
    if (mine == result.metrics.end() || theirs == single.metrics.end()) continue;
    double task_sum = 0;
    int metrics = 0;
    for (const MetricValue& m : mine->second) {
      for (const MetricValue& s : theirs->second) {
        if (s.name != m.name) continue;
        const double change = (m.value - s.value) / s.value;
        if (!std::isfinite(change)) continue;
        task_sum += metric_direction(m.name) == Better::kHigher ? change : -change;
        ++metrics;
      }
    }
    if (metrics == 0) continue;
    sum += task_sum / metrics;
    ++tasks;
  }
  return tasks == 0 ? kNan : 100 * sum / tasks;
}

nlohmann::json to_json(const EvalResult& result) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [task, values] : result.metrics) {
    json[task] = nlohmann::json::object();
    for (const MetricValue& m : values) json[task][m.name] = number(m.value);
  }
  return json;
}

nlohmann::json per_class_to_json(const EvalResult& result) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [task, values] : result.per_class) {
    json[task] = nlohmann::json::array();
    for (const double v : values) json[task].push_back(number(v));
  }
  return json;
}

EvalResult eval_result_from_json(const nlohmann::json& json, const std::string& where) {
  want_object(json, where, "the document");
  EvalResult result;
  const bool whole = json.contains("metrics");
  const nlohmann::json& metrics = whole ? json["metrics"] : json;
  want_object(metrics, where, "metrics");
  for (const auto& [task, values] : metrics.items()) {
    const auto id = find_task(task);
    if (!id) throw Error({.where = where, .field = "metrics", .wanted = task_names(), .found = task});
    const std::string field = "metrics." + task;
    want_object(values, where, field);
    std::vector<MetricValue>& list = result.metrics[task];
    for (const auto& [name, value] : values.items()) {
      list.push_back({name, read_number(value, where, std::string(field).append(".").append(name))});
    }
    std::stable_partition(list.begin(), list.end(),
                          [&](const MetricValue& m) { return m.name == task_spec(*id).primary_metric; });
  }
  if (!whole) return result;
  if (const auto frames = json.find("frames"); frames != json.end()) {
    if (!frames->is_number_integer()) {
      throw Error({.where = where, .field = "frames", .wanted = "a whole number", .found = frames->type_name()});
    }
    result.frames = frames->get<std::int64_t>();
  }
  if (const auto classes = json.find("per_class"); classes != json.end()) {
    want_object(*classes, where, "per_class");
    for (const auto& [task, values] : classes->items()) {
      if (!values.is_array()) {
        throw Error({.where = where, .field = "per_class." + task, .wanted = "a list", .found = values.type_name()});
      }
      for (const auto& v : values) result.per_class[task].push_back(read_number(v, where, "per_class." + task));
    }
  }
  return result;
}

std::string format_table(const EvalResult& result) {
  // fmt pads by code points' estimated width, so the arrows do not disturb the columns.
  std::string out;
  for (const TaskSpec& spec : kTasks) {
    const auto found = result.metrics.find(std::string(spec.name));
    if (found == result.metrics.end()) continue;
    bool first = true;
    for (const MetricValue& m : found->second) {
      const char* arrow = metric_direction(m.name) == Better::kHigher ? "↑" : "↓";
      const std::string value = std::isfinite(m.value) ? fmt::format("{:.4f}", m.value) : "–";
      out += fmt::format("{:<12}{:<14}{} {:>10}\n", first ? spec.name : "", m.name, arrow, value);
      first = false;
    }
  }
  out += fmt::format("{:<26}  {:>10}\n", "frames", result.frames);
  return out;
}

}  // namespace m3vit
