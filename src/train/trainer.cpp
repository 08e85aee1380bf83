#include "train/trainer.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/atomic_file.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "core/model_cost.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "eval/prediction_sheet.h"
#include "model/weights.h"
#include "train/checkpoint.h"
#include "train/conflict_log.h"
#include "train/optimizer.h"
#include "train/predictor.h"
#include "train/routing_report.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/step.h"
#include "train/threads.h"
#include "train/weighting/weighting.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Every file a run writes: what --overwrite may delete.
constexpr const char* kRunFiles[] = {"config.yaml",      "log.jsonl",    "epochs.csv",       "curves.svg",
                                     "metrics.svg",      "routing.json", "metrics.json",     "contact.png",
                                     "last.safetensors", "last.optim",   "best.safetensors", "conflict.json",
                                     "conflict.svg"};

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

void prepare_folder(const TrainOptions& options) {
  std::error_code error;
  fs::create_directories(options.run, error);
  if (error) {
    throw Error{{.where = options.run.string(), .wanted = "a folder that can be made", .found = error.message()}};
  }
  if (options.overwrite) {
    for (const char* name : kRunFiles) fs::remove(options.run / name);
  } else if (!options.resume) {
    for (const char* name : {"last.optim", "last.safetensors", "log.jsonl"}) {
      if (fs::exists(options.run / name)) {
        throw Error{{.where = options.run.string(),
                     .wanted = "an unused run folder",
                     .found = "a run's " + std::string(name),
                     .hint = "go on with --resume, start again with --overwrite, or choose another --out"}};
      }
    }
  }
}

std::vector<std::string> task_names(const Config& config) {
  std::vector<std::string> names;
  for (const TaskConfig& t : config.tasks) names.push_back(t.name);
  return names;
}

std::string describe(const ModelConfig& m) {
  if (m.resnet) {
    constexpr const char* kSharing[] = {"shared", "cross_stitch", "nddr_cnn", "mtan"};
    return fmt::format("resnet{} {}x{}, width {}, {}", m.resnet->depth, m.height(), m.width(), m.resnet->width,
                       kSharing[static_cast<int>(m.resnet->sharing)]);
  }
  std::string text = fmt::format("{} {}x{}, patch_size {}, embed_dim {}, depth {}", m.moe ? "m3vit" : "vit", m.height(),
                                 m.width(), m.patch_size, m.embed_dim, m.depth);
  if (m.moe) text += fmt::format(", {} experts, top_k {}", m.moe->num_experts, m.moe->top_k);
  return text;
}

/// Sums of the running epoch or log window.
struct Means {
  std::vector<double> tasks, weights;
  double loss = 0, balance = 0, grad_norm = 0;
  std::int64_t count = 0;

  void add(const StepLosses& losses, double share) {
    tasks.resize(losses.tasks.size());
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      tasks[t] += share * losses.tasks[t];
      balance += share * losses.balance[t];
    }
    loss += share * losses.total;
    weights.resize(losses.weights.size());
    for (std::size_t t = 0; t < weights.size(); ++t) weights[t] += share * losses.weights[t];
  }
  double mean(double sum) const { return count > 0 ? sum / static_cast<double>(count) : kNan; }
};

json to_json(const Means& m) {
  return {{"tasks", m.tasks},     {"weights", m.weights},     {"loss", m.loss},
          {"balance", m.balance}, {"grad_norm", m.grad_norm}, {"count", m.count}};
}
Means means_from_json(const json& j) {
  return {j.at("tasks").get<std::vector<double>>(),
          j.value("weights", std::vector<double>()),
          j.at("loss").get<double>(),
          j.at("balance").get<double>(),
          j.at("grad_norm").get<double>(),
          j.at("count").get<std::int64_t>()};
}

/// Dynamic loss scale for float16 gradients: halved when they overflow, doubled after 2000 clean steps (as
/// torch.cuda.amp.GradScaler). 1 and fixed without AMP.
struct LossScale {
  bool on = false;
  double value = 1;
  std::int64_t clean = 0;

  void good() {
    if (on && ++clean % 2000 == 0) value *= 2;
  }
  void overflow() {
    value = std::max(1.0, value / 2);
    clean = 0;
  }
};

