/// The ranges and consistency of a configuration. Upper bounds are generous; they exist so that a hostile file cannot
/// overflow the size arithmetic of any later step.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config.h"
#include "core/error.h"
#include "core/json_text.h"

namespace m3vit {
namespace {

class Checker {
 public:
  explicit Checker(const SourceMap& source) : source_(source) {}

  /// `field` is dotted: "model.moe.top_k", "tasks.0.name".
  [[noreturn]] void fail(const std::string& field, std::string wanted, std::string found, std::string hint = "") const {
    std::string pointer = "/" + field;
    for (char& c : pointer) {
      if (c == '.') c = '/';
    }
    throw Error{{.where = source_.at(pointer),
                 .field = field,
                 .wanted = std::move(wanted),
                 .found = std::move(found),
                 .hint = std::move(hint)}};
  }
  void range(const std::string& field, std::int64_t value, std::int64_t low, std::int64_t high) const {
    if (value < low || value > high) {
      fail(field, std::to_string(low) + " … " + std::to_string(high), std::to_string(value));
    }
  }
  void range(const std::string& field, double value, double low, double high) const {
    if (!(value >= low && value <= high)) fail(field, number(low) + " … " + number(high), number(value));
  }
  void probability(const std::string& field, double value) const { range(field, value, 0.0, 1.0); }

