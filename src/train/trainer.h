#pragma once
/// The training run: data → steps → evaluation → checkpoints and logs in one run folder.
///
///   RUN/config.yaml        resolved recipe          RUN/last.safetensors  newest weights, for use (EMA when on)
///   RUN/log.jsonl          steps and epochs         RUN/last.optim        training state, for --resume
///   RUN/epochs.csv         one row an epoch         RUN/best.safetensors  best score so far
///   RUN/curves.svg, metrics.svg, routing.json       RUN/metrics.json      newest evaluation
///   RUN/contact.png        test frames, labels and predictions, at the end
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/config.h"
#include "eval/evaluate.h"

namespace m3vit {

struct TrainOptions {
  std::filesystem::path run;   ///< the run folder; created
  bool resume = false;         ///< go on from RUN/last.optim; from the start when there is none yet
  bool overwrite = false;      ///< delete an earlier run's files first
  std::int64_t max_steps = 0;  ///< > 0: save and stop after this many steps of this call
  int log_every = 10;          ///< steps a "step" record and console line averages over
  std::function<bool()> interrupted = [] { return false; };  ///< polled each step: then save and stop
};

struct RunInfo {
  std::string network;  ///< "m3vit 128x160, embed_dim 96, depth 6, 8 experts, top_k 2, gate multi"
  std::int64_t params = 0;
  std::int64_t macs_per_task = 0;  ///< mean over tasks
  std::string device;
  std::int64_t train_frames = 0, test_frames = 0, steps_per_epoch = 0, total_steps = 0, first_step = 0;
  std::vector<std::string> warnings;
};

struct StepInfo {
  std::int64_t step = 0;  ///< done so far, in the run
  std::int64_t step_in_epoch = 0, steps_per_epoch = 0, total_steps = 0;
  int epoch = 0;                                        ///< from 0
  double lr = 0, loss = 0, balance = 0, grad_norm = 0;  ///< means over the last window
  std::vector<std::pair<std::string, double>> losses;   ///< by task, unweighted
};

struct EpochInfo {
  int epoch = 0;
  double loss = 0, seconds = 0;
  const EvalResult* result = nullptr;  ///< null when this epoch was not evaluated
  double score = 0;
  bool best = false;
};

/// What a front end may want to show. Called on the training thread.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void started(const RunInfo&) {}
  virtual void step(const StepInfo&) {}  ///< after every step
  virtual void evaluating(int /*epoch*/) {}
  virtual void epoch(const EpochInfo&) {}
  virtual void saved(const std::filesystem::path&, std::int64_t /*step*/) {}
};

enum class TrainEnd { kFinished, kInterrupted, kMaxSteps };

struct TrainOutcome {
  TrainEnd end = TrainEnd::kFinished;
  std::int64_t step = 0;
  EvalResult result;  ///< newest evaluation; empty when there was none
};

/// NaN or infinity in a loss or gradient: says step, task and the last good checkpoint, which stays as it is.
class TrainingDiverged : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Mean over tasks of ±ln(primary metric), + where higher is better. Differences of this score are mean log gains, so
/// "best" needs no reference values and no task's unit outweighs another's. Tasks without a value are left out.
double score(const EvalResult& result, const Config& config);

/// Runs a recipe. Throws Error for what the caller did wrong (folder in use, config changed under --resume, data set
/// or device missing …) and TrainingDiverged.
TrainOutcome train(Config config, const TrainOptions& options, TrainObserver& observer);

}  // namespace m3vit