class Trainer {
 public:
  Trainer(Config config, const TrainOptions& options, TrainObserver& observer)
      : config_(std::move(config)),
        options_(options),
        observer_(observer),
        device_(choose_device(config_.train.device)) {
    prepare_folder(options_);
    threads_ = set_threads(config_.train.threads);
    train_set_ = make_dataset(config_, Split::kTrain);
    test_set_ = make_dataset(config_, Split::kTest);
    resolve_outputs(config_, train_set_->info(), "configuration");
    const std::int64_t batches = train_set_->size() / config_.train.batch_size;
    steps_per_epoch_ = batches / config_.train.accumulate;
    if (steps_per_epoch_ == 0) {
      throw Error{{.where = "configuration",
                   .field = "train.batch_size",
                   .wanted = fmt::format("batch_size × accumulate at most the {} training frames", train_set_->size()),
                   .found = fmt::format("{} × {}", config_.train.batch_size, config_.train.accumulate)}};
    }
    torch::manual_seed(static_cast<std::uint64_t>(config_.train.seed));
    network_ = make_network(config_);
    if (!config_.train.init.empty()) start_from_file();
    network_->to(device_);
    if (config_.train.ema > 0) ema_.emplace(*network_, config_.train.ema);
    optimizer_ = make_optimizer(*network_, config_.train);
    scale_.on = config_.train.amp && device_.is_cuda();
    if (scale_.on) scale_.value = 65536;
    if (config_.train.amp && !device_.is_cuda()) warnings_.push_back("train.amp works on CUDA only: off");
    routing_.emplace(config_);
    weighting_ = make_weighting(config_.train.weighting, static_cast<int>(config_.tasks.size()),
                                static_cast<std::uint64_t>(config_.train.seed));
    if (options_.resume) resume();
    write_text_file(options_.run / "config.yaml", to_yaml(config_));
    log_.emplace(options_.run, config_, step_);
  }

  TrainOutcome run() {
    report_start();
    if (last_is_stale()) save_last();
    TrainOutcome outcome;
    const std::int64_t stop_at = options_.max_steps > 0 ? step_ + options_.max_steps : total_steps();
    if (pending_evaluation_ && !finish_epoch(step_ / steps_per_epoch_ - 1)) return stop(TrainEnd::kInterrupted);
    while (step_ < total_steps()) {
      const std::int64_t epoch = step_ / steps_per_epoch_;
      if (const std::optional<TrainEnd> end = run_epoch(epoch, stop_at)) return stop(*end);
      if (!finish_epoch(epoch)) return stop(TrainEnd::kInterrupted);
      if (step_ >= stop_at && step_ < total_steps()) return stop(TrainEnd::kMaxSteps);
    }
    {
      const EmaScope average(ema(), *network_);
      write_prediction_sheet(options_.run / "contact.png", *test_set_, config_,
                             make_predictor(*network_, config_, device_));
    }
    return stop(TrainEnd::kFinished);
  }

 private:
  std::int64_t total_steps() const { return steps_per_epoch_ * config_.train.epochs; }
  Ema* ema() { return ema_ ? &*ema_ : nullptr; }
  fs::path last() const { return options_.run / "last.safetensors"; }
  fs::path last_state() const { return options_.run / "last.optim"; }

  void start_from_file() {
    const StartReport report = start_from(*network_, config_, config_.train.init);
    if (report.fresh.empty()) return;
    std::set<std::string> parts;  // "decoders.semseg", "backbone.blocks.1.mlp.gate.0"
    for (const std::string& name : report.fresh) {
      parts.insert(name.substr(0, name.starts_with("decoders.") ? name.find('.', 9) : name.rfind('.')));
    }
    warnings_.push_back(fmt::format("train.init {}: {} tensors loaded; not in it, or of another shape, and so new: {}",
                                    config_.train.init, report.loaded, fmt::join(parts, ", ")));
  }

  void resume() {
    if (!fs::exists(last_state())) {
      if (fs::exists(last()) || fs::exists(options_.run / "best.safetensors")) {
        throw Error{{.where = last_state().string(),
                     .wanted = "the training state beside the weights",
                     .found = "no file",
                     .hint = "to start from the weights alone: --set train.init=" + last().string()}};
      }
      return;  // stopped before its first checkpoint: from the start is going on
    }
    const TrainState state = load_train_state(last_state());
    for (std::string& w : check_resumable(state.config, m3vit::to_json(config_), "--resume " + options_.run.string())) {
      warnings_.push_back(std::move(w));
    }
    restore(state, *network_, *optimizer_, ema());
    try {
      const json& p = state.progress;
      step_ = saved_step_ = p.at("step").get<std::int64_t>();
      best_ = p.at("best").is_null() ? kNan : p.at("best").get<double>();
      seconds_ = p.at("seconds").get<double>();
      pending_evaluation_ = p.at("pending_evaluation").get<bool>();
      scale_.value = p.at("scale").at(0).get<double>();
      scale_.clean = p.at("scale").at(1).get<std::int64_t>();
      epoch_ = means_from_json(p.at("epoch"));
      if (p.contains("window")) window_ = means_from_json(p.at("window"));
      routing_->load(p.at("routing"));
      if (p.contains("weighting")) weighting_->restore(p.at("weighting"), state.where);
    } catch (const json::exception& e) {
      throw Error{{.where = state.where, .field = "progress", .wanted = "a trainer's counters", .found = e.what()}};
    }
  }

