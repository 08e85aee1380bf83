#include "train/routing_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace m3vit {
namespace {

std::vector<double> values(const torch::Tensor& t) {
  const torch::Tensor c = t.to(torch::kCPU, torch::kDouble).contiguous();
  return {c.data_ptr<double>(), c.data_ptr<double>() + c.numel()};
}

std::vector<double> shares(const torch::Tensor& load) {
  std::vector<double> result = values(load);
  double total = 0;
  for (const double v : result) total += v;
  for (double& v : result) v = total > 0 ? v / total : 0;
  return result;
}

void accumulate(torch::Tensor& into, const torch::Tensor& value) {
  const torch::Tensor wide = value.detach().to(torch::kDouble);
  into = into.defined() ? into + wide : wide.clone();
}

}  // namespace

RoutingReport::RoutingReport(const Config& config) {
  for (const TaskConfig& t : config.tasks) tasks_.push_back(t.name);
}

void RoutingReport::add(std::size_t task, const std::vector<RoutingStats>& layers) {
  const torch::NoGradGuard no_grad;
  for (const RoutingStats& layer : layers) {
    std::vector<Sum>& row = sums_[layer.block];
    row.resize(tasks_.size());
    Sum& sum = row.at(task);
    accumulate(sum.load, layer.load);
    accumulate(sum.importance, layer.importance);
    accumulate(sum.entropy, layer.entropy);
    ++sum.steps;
  }
}

void RoutingReport::add_ranks(const RoutingReport& own, World& world) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> sums;
  for (const auto& [block, row] : own.sums_) {
    for (const Sum& s : row) {
      for (const torch::Tensor& t : {s.load, s.importance, s.entropy}) {
        if (t.defined()) sums.push_back(t.clone());
      }
    }
  }
  world.sum(sums);
  std::size_t i = 0;
  for (const auto& [block, row] : own.sums_) {
    std::vector<Sum>& into = sums_[block];
    into.resize(tasks_.size());
    for (std::size_t t = 0; t < row.size(); ++t) {
      if (row[t].steps == 0) continue;
      for (torch::Tensor* tensor : {&into[t].load, &into[t].importance, &into[t].entropy})
        accumulate(*tensor, sums[i++]);
      into[t].steps += row[t].steps * world.size();
    }
  }
}

nlohmann::json RoutingReport::summary() const {
  nlohmann::json blocks = nlohmann::json::array();
  for (const auto& [block, row] : sums_) {
    nlohmann::json entry{{"block", block}, {"tasks", nlohmann::json::object()}, {"overlap", nlohmann::json::object()}};
    std::vector<std::vector<double>> loads(row.size());
    for (std::size_t t = 0; t < row.size(); ++t) {
      if (row[t].steps == 0) continue;
      loads[t] = shares(row[t].load);
      const double max = *std::max_element(loads[t].begin(), loads[t].end());
      entry["tasks"][tasks_[t]] = {{"load", loads[t]},
                                   {"entropy", row[t].entropy.item<double>() / static_cast<double>(row[t].steps)},
                                   {"max_over_mean", max * static_cast<double>(loads[t].size())},
                                   {"unused", std::count(loads[t].begin(), loads[t].end(), 0.0)}};
    }
    for (std::size_t a = 0; a < row.size(); ++a) {
      for (std::size_t b = a + 1; b < row.size(); ++b) {
        if (loads[a].empty() || loads[b].empty()) continue;
        double overlap = 0;
        for (std::size_t e = 0; e < loads[a].size(); ++e) overlap += std::min(loads[a][e], loads[b][e]);
        entry["overlap"][tasks_[a] + "," + tasks_[b]] = overlap;
      }
    }
    blocks.push_back(std::move(entry));
  }
  return blocks;
}

nlohmann::json RoutingReport::state() const {
  nlohmann::json result = nlohmann::json::array();
  for (const auto& [block, row] : sums_) {
    for (std::size_t t = 0; t < row.size(); ++t) {
      if (row[t].steps == 0) continue;
      result.push_back({{"block", block},
                        {"task", t},
                        {"steps", row[t].steps},
                        {"load", values(row[t].load)},
                        {"importance", values(row[t].importance)},
                        {"entropy", row[t].entropy.item<double>()}});
    }
  }
  return result;
}

void RoutingReport::load(const nlohmann::json& state) {
  sums_.clear();
  for (const nlohmann::json& s : state) {
    std::vector<Sum>& row = sums_[s.at("block").get<int>()];
    row.resize(tasks_.size());
    Sum& sum = row.at(s.at("task").get<std::size_t>());
    sum.steps = s.at("steps").get<std::int64_t>();
    sum.load = torch::tensor(s.at("load").get<std::vector<double>>(), torch::kDouble);
    sum.importance = torch::tensor(s.at("importance").get<std::vector<double>>(), torch::kDouble);
    sum.entropy = torch::tensor(s.at("entropy").get<double>(), torch::kDouble);
  }
}

}  // namespace m3vit
