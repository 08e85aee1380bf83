#include "train/step_means.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace m3vit {

using nlohmann::json;

double StepMeans::mean(double sum) const {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

json to_json(const StepMeans& m) {
  return {{"tasks", m.tasks},     {"weights", m.weights},     {"loss", m.loss},
          {"balance", m.balance}, {"grad_norm", m.grad_norm}, {"count", m.count}};
}

StepMeans step_means_from_json(const json& j) {
  return {j.at("tasks").get<std::vector<double>>(),
          j.value("weights", std::vector<double>()),
          j.at("loss").get<double>(),
          j.at("balance").get<double>(),
          j.at("grad_norm").get<double>(),
          j.at("count").get<std::int64_t>()};
}

int StepSum::first_bad_task() const {
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    if (!std::isfinite(tasks[t])) return static_cast<int>(t);
  }
  return -1;
}

void StepSum::add_to(StepMeans& means, double grad_norm) const {
  means.tasks.resize(tasks.size());
  means.weights.resize(weights.size());
  for (std::size_t t = 0; t < tasks.size(); ++t) means.tasks[t] += tasks[t];
  for (std::size_t t = 0; t < weights.size(); ++t) means.weights[t] += weights[t];
  means.loss += loss;
  means.balance += balance;
  means.grad_norm += grad_norm;
  ++means.count;
}

StepSum sum_step(const std::vector<StepLosses>& parts, double share, World& world, bool& flag) {
  const std::size_t tasks = parts.front().tasks.size();
  // One message: losses and weights by task, total, balance, flag.
  std::vector<double> v(2 * tasks + 3, 0.0);
  for (const StepLosses& p : parts) {
    for (std::size_t t = 0; t < tasks; ++t) {
      v[t] += share * (std::isfinite(p.balance[t]) ? p.tasks[t] : p.balance[t]);
      v[tasks + t] += share * p.weights[t];
      v[2 * tasks + 1] += share * p.balance[t];
    }
    v[2 * tasks] += share * p.total;
  }
  v.back() = flag ? 1 : 0;
  world.sum(v);
  flag = v.back() > 0;
  const auto at = [&](std::size_t i) { return v.begin() + static_cast<std::ptrdiff_t>(i); };
  return {{v.begin(), at(tasks)}, {at(tasks), at(2 * tasks)}, v[2 * tasks], v[2 * tasks + 1]};
}

}  // namespace m3vit