  json progress() const {
    return {{"step", step_},
            {"best", std::isnan(best_) ? json() : json(best_)},
            {"seconds", seconds_},
            {"pending_evaluation", pending_evaluation_},
            {"scale", {scale_.value, scale_.clean}},
            {"epoch", to_json(epoch_)},
            {"window", to_json(window_)},
            {"routing", routing_->state()},
            {"weighting", weighting_->state()}};
  }

  bool last_is_stale() const {
    if (step_ == 0) return false;
    if (!fs::exists(last())) return true;
    const SafetensorsFile file = SafetensorsFile::open(last());
    const auto it = file.metadata().find("step");
    return it == file.metadata().end() || it->second != std::to_string(step_);
  }

  void save_weights(const fs::path& path) {
    const EmaScope average(ema(), *network_);
    std::map<std::string, std::string> extra{{"step", std::to_string(step_)}};
    if (const json* r = log_->last_evaluation()) {
      extra["metrics"] = (*r)["metrics"].dump();
      extra["metrics_step"] = (*r)["step"].dump();
    }
    save_model(path, *network_, config_, extra);
  }
  void save_last() { save_weights(last()); }

  /// State first: see train/checkpoint.h.
  void save() {
    for (const torch::Tensor& p : network_->parameters()) {
      if (!p.isfinite().all().item<bool>()) diverged("weight", -1);
    }
    save_train_state(last_state(), *network_, *optimizer_, ema(), config_, progress());
    save_last();
    saved_step_ = step_;
    observer_.saved(last(), step_);
  }

  TrainOutcome stop(TrainEnd end) {
    if (saved_step_ != step_ || pending_evaluation_) save();
    TrainOutcome outcome;
    outcome.end = end;
    outcome.step = step_;
    if (const json* r = log_->last_evaluation()) {
      outcome.result = eval_result_from_json((*r)["metrics"], (options_.run / "log.jsonl").string());
      outcome.result.frames = (*r).value("frames", std::int64_t{0});
    }
    return outcome;
  }

  void report_start() {
    RunInfo info;
    const ModelConfig& m = config_.model;
    info.network = describe(m);
    const ModelCost cost = model_cost(config_);
    info.params = cost.params;
    for (const TaskCost& t : cost.tasks) info.macs_per_task += t.total / static_cast<std::int64_t>(cost.tasks.size());
    info.device = device_.is_cuda() ? "cuda" : "cpu, " + describe_threads(threads_);
    info.train_frames = train_set_->size();
    info.test_frames = test_set_->size();
    info.steps_per_epoch = steps_per_epoch_;
    info.total_steps = total_steps();
    info.first_step = step_;
    info.warnings = warnings_;
    observer_.started(info);
  }

  LoaderOptions loader_options(std::int64_t epoch) const {
    LoaderOptions o;
    o.height = config_.model.height();
    o.width = config_.model.width();
    o.batch_size = config_.train.batch_size;
    o.seed = static_cast<std::uint64_t>(config_.train.seed);
    o.epoch = epoch;
    o.fresh = config_.data.fresh;
    o.skip_batches = (step_ - epoch * steps_per_epoch_) * config_.train.accumulate;
    o.workers = config_.data.workers;
    o.prefetch = config_.data.prefetch;
    o.augment = &config_.data.augment;
    o.protocol = config_.protocol;
    return o;
  }

