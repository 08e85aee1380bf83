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
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/run_setup.h"
#include "train/schedule.h"
#include "train/step.h"
#include "train/step_means.h"
#include "train/threads.h"
#include "train/weighting/weighting.h"
#include "train/world.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<std::string> task_names(const Config& config) {
  std::vector<std::string> names;
  for (const TaskConfig& t : config.tasks) names.push_back(t.name);
  return names;
}

class Trainer {
 public:
  Trainer(Config config, const TrainOptions& options, TrainObserver& observer)
      : config_(std::move(config)),
        options_(options),
        observer_(observer),
        device_(choose_device(config_.train.device)),
        world_(training_rank(config_)) {
    if (world_.first()) prepare_run_folder(options_);
    world_.any(false);  // the folder is there
    threads_ = set_threads(training_threads(config_));
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
    world_.copy_from_first(network_->parameters());
    if (config_.train.ema > 0) ema_.emplace(*network_, config_.train.ema);
    optimizer_ = make_optimizer(*network_, config_.train);
    scale_.on = config_.train.amp && device_.is_cuda();
    if (scale_.on) scale_.value = 65536;
    if (config_.train.amp && !device_.is_cuda()) warnings_.push_back("train.amp works on CUDA only: off");
    routing_.emplace(config_);
    weighting_ = make_weighting(config_.train.weighting, static_cast<int>(config_.tasks.size()),
                                static_cast<std::uint64_t>(config_.train.seed));
    if (options_.resume) resume();
    world_.any(false);  // everyone has read before anyone writes
    if (!world_.first()) return;
    write_text_file(options_.run / "config.yaml", to_yaml(config_));
    log_.emplace(options_.run, config_, step_);
  }