 private:
  static std::string number(double value) { return shown(nlohmann::json(value)); }
  const SourceMap& source_;
};

void check_moe(const Checker& check, const ModelConfig& model, std::size_t tasks) {
  const MoeConfig& moe = *model.moe;
  check.range("model.moe.every", std::int64_t{moe.every}, 1, 1024);
  check.range("model.moe.num_experts", std::int64_t{moe.num_experts}, 1, 65536);
  check.range("model.moe.expert_hidden", std::int64_t{moe.expert_hidden}, 0, 65536);
  check.range("model.moe.gate_task_dim", std::int64_t{moe.gate_task_dim}, 1, 16384);
  check.range("model.moe.noise_std", moe.noise_std, 0.0, 1e6);
  check.range("model.moe.balance_weight", moe.balance_weight, 0.0, 1e6);
  check.probability("model.moe.prune_below", moe.prune_below);
  check.range("model.moe.experts_per_task", std::int64_t{moe.experts_per_task}, 0, moe.num_experts);
  if (model.depth < moe.every) {
    check.fail("model.moe.every", "at most depth (" + std::to_string(model.depth) + "), or no block has experts",
               std::to_string(moe.every));
  }
  if (moe.experts_per_task > 0) {
    if (moe.gate != Gate::kMulti) {
      check.fail("model.moe.experts_per_task", "0 unless gate is multi: a window belongs to a task's own router",
                 std::to_string(moe.experts_per_task));
    }
    if (static_cast<std::int64_t>(moe.experts_per_task) * static_cast<std::int64_t>(tasks) > moe.num_experts) {
      check.fail("model.moe.experts_per_task",
                 "at most num_experts / tasks (" + std::to_string(moe.num_experts) + " / " + std::to_string(tasks) +
                     "), so that each task has its window",
                 std::to_string(moe.experts_per_task));
    }
  }
  const int seen = moe.experts_per_task > 0 ? moe.experts_per_task : moe.num_experts;
  if (moe.top_k < 1 || moe.top_k > seen) {
    check.fail("model.moe.top_k",
               std::string("1 … ") + (moe.experts_per_task > 0 ? "experts_per_task" : "num_experts") + " (" +
                   std::to_string(seen) + ")",
               std::to_string(moe.top_k));
  }
}

/// Each bound of a single key is wide; this keeps their product inside 64-bit counts of parameters, bytes and MACs.
void check_volume(const Checker& check, const ModelConfig& model) {
  const double tokens = static_cast<double>(model.grid_h()) * model.grid_w() + 1;
  const double dim = model.embed_dim;
  double block_params = 4 * dim * dim + 2 * dim * model.mlp_hidden();
  double block_macs = tokens * (block_params + 2 * tokens * dim);
  if (model.moe) {
    const double expert = 2 * dim * model.expert_hidden() + model.expert_hidden() + dim;
    block_params += model.moe->num_experts * (expert + dim * static_cast<double>(kNumTaskIds));
    block_macs += tokens * (model.moe->top_k * expert + (dim + model.moe->gate_task_dim) * model.moe->num_experts);
  }
  const double convolution = 9.0 * model.head.channels * std::max(model.embed_dim, model.head.channels);
  const double last_pixels = tokens * std::exp2(2.0 * (model.head.stages - 1));
  const double params = model.depth * block_params + tokens * dim + 3 * dim * model.patch_size * model.patch_size +
                        static_cast<double>(kNumTaskIds) * model.head.stages * convolution;
  const double macs = model.depth * block_macs + 2 * last_pixels * (convolution + 255.0 * model.head.channels);
  const auto limit = [&](const char* what, double found, double most) {
    if (found > most) {
      check.fail("model", "at most " + shown(nlohmann::json(most)) + " " + what,
                 "about " + shown(nlohmann::json(found)));
    }
  };
  limit("parameters", params, 0x1p42);
  limit("MACs a frame", macs, 0x1p60);
}

void check_resnet(const Checker& check, const ModelConfig& model) {
  const ResnetConfig& resnet = *model.resnet;
  if (resnet.depth != 18 && resnet.depth != 50) {
    check.fail("model.resnet.depth", "18 or 50", std::to_string(resnet.depth));
  }
  check.range("model.resnet.width", std::int64_t{resnet.width}, 4, 1024);
  if (model.moe) check.fail("model.moe", "null, as model.resnet has no experts", "a mixture of experts");
  if (model.tam) check.fail("model.tam", "false, as model.resnet has no task-affinity modules", "true");
  if (model.patch_size != 8) {
    check.fail("model.patch_size", "8, the output stride of model.resnet", std::to_string(model.patch_size));
  }
}

void check_model(const Checker& check, const Config& config) {
  const ModelConfig& model = config.model;
  if (!model.preset.empty()) {
    const std::vector<std::string> names = preset_names();
    if (std::find(names.begin(), names.end(), model.preset) == names.end()) {
      std::string all;
      for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
      check.fail("model.preset", "one of " + all, shown(nlohmann::json(model.preset)));
    }
  }
  check.range("model.patch_size", std::int64_t{model.patch_size}, 1, 1024);
  if (model.image_size.size() != 2) {
    check.fail("model.image_size", "[height, width]", std::to_string(model.image_size.size()) + " numbers");
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string field = "model.image_size." + std::to_string(i);
    check.range(field, std::int64_t{model.image_size[i]}, 1, 16384);
    if (model.image_size[i] % model.patch_size != 0) {
      check.fail(field, "a multiple of patch_size (" + std::to_string(model.patch_size) + ")",
                 std::to_string(model.image_size[i]));
    }
  }
  check.range("model.embed_dim", std::int64_t{model.embed_dim}, 1, 16384);
  check.range("model.depth", std::int64_t{model.depth}, 1, 1024);
  check.range("model.num_heads", std::int64_t{model.num_heads}, 1, 1024);
  if (model.embed_dim % model.num_heads != 0) {
    check.fail("model.embed_dim", "a multiple of num_heads (" + std::to_string(model.num_heads) + ")",
               std::to_string(model.embed_dim));
  }
  check.range("model.mlp_ratio", model.mlp_ratio, 0.0, 64.0);
  if (model.mlp_hidden() < 1) {
    check.fail("model.mlp_ratio", "a ratio with mlp_ratio × embed_dim ≥ 1", shown(nlohmann::json(model.mlp_ratio)));
  }
  if (!(model.drop_path >= 0.0 && model.drop_path < 1.0)) {
    check.fail("model.drop_path", "a probability below 1", shown(nlohmann::json(model.drop_path)));
  }
  check.range("model.head.channels", std::int64_t{model.head.channels}, 1, 8192);
  check.range("model.head.stages", std::int64_t{model.head.stages}, 1, 8);
  if (model.moe) check_moe(check, model, config.tasks.size());
  if (model.resnet) check_resnet(check, model);
  check_volume(check, model);
}

void check_tasks(const Checker& check, const Config& config) {
  if (config.tasks.empty()) check.fail("tasks", "at least one task of " + task_names(), "none");
  std::set<std::string> seen;
  std::vector<std::string> valid;
  valid.reserve(kTasks.size());
  for (const TaskSpec& t : kTasks) valid.emplace_back(t.name);
  for (std::size_t i = 0; i < config.tasks.size(); ++i) {
    const TaskConfig& task = config.tasks[i];
    const std::string field = "tasks." + std::to_string(i);
    const std::optional<TaskId> id = find_task(task.name);
    if (!id) {
      const std::string nearest = nearest_name(task.name, valid);
      check.fail(field + ".name", "one of " + task_names(), shown(nlohmann::json(task.name)),
                 nearest.empty() ? "" : "did you mean '" + nearest + "'?");
    }
    if (!seen.insert(task.name).second) check.fail(field + ".name", "each task once", "'" + task.name + "' twice");
    check.range(field + ".outputs", std::int64_t{task.outputs}, 0, 255);
    const TaskSpec& spec = task_spec(*id);
    if (spec.label != LabelKind::kClassIndex && task.outputs != 0 && task.outputs != spec.default_outputs) {
      check.fail(field + ".outputs", std::to_string(spec.default_outputs) + " for " + task.name,
                 std::to_string(task.outputs));
    }
    check.range(field + ".loss_weight", task.loss_weight, 0.0, 1e6);
  }
}

void check_data(const Checker& check, const DataConfig& data) {
  if (std::find(kDatasetNames.begin(), kDatasetNames.end(), data.dataset) == kDatasetNames.end()) {
    const std::vector<std::string> names(kDatasetNames.begin(), kDatasetNames.end());
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    const std::string nearest = nearest_name(data.dataset, names);
    check.fail("data.dataset", "one of " + all, shown(nlohmann::json(data.dataset)),
               nearest.empty() ? "" : "did you mean '" + nearest + "'?");
  }
  if (data.dataset != "rooms" && data.root.empty()) {
    check.fail("data.root", "its directory, as data.dataset is " + data.dataset, "none");
  }
  const auto split = [&](const std::string& field, const SplitConfig& s) {
    check.range(field + ".frames", s.frames, 0, 1'000'000'000);
    check.range(field + ".seed", s.seed, -1, std::int64_t{1} << 53);
  };
  split("data.train", data.train);
  split("data.test", data.test);
  check.probability("data.augment.flip", data.augment.flip);
  check.range("data.augment.rotate", data.augment.rotate, 0.0, 180.0);
  if (data.augment.scale.size() != 2 || data.augment.scale[0] > data.augment.scale[1]) {
    check.fail("data.augment.scale", "[low, high] with low ≤ high", shown(nlohmann::json(data.augment.scale)));
  }
  for (std::size_t i = 0; i < 2; ++i) {
    check.range("data.augment.scale." + std::to_string(i), data.augment.scale[i], 0.01, 100.0);
  }
  for (std::size_t i = 0; i < data.augment.scales.size(); ++i) {
    check.range("data.augment.scales." + std::to_string(i), data.augment.scales[i], 0.01, 100.0);
  }
  check.probability("data.augment.brightness", data.augment.brightness);
  check.range("data.workers", std::int64_t{data.workers}, 1, 256);
  check.range("data.prefetch", std::int64_t{data.prefetch}, 1, 4096);
}

/// A key that the protocol's own transforms would not look at must not stand there as if it counted.
void check_protocol(const Checker& check, const Config& config) {
  if (config.protocol == Protocol::kSurvey) return;
  const AugmentConfig& augment = config.data.augment;
  const std::string name = config.protocol == Protocol::kAtrc ? "A" : "MTAN";
  const auto unused = [&](const char* key, bool used, const char* wanted) {
    if (used)
      check.fail(std::string("data.augment.") + key, std::string(wanted) + " under protocol " + name, "a value");
  };
  unused("rotate", augment.rotate != 0, "0");
  unused("brightness", augment.brightness != 0, "0");
  if (config.protocol == Protocol::kAtrc) {
    unused("scales", !augment.scales.empty(), "[] (scale is a range)");
  } else {
    unused("scale", augment.scale != std::vector<double>{1.0, 1.0}, "[1, 1] (scales is a list)");
    for (std::size_t i = 0; i < augment.scales.size(); ++i) {
      check.range("data.augment.scales." + std::to_string(i), augment.scales[i], 1.0, 100.0);
    }
  }
}

void check_train(const Checker& check, const Config& config) {
  const TrainConfig& train = config.train;
  check.range("train.seed", train.seed, 0, std::int64_t{1} << 53);
  check.range("train.epochs", std::int64_t{train.epochs}, 0, 1'000'000);
  check.range("train.batch_size", std::int64_t{train.batch_size}, 1, 65536);
  check.range("train.accumulate", std::int64_t{train.accumulate}, 1, 65536);
  check.range("train.lr", train.lr, 0.0, 1e3);
  const auto below_one = [&](const std::string& field, double value) {
    if (!(value >= 0.0 && value < 1.0)) check.fail(field, "0 or more, below 1", shown(nlohmann::json(value)));
  };
  below_one("train.momentum", train.momentum);
  below_one("train.beta2", train.beta2);
  below_one("train.ema", train.ema);
  check.range("train.weight_decay", train.weight_decay, 0.0, 1e3);
  check.range("train.poly_power", train.poly_power, 0.0, 100.0);
  check.range("train.warmup_epochs", train.warmup_epochs, 0.0, 1e6);
  check.range("train.min_lr", train.min_lr, 0.0, 1e3);
  check.range("train.clip_norm", train.clip_norm, 0.0, 1e9);
  if (train.device != "auto" && train.device != "cpu" && train.device != "cuda") {
    check.fail("train.device", "one of auto, cpu, cuda", shown(nlohmann::json(train.device)));
  }
  check.range("train.threads", std::int64_t{train.threads}, 0, 4096);
  check.probability("train.edge_weight", train.edge_weight);
  check.range("train.eval_every", std::int64_t{train.eval_every}, 0, 1'000'000);
  check.range("train.save_every", std::int64_t{train.save_every}, 0, 1'000'000'000);
  const WeightingConfig& weighting = train.weighting;
  if (weighting.method != Weighting::kFixed && train.mode == TaskMode::kOneByOne) {
    check.fail("train.mode", "joint, as every weighting.method but fixed looks at all tasks of a step", "one_by_one");
  }
  check.range("train.weighting.lr", weighting.lr, 0.0, 1e3);
  check.range("train.weighting.temperature", weighting.temperature, 1e-3, 1e3);
  check.range("train.weighting.alpha", weighting.alpha, 0.0, 100.0);
  check.range("train.weighting.c", weighting.c, 0.0, 100.0);
  check.range("train.weighting.decay", weighting.decay, 0.0, 1e3);
  check.range("train.conflict_every", std::int64_t{train.conflict_every}, 0, 1'000'000'000);
  if (config.model.tam && train.mode == TaskMode::kOneByOne) {
    check.fail("train.mode", "joint, as model.tam mixes the features of all tasks", "one_by_one");
  }
}

void check_eval(const Checker& check, const EvalConfig& eval) {
  check.range("eval.edge_max_dist", eval.edge_max_dist, 0.0, 1.0);
  check.range("eval.edge_thresholds", std::int64_t{eval.edge_thresholds}, 1, 10'000);
  const EvalConfig plain;
  const bool set = eval.edge_max_dist != plain.edge_max_dist || eval.edge_thresholds != plain.edge_thresholds ||
                   eval.edge_nms != plain.edge_nms;
  if (eval.edge_setting != EdgeSetting::kCustom && set) {
    check.fail("eval.edge_setting", "custom beside edge_max_dist, edge_thresholds or edge_nms", "another");
  }
}

}  // namespace

void validate(const Config& config, const SourceMap& source) {
  const Checker check(source);
  check_tasks(check, config);
  check_model(check, config);
  check_data(check, config.data);
  check_protocol(check, config);
  check_train(check, config);
  check_eval(check, config.eval);
}

}  // namespace m3vit