  /// Steps of one epoch; a value when the run must stop inside it.
  std::optional<TrainEnd> run_epoch(std::int64_t epoch, std::int64_t stop_at) {
    Loader loader(*train_set_, loader_options(epoch));
    const std::int64_t end = (epoch + 1) * steps_per_epoch_;
    auto clock = std::chrono::steady_clock::now();
    while (step_ < end) {
      one_step(loader);
      const auto now = std::chrono::steady_clock::now();
      seconds_ += std::chrono::duration<double>(now - clock).count();
      clock = now;
      report_step(epoch);
      if (step_ == end) break;
      if (options_.interrupted()) return TrainEnd::kInterrupted;
      if (step_ >= stop_at) return TrainEnd::kMaxSteps;
      if (config_.train.save_every > 0 && step_ % config_.train.save_every == 0) save();
    }
    return std::nullopt;
  }

  void one_step(Loader& loader) {
    const double lr = learning_rate(config_.train, step_, steps_per_epoch_);
    set_learning_rate(*optimizer_, lr);
    optimizer_->zero_grad();
    network_->train();
    // Every step draws from its own stream, so that a resumed run needs no generator state.
    torch::manual_seed(Rng{static_cast<std::uint64_t>(config_.train.seed), static_cast<std::uint64_t>(step_)}.next());
    const double share = 1.0 / config_.train.accumulate;
    std::vector<StepLosses> parts;
    std::optional<Batch> batch;
    BatchTensors tensors;  // aliases `batch`
    for (int micro = 0; micro < config_.train.accumulate; ++micro) {
      batch = loader.next();
      tensors = to_tensors(*batch, device_);
      parts.push_back(forward_backward(*network_, config_, tensors,
                                       {.scale = share * scale_.value,
                                        .amp = scale_.on,
                                        .conflict = conflict_due() && micro == 0,
                                        .weighting = weighting_.get()}));
      if (const int bad = parts.back().first_bad_task(); bad >= 0) diverged("loss", bad);
      if (!std::isfinite(parts.back().total)) diverged("loss", -1);
    }
    double norm = gradient_norm(*network_) / scale_.value;
    if (std::isfinite(norm)) {
      const double clip = config_.train.clip_norm;
      const double factor = (clip > 0 && norm > clip ? clip / norm : 1.0) / scale_.value;
      if (factor != 1.0) scale_gradients(*network_, factor);
      optimizer_->step();
      if (weighting_->needs_losses_after())
        weighting_->stepped(weighted_losses(*network_, config_, tensors, scale_.on));
      if (ema_) ema_->update(*network_, step_);
      scale_.good();
    } else if (scale_.on && scale_.value > 1) {
      scale_.overflow();  // the step is skipped, as GradScaler does
      norm = 0;
    } else {
      diverged("gradient", -1);
    }
    ++step_;
    for (Means* m : {&window_, &epoch_}) {
      for (const StepLosses& p : parts) m->add(p, share);
      m->grad_norm += norm;
      ++m->count;
    }
    if (!parts.front().conflict.empty()) {
      json record{{"type", "conflict"}, {"step", step_}};
      record.update(conflict_record(parts.front().conflict, task_names(config_)));
      log_->append(record);
    }
    for (const StepLosses& p : parts) {
      for (std::size_t t = 0; t < p.routing.size(); ++t) routing_->add(t, p.routing[t]);
    }
  }

  bool conflict_due() const { return config_.train.conflict_every > 0 && step_ % config_.train.conflict_every == 0; }

  [[noreturn]] void diverged(const char* what, int task) const {
    std::string text = fmt::format("training diverged: the {} is NaN or infinite at step {}", what, step_ + 1);
    if (task >= 0) text += fmt::format(", task {}", config_.tasks[static_cast<std::size_t>(task)].name);
    text += fs::exists(last()) ? "; last good checkpoint: " + last().string() : "; no checkpoint was saved yet";
    throw TrainingDiverged(text + ". Try a lower train.lr, train.clip_norm=1 or a longer train.warmup_epochs.");
  }

  json losses(const Means& m) const { return by_task(m, m.tasks); }
  json by_task(const Means& m, const std::vector<double>& sums) const {
    json result = json::object();
    for (std::size_t t = 0; t < sums.size(); ++t) result[config_.tasks[t].name] = m.mean(sums[t]);
    return result;
  }