  TrainOutcome run() {
    if (world_.first()) {
      report_start();
      if (last_is_stale()) save_last();
    }
    const std::int64_t stop_at = options_.max_steps > 0 ? step_ + options_.max_steps : total_steps();
    if (pending_evaluation_ && !finish_epoch(step_ / steps_per_epoch_ - 1)) return stop(TrainEnd::kInterrupted);
    while (step_ < total_steps()) {
      const std::int64_t epoch = step_ / steps_per_epoch_;
      if (const std::optional<TrainEnd> end = run_epoch(epoch, stop_at)) return stop(*end);
      if (!finish_epoch(epoch)) return stop(TrainEnd::kInterrupted);
      if (step_ >= stop_at && step_ < total_steps()) return stop(TrainEnd::kMaxSteps);
    }
    if (world_.first()) {
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
      waited_ = p.value("waited", 0.0);
      pending_evaluation_ = p.at("pending_evaluation").get<bool>();
      scale_.value = p.at("scale").at(0).get<double>();
      scale_.clean = p.at("scale").at(1).get<std::int64_t>();
      epoch_ = step_means_from_json(p.at("epoch"));
      if (p.contains("window")) window_ = step_means_from_json(p.at("window"));
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
            {"waited", waited_},
            {"pending_evaluation", pending_evaluation_},
            {"scale", {scale_.value, scale_.clean}},
            {"epoch", m3vit::to_json(epoch_)},
            {"window", m3vit::to_json(window_)},
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

  /// Batch norm's running statistics are each rank's own between saves and evaluations: their mean.
  void share_buffers() {
    if (world_.size() == 1) return;
    std::vector<torch::Tensor> buffers;
    for (const torch::Tensor& b : network_->buffers()) {
      if (b.is_floating_point()) buffers.push_back(b);
    }
    world_.sum(buffers);
    for (torch::Tensor& b : buffers) b.div_(world_.size());
  }

  /// State first: see train/checkpoint.h. Every rank calls it.
  void save() {
    share_buffers();
    saved_step_ = step_;
    if (!world_.first()) return;
    for (const torch::Tensor& p : network_->parameters()) {
      if (!p.isfinite().all().item<bool>()) diverged("weight", -1);
    }
    save_train_state(last_state(), *network_, *optimizer_, ema(), config_, progress());
    save_last();
    observer_.saved(last(), step_);
  }

  TrainOutcome stop(TrainEnd end) {
    if (saved_step_ != step_ || pending_evaluation_) save();
    TrainOutcome outcome;
    outcome.end = end;
    outcome.step = step_;
    if (const json* r = log_ ? log_->last_evaluation() : nullptr) {
      outcome.result = eval_result_from_json((*r)["metrics"], (options_.run / "log.jsonl").string());
      outcome.result.frames = (*r).value("frames", std::int64_t{0});
    }
    return outcome;
  }

  void report_start() {
    RunInfo info = run_info(config_);
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
    o.shard = world_.rank();
    o.shards = world_.size();
    o.skip_batches = (step_ - epoch * steps_per_epoch_) * micro_batches();
    o.workers = config_.data.workers;
    o.prefetch = config_.data.prefetch;
    o.augment = &config_.data.augment;
    o.protocol = config_.protocol;
    return o;
  }

  /// Of a step, in this process.
  int micro_batches() const { return config_.train.accumulate / world_.size(); }

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
      if (interrupted_) return TrainEnd::kInterrupted;
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
    const double share = 1.0 / config_.train.accumulate;
    std::vector<StepLosses> parts;
    std::optional<Batch> batch;
    BatchTensors tensors;  // aliases `batch`
    for (int i = 0; i < micro_batches(); ++i) {
      const int micro = i * world_.size() + world_.rank();
      seed_micro_batch(micro);
      batch = next_batch(loader);
      tensors = to_tensors(*batch, device_);
      parts.push_back(forward_backward(*network_, config_, tensors,
                                       {.scale = share * scale_.value,
                                        .amp = scale_.on,
                                        .conflict = conflict_due() && micro == 0,
                                        .weighting = weighting_.get()}));
    }
    interrupted_ = options_.interrupted();
    const StepSum sum = sum_step(parts, share, world_, interrupted_);
    if (const int bad = sum.first_bad_task(); bad >= 0) diverged("loss", bad);
    if (!std::isfinite(sum.loss)) diverged("loss", -1);
    sum_gradients(*network_, world_);
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
    for (StepMeans* m : {&window_, &epoch_}) sum.add_to(*m, norm);
    if (!parts.front().conflict.empty()) {
      json record{{"type", "conflict"}, {"step", step_}};
      record.update(conflict_record(parts.front().conflict, task_names(config_)));
      log_->append(record);
    }
    add_routing(parts);
  }

  /// Every micro-batch draws from its own stream, so that a resumed run needs no generator state and the number of
  /// processes makes no difference.
  void seed_micro_batch(int micro) const {
    const auto seed = static_cast<std::uint64_t>(config_.train.seed);
    const auto step = static_cast<std::uint64_t>(step_);
    torch::manual_seed(micro == 0 ? Rng{seed, step}.next() : Rng{seed, step, static_cast<std::uint64_t>(micro)}.next());
  }

  std::optional<Batch> next_batch(Loader& loader) {
    const auto start = std::chrono::steady_clock::now();
    std::optional<Batch> batch = loader.next();
    waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return batch;
  }

  void add_routing(const std::vector<StepLosses>& parts) {
    RoutingReport own(config_);
    RoutingReport& target = world_.size() > 1 ? own : *routing_;
    for (const StepLosses& p : parts) {
      for (std::size_t t = 0; t < p.routing.size(); ++t) target.add(t, p.routing[t]);
    }
    if (world_.size() > 1) routing_->add_ranks(own, world_);
  }

  bool conflict_due() const { return config_.train.conflict_every > 0 && step_ % config_.train.conflict_every == 0; }

  [[noreturn]] void diverged(const char* what, int task) const {
    std::string text = fmt::format("training diverged: the {} is NaN or infinite at step {}", what, step_ + 1);
    if (task >= 0) text += fmt::format(", task {}", config_.tasks[static_cast<std::size_t>(task)].name);
    text += fs::exists(last()) ? "; last good checkpoint: " + last().string() : "; no checkpoint was saved yet";
    throw TrainingDiverged(text + ". Try a lower train.lr, train.clip_norm=1 or a longer train.warmup_epochs.");
  }

  json losses(const StepMeans& m) const { return by_task(m, m.tasks); }
  json by_task(const StepMeans& m, const std::vector<double>& sums) const {
    json result = json::object();
    for (std::size_t t = 0; t < sums.size(); ++t) result[config_.tasks[t].name] = m.mean(sums[t]);
    return result;
  }

  void report_step(std::int64_t epoch) {
    if (!world_.first()) return;
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
    window_ = StepMeans{};
  }

  /// Evaluates when due, logs, saves. False when interrupted during the evaluation: the state then remembers that it is
  /// still owed.
  bool finish_epoch(std::int64_t epoch) {
    const bool final = step_ == total_steps();
    const int every = config_.train.eval_every;
    const bool due = final || (every > 0 && (epoch + 1) % every == 0);
    share_buffers();
    // Rank 0 evaluates and writes; the others wait for its word.
    const bool whole = !world_.first() || evaluate_and_log(epoch, due);
    pending_evaluation_ = world_.any(!whole);
    if (pending_evaluation_) return false;
    Eigen::VectorXd means(static_cast<Eigen::Index>(epoch_.tasks.size()));
    for (std::size_t t = 0; t < epoch_.tasks.size(); ++t) {
      means[static_cast<Eigen::Index>(t)] = epoch_.mean(epoch_.tasks[t]);
    }
    weighting_->epoch_ended(means);
    epoch_ = StepMeans{};
    routing_->clear();
    save();
    if (epoch_info_) observer_.epoch(*epoch_info_);
    epoch_info_.reset();
    return true;
  }

  /// False when interrupted during the evaluation.
  bool evaluate_and_log(std::int64_t epoch, bool due) {
    json record{{"type", "epoch"},
                {"epoch", epoch + 1},
                {"step", step_},
                {"seconds", seconds_},
                {"waited", waited_},
                {"lr", learning_rate(config_.train, step_ - 1, steps_per_epoch_)},
                {"loss", epoch_.mean(epoch_.loss)},
                {"losses", losses(epoch_)},
                {"balance", epoch_.mean(epoch_.balance)}};
    if (!routing_->empty()) record["routing"] = routing_->summary();
    EvalResult& result = epoch_result_;
    bool best = false;
    if (due) {
      observer_.evaluating(static_cast<int>(epoch));
      const EmaScope average(ema(), *network_);
      EvalOptions options;
      options.cancelled = options_.interrupted;
      options.metric_threads = threads_;
      result = evaluate(*test_set_, config_, make_predictor(*network_, config_, device_), options);
      if (options_.interrupted()) return false;
      record["metrics"] = m3vit::to_json(result);
      record["frames"] = result.frames;
      record["score"] = score(result, config_);
      best = std::isnan(best_) || record["score"].get<double>() > best_;
    }
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
    EpochInfo& info = epoch_info_.emplace();
    info.epoch = static_cast<int>(epoch);
    info.loss = epoch_.mean(epoch_.loss);
    info.seconds = seconds_;
    info.result = due ? &result : nullptr;
    info.score = due ? record["score"].get<double>() : kNan;
    info.best = best;
    return true;
  }

  Config config_;
  TrainOptions options_;
  TrainObserver& observer_;
  torch::Device device_;
  World world_;
  int threads_ = 1;
  std::unique_ptr<Dataset> train_set_, test_set_;
  std::int64_t steps_per_epoch_ = 0;
  std::shared_ptr<NetworkImpl> network_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::optional<Ema> ema_;
  std::optional<RoutingReport> routing_;
  std::unique_ptr<TaskWeighting> weighting_;
  std::optional<RunLog> log_;  ///< rank 0's
  LossScale scale_;
  StepMeans epoch_, window_;  ///< since the epoch began; since the last "step" record
  std::int64_t step_ = 0, saved_step_ = -1;
  double best_ = kNan, seconds_ = 0, waited_ = 0;  ///< waited_: of seconds_, for the loader
  bool pending_evaluation_ = false, interrupted_ = false;
  EvalResult epoch_result_;
  std::optional<EpochInfo> epoch_info_;  ///< from the evaluation until all is saved
  std::vector<std::string> warnings_;
};

}  // namespace

TrainOutcome train(Config config, const TrainOptions& options, TrainObserver& observer) {
  return Trainer(std::move(config), options, observer).run();
}

}  // namespace m3vit
