#include "train/run_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/enum_names.h"
#include "core/error.h"
#include "core/model_cost.h"
#include "train/threads.h"

namespace m3vit {
namespace {

std::string describe(const ModelConfig& m) {
  if (m.resnet) {
    return fmt::format("resnet{} {}x{}, width {}, {}", m.resnet->depth, m.height(), m.width(), m.resnet->width,
                       name_of(m.resnet->sharing));
  }
  std::string text = fmt::format("{} {}x{}, patch_size {}, embed_dim {}, depth {}", m.moe ? "m3vit" : "vit", m.height(),
                                 m.width(), m.patch_size, m.embed_dim, m.depth);
  if (m.moe) text += fmt::format(", {} experts, top_k {}", m.moe->num_experts, m.moe->top_k);
  return text;
}

}  // namespace

torch::Device choose_device(const std::string& wanted) {
  const bool cuda = torch::cuda::is_available();
  if (wanted == "cuda" && !cuda) {
    throw Error{{.where = "configuration",
                 .field = "train.device",
                 .wanted = "a device that is here (cpu)",
                 .found = "cuda",
                 .hint = "this libtorch sees no CUDA device"}};
  }
  return wanted == "cuda" || (wanted == "auto" && cuda) ? torch::Device(torch::kCUDA) : torch::Device(torch::kCPU);
}

Rank training_rank(const Config& config) {
  Rank rank = launched_rank();
  if (rank.size == 1) return rank;
  if (config.train.accumulate % rank.size != 0) {
    throw Error{
        {.where = "configuration",
         .field = "train.accumulate",
         .wanted = fmt::format("a multiple of the {} processes, which share out a step's micro-batches", rank.size),
         .found = std::to_string(config.train.accumulate)}};
  }
  if (config.train.weighting.method != Weighting::kFixed) {
    throw Error{{.where = "configuration",
                 .field = "train.weighting.method",
                 .wanted = "fixed, with several processes",
                 .found = "another"}};
  }
  return rank;
}

int training_threads(const Config& config) {
  const Rank rank = launched_rank();
  if (config.train.threads > 0 || rank.size == 1) return config.train.threads;
  return std::max(1, usable_cores() / rank.local_size);
}

RunInfo run_info(const Config& config) {
  RunInfo info;
  info.network = describe(config.model);
  const ModelCost cost = model_cost(config);
  info.params = cost.params;
  for (const TaskCost& t : cost.tasks) info.macs_per_task += t.total / static_cast<std::int64_t>(cost.tasks.size());
  return info;
}

double score(const EvalResult& result, const Config& config) {
  double sum = 0;
  int count = 0;
  for (const TaskConfig& task : config.tasks) {
    if (!result.metrics.contains(task.name)) continue;
    const double value = result.primary(task.name);
    if (std::isnan(value)) continue;
    const double log_value = std::log(std::max(value, 1e-3));  // an mIoU of 0 must not be −∞
    sum += task_spec(task.id()).better == Better::kHigher ? log_value : -log_value;
    ++count;
  }
  return count > 0 ? sum / count : 0.0;
}

}  // namespace m3vit