  void report_step(std::int64_t epoch) {
    StepInfo info;
    info.step = step_;
    info.step_in_epoch = step_ - epoch * steps_per_epoch_;
    info.steps_per_epoch = steps_per_epoch_;
    info.total_steps = total_steps();
    info.epoch = static_cast<int>(epoch);
    info.lr = learning_rate(config_.train, step_ - 1, steps_per_epoch_);
    info.loss = window_.mean(window_.loss);
    info.balance = window_.mean(window_.balance);
    info.grad_norm = window_.mean(window_.grad_norm);
    for (std::size_t t = 0; t < window_.tasks.size(); ++t) {
      info.losses.emplace_back(config_.tasks[t].name, window_.mean(window_.tasks[t]));
    }
    observer_.step(info);
    if (step_ % options_.log_every != 0 && info.step_in_epoch != steps_per_epoch_) return;
    log_->append({{"type", "step"},
                  {"step", step_},
                  {"epoch", epoch},
                  {"lr", info.lr},
                  {"loss", info.loss},
                  {"losses", losses(window_)},
                  {"weights", by_task(window_, window_.weights)},
                  {"balance", info.balance},
                  {"grad_norm", info.grad_norm},
                  {"seconds", seconds_}});
    window_ = Means{};
  }

  /// Evaluates when due, logs, saves. False when interrupted during the evaluation: the state then remembers that it is
  /// still owed.
  bool finish_epoch(std::int64_t epoch) {
    const bool final = step_ == total_steps();
    const int every = config_.train.eval_every;
    const bool due = final || (every > 0 && (epoch + 1) % every == 0);
    json record{{"type", "epoch"},
                {"epoch", epoch + 1},
                {"step", step_},
                {"seconds", seconds_},
                {"lr", learning_rate(config_.train, step_ - 1, steps_per_epoch_)},
                {"loss", epoch_.mean(epoch_.loss)},
                {"losses", losses(epoch_)},
                {"balance", epoch_.mean(epoch_.balance)}};
    if (!routing_->empty()) record["routing"] = routing_->summary();
    EvalResult result;
    bool best = false;
    if (due) {
      observer_.evaluating(static_cast<int>(epoch));
      const EmaScope average(ema(), *network_);
      EvalOptions options;
      options.cancelled = options_.interrupted;
      options.metric_threads = threads_;
      result = evaluate(*test_set_, config_, make_predictor(*network_, config_, device_), options);
      if (options_.interrupted()) {
        pending_evaluation_ = true;
        return false;
      }
      record["metrics"] = m3vit::to_json(result);
      record["frames"] = result.frames;
      record["score"] = score(result, config_);
      best = std::isnan(best_) || record["score"].get<double>() > best_;
    }
    pending_evaluation_ = false;
    log_->append(record);
    log_->draw();
    if (due) {
      write_text_file(options_.run / "metrics.json", json{{"metrics", record["metrics"]},
                                                          {"frames", result.frames},
                                                          {"epoch", epoch + 1},
                                                          {"step", step_},
                                                          {"score", record["score"]},
                                                          {"config", m3vit::to_json(config_)}}
                                                         .dump(1));
    }
    if (best) {
      best_ = record["score"].get<double>();
      save_weights(options_.run / "best.safetensors");
    }
    EpochInfo info;
    info.epoch = static_cast<int>(epoch);
    info.loss = epoch_.mean(epoch_.loss);
    info.seconds = seconds_;
    info.result = due ? &result : nullptr;
    info.score = due ? record["score"].get<double>() : kNan;
    info.best = best;
    Eigen::VectorXd means(static_cast<Eigen::Index>(epoch_.tasks.size()));
    for (std::size_t t = 0; t < epoch_.tasks.size(); ++t) {
      means[static_cast<Eigen::Index>(t)] = epoch_.mean(epoch_.tasks[t]);
    }
    weighting_->epoch_ended(means);
    epoch_ = Means{};
    routing_->clear();
    save();
    observer_.epoch(info);
    return true;
  }

  Config config_;
  TrainOptions options_;
  TrainObserver& observer_;
  torch::Device device_;
  int threads_ = 1;
  std::unique_ptr<Dataset> train_set_, test_set_;
  std::int64_t steps_per_epoch_ = 0;
  std::shared_ptr<NetworkImpl> network_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::optional<Ema> ema_;
  std::optional<RoutingReport> routing_;
  std::unique_ptr<TaskWeighting> weighting_;
  std::optional<RunLog> log_;
  LossScale scale_;
  Means epoch_, window_;  ///< since the epoch began; since the last "step" record
  std::int64_t step_ = 0, saved_step_ = -1;
  double best_ = kNan, seconds_ = 0;
  bool pending_evaluation_ = false;
  std::vector<std::string> warnings_;
};

}  // namespace

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

TrainOutcome train(Config config, const TrainOptions& options, TrainObserver& observer) {
  return Trainer(std::move(config), options, observer).run();
}

}  // namespace m3vit
