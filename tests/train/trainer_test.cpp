// Whole runs on tiny generated rooms.
#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/progress.h"
#include "core/safetensors.h"
#include "tiny_config.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<json> records(const fs::path& run, const std::string& type) {
  std::ifstream in(run / "log.jsonl");
  std::vector<json> result;
  for (std::string line; std::getline(in, line);) {
    json r = json::parse(line);
    if (r.at("type") == type) result.push_back(r);
  }
  return result;
}

/// Tensor bytes alone: metadata may hold run times.
void expect_same_tensors(const fs::path& a, const fs::path& b) {
  const SafetensorsFile fa = SafetensorsFile::open(a), fb = SafetensorsFile::open(b);
  ASSERT_EQ(fa.tensors().size(), fb.tensors().size());
  for (const TensorView& t : fa.tensors()) {
    EXPECT_TRUE(std::ranges::equal(t.bytes, fb.get(t.name).bytes)) << t.name;
  }
}

class TrainRun : public testing::Test {
 protected:
  void SetUp() override {
    Progress::set_quiet(true);
    folder_ = fs::temp_directory_path() / ("m3vit_trainer_test_" + std::to_string(getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  TrainOptions options(const std::string& name) const {
    TrainOptions o;
    o.run = folder_ / name;
    o.log_every = 1;
    return o;
  }
  TrainOutcome go(const Config& config, const TrainOptions& o) {
    TrainObserver silent;
    return train(config, o, silent);
  }
  fs::path folder_;
};

TEST_F(TrainRun, WritesEveryFileOfARun) {
  const TrainOutcome outcome = go(tiny_config(), options("a"));
  EXPECT_EQ(outcome.end, TrainEnd::kFinished);
  EXPECT_EQ(outcome.step, 6);
  EXPECT_EQ(outcome.result.metrics.size(), 6U);
  for (const char* name : {"config.yaml", "log.jsonl", "epochs.csv", "curves.svg", "metrics.svg", "routing.json",
                           "metrics.json", "contact.png", "last.safetensors", "last.optim", "best.safetensors"}) {
    EXPECT_TRUE(fs::exists(folder_ / "a" / name)) << name;
  }
  const json metrics = json::parse(bytes_of(folder_ / "a" / "metrics.json"));
  EXPECT_EQ(metrics.at("frames"), 4);
  EXPECT_EQ(metrics.at("epoch"), 2);
  EXPECT_TRUE(metrics.at("metrics").at("depth").contains("rmse"));
  const auto metadata = SafetensorsFile::open(folder_ / "a" / "last.safetensors").metadata();
  EXPECT_EQ(metadata.at("step"), "6");
  EXPECT_TRUE(metadata.contains("config"));
  EXPECT_TRUE(metadata.contains("metrics"));
}

TEST_F(TrainRun, LogsRoutingPerLayerAndTask) {
  go(tiny_config({"semseg", "depth"}), options("a"));
  const json routing = json::parse(bytes_of(folder_ / "a" / "routing.json"));
  ASSERT_EQ(routing.at("blocks").size(), 1U);
  const json& block = routing["blocks"][0];
  EXPECT_EQ(block.at("block"), 1);
  for (const char* task : {"semseg", "depth"}) {
    double sum = 0;
    for (const json& share : block.at("tasks").at(task).at("load")) sum += share.get<double>();
    EXPECT_NEAR(sum, 1, 1e-9);
    EXPECT_GE(block["tasks"][task].at("max_over_mean").get<double>(), 1);
    EXPECT_LE(block["tasks"][task].at("entropy").get<double>(), std::log(4.0) + 1e-6);
  }
  EXPECT_GE(block.at("overlap").at("semseg,depth").get<double>(), 0);
  EXPECT_LE(block["overlap"]["semseg,depth"].get<double>(), 1 + 1e-9);
}

TEST_F(TrainRun, TheSameSeedGivesTheSameBits) {
  go(tiny_config(), options("a"));
  go(tiny_config(), options("b"));
  expect_same_tensors(folder_ / "a" / "last.optim", folder_ / "b" / "last.optim");
  Config other = tiny_config();
  other.train.seed = 2;
  go(other, options("c"));
  EXPECT_NE(bytes_of(folder_ / "a" / "last.safetensors"), bytes_of(folder_ / "c" / "last.safetensors"));
}

/// Everything with state: EMA, drop path and router noise (random numbers), accumulation, SGD or AdamW, flips.
Config stateful_config(Optimizer optimizer) {
  Config c = tiny_config({"semseg", "depth", "sal"});
  c.model.drop_path = 0.2;
  c.model.moe->noise_std = 1.0;
  c.data.train.frames = 24;
  c.train.optimizer = optimizer;
  c.train.accumulate = 2;
  c.train.ema = 0.9;
  c.train.epochs = 4;
  c.train.eval_every = 1;
  return c;
}

class TrainResume : public TrainRun, public testing::WithParamInterface<std::tuple<Optimizer, int>> {};

TEST_P(TrainResume, AfterAnyStepEqualsTheUndisturbedRun) {
  const auto [optimizer, stop_after] = GetParam();
  const Config config = stateful_config(optimizer);  // 4 epochs of 3 steps
  TrainOptions whole_options = options("whole"), part = options("parts");
  whole_options.log_every = part.log_every = 2;  // stops fall inside a record's window, too
  go(config, whole_options);
  part.max_steps = stop_after;
  TrainOutcome outcome = go(config, part);
  EXPECT_EQ(outcome.end, TrainEnd::kMaxSteps);
  EXPECT_EQ(outcome.step, stop_after);
  part.resume = true;
  part.max_steps = 0;
  outcome = go(config, part);
  EXPECT_EQ(outcome.end, TrainEnd::kFinished);
  for (const char* name : {"last.safetensors", "best.safetensors", "last.optim"}) {
    expect_same_tensors(folder_ / "whole" / name, folder_ / "parts" / name);
  }
  // The logs agree too, but for times.
  for (const char* type : {"step", "epoch"}) {
    auto whole = records(folder_ / "whole", type), parts = records(folder_ / "parts", type);
    ASSERT_EQ(whole.size(), parts.size());
    for (std::size_t i = 0; i < whole.size(); ++i) {
      whole[i].erase("seconds");
      whole[i].erase("waited");
      parts[i].erase("seconds");
      parts[i].erase("waited");
      EXPECT_EQ(whole[i], parts[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Stops, TrainResume,
                         testing::Combine(testing::Values(Optimizer::kSgd, Optimizer::kAdamw),
                                          testing::Values(1, 5, 6)));  // 6: 2 + 2 epochs

TEST_F(TrainRun, AnInterruptSavesAndResumesBitForBitAlsoInsideTheEvaluation) {
  const Config config = stateful_config(Optimizer::kAdamw);
  go(config, options("whole"));
  for (const int at : {2, 4}) {  // polls: 1 and 2 are steps 1 and 2, later ones are inside the evaluation of epoch 1
    TrainOptions part = options("parts" + std::to_string(at));
    int polls = 0;
    part.interrupted = [&polls, at] { return ++polls >= at; };
    EXPECT_EQ(go(config, part).end, TrainEnd::kInterrupted);
    part.resume = true;
    part.interrupted = [] { return false; };
    EXPECT_EQ(go(config, part).end, TrainEnd::kFinished);
    expect_same_tensors(folder_ / "whole" / "last.optim", part.run / "last.optim");
    expect_same_tensors(folder_ / "whole" / "best.safetensors", part.run / "best.safetensors");
    EXPECT_EQ(records(folder_ / "whole", "epoch").size(), records(part.run, "epoch").size());
  }
}

class TrainWeighting : public TrainRun, public testing::WithParamInterface<Weighting> {};

TEST_P(TrainWeighting, ResumesBitForBitAndLogsItsWeights) {
  Config c = tiny_config({"semseg", "depth", "edge"});
  c.train.weighting.method = GetParam();
  c.train.conflict_every = 2;
  c.train.epochs = 4;
  c.train.eval_every = 0;
  go(c, options("whole"));
  TrainOptions part = options("part");
  part.max_steps = 7;  // inside the third epoch: past what DWA waits for
  EXPECT_EQ(go(c, part).end, TrainEnd::kMaxSteps);
  part.max_steps = 0;
  part.resume = true;
  go(c, part);
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "part" / "last.safetensors");
  const std::vector<json> steps = records(folder_ / "whole", "step"), again = records(folder_ / "part", "step");
  ASSERT_EQ(steps.size(), 12U);
  for (std::size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].at("weights"), again.at(i).at("weights"));
  EXPECT_EQ(records(folder_ / "whole", "conflict").size(), 6U);
  EXPECT_EQ(bytes_of(folder_ / "whole" / "conflict.json"), bytes_of(folder_ / "part" / "conflict.json"));
}

INSTANTIATE_TEST_SUITE_P(Methods, TrainWeighting,
                         testing::Values(Weighting::kUncertainty, Weighting::kDwa, Weighting::kGradnorm,
                                         Weighting::kMgda, Weighting::kPcgrad, Weighting::kCagrad, Weighting::kFamo,
                                         Weighting::kNashMtl, Weighting::kAlignedMtl));

TEST_F(TrainRun, OneByOneTrainsToTheSameWeightsAsJointToRounding) {
  Config config = tiny_config();
  config.train.optimizer = Optimizer::kSgd;  // AdamW's first steps amplify rounding
  config.train.epochs = 1;
  go(config, options("joint"));
  config.train.mode = TaskMode::kOneByOne;
  go(config, options("one"));
  const SafetensorsFile a = SafetensorsFile::open(folder_ / "joint" / "last.safetensors");
  const SafetensorsFile b = SafetensorsFile::open(folder_ / "one" / "last.safetensors");
  for (const TensorView& t : a.tensors()) {
    const std::vector<float> va = to_f32(t, "a"), vb = to_f32(b.get(t.name), "b");
    for (std::size_t i = 0; i < va.size(); ++i) ASSERT_NEAR(va[i], vb[i], 1e-4) << t.name;
  }
}

TEST_F(TrainRun, LossDecreasesOnAFixedSetOfRooms) {
  Config config = tiny_config();
  config.data.fresh = false;
  config.data.augment.flip = 0;
  config.train.epochs = 30;
  config.train.eval_every = 0;
  config.train.lr = 3e-3;
  go(config, options("a"));
  const std::vector<json> epochs = records(folder_ / "a", "epoch");
  ASSERT_EQ(epochs.size(), 30U);
  for (const TaskConfig& t : config.tasks) {
    EXPECT_LT(epochs.back()["losses"][t.name].get<double>(), 0.8 * epochs.front()["losses"][t.name].get<double>())
        << t.name;
  }
}

TEST_F(TrainRun, ADivergingLossStopsWithStepTaskAndCheckpointAndLeavesTheFilesAlone) {
  Config config = tiny_config({"depth", "semseg"});
  config.train.lr = 1e30;
  TrainOptions o = options("a");
  try {
    go(config, o);
    FAIL() << "did not notice";
  } catch (const TrainingDiverged& e) {
    EXPECT_THAT(e.what(), HasSubstr("step 2, task depth"));
    EXPECT_THAT(e.what(), HasSubstr("no checkpoint was saved yet"));
  }
  o.overwrite = true;
  o.max_steps = 1;
  go(config, o);
  const std::string state = bytes_of(o.run / "last.optim"), weights = bytes_of(o.run / "last.safetensors");
  o.overwrite = false;
  o.resume = true;
  o.max_steps = 0;
  try {
    go(config, o);
    FAIL() << "did not notice";
  } catch (const TrainingDiverged& e) {
    EXPECT_THAT(e.what(), HasSubstr("step 2, task depth"));
    EXPECT_THAT(e.what(), HasSubstr((o.run / "last.safetensors").string()));
  }
  EXPECT_EQ(bytes_of(o.run / "last.optim"), state);
  EXPECT_EQ(bytes_of(o.run / "last.safetensors"), weights);
}

TEST_F(TrainRun, AUsedFolderNeedsResumeOrOverwrite) {
  TrainOptions o = options("a");
  o.max_steps = 1;
  go(tiny_config(), o);
  try {
    go(tiny_config(), o);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("--resume"));
    EXPECT_THAT(e.what(), HasSubstr("--overwrite"));
  }
  o.overwrite = true;
  EXPECT_EQ(go(tiny_config(), o).step, 1);
}

TEST_F(TrainRun, ResumingUnderAnotherConfigurationNamesTheKey) {
  TrainOptions o = options("a");
  o.max_steps = 1;
  go(tiny_config(), o);
  o.resume = true;
  Config other = tiny_config();
  other.train.batch_size = 2;
  try {
    go(other, o);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.parts().field, "train.batch_size");
  }
}

TEST_F(TrainRun, WeightsWithoutTheirTrainingStateDoNotResume) {
  TrainOptions o = options("a");
  o.max_steps = 1;
  go(tiny_config(), o);
  fs::remove(o.run / "last.optim");
  o.resume = true;
  EXPECT_THROW(go(tiny_config(), o), Error);
}

TEST_F(TrainRun, ALastFileOlderThanTheStateIsRewrittenOnResume) {
  TrainOptions o = options("a");
  o.max_steps = 1;
  go(tiny_config(), o);
  fs::copy_file(o.run / "last.safetensors", folder_ / "old.safetensors");
  o.resume = true;
  go(tiny_config(), o);
  const std::string two = bytes_of(o.run / "last.safetensors");
  // killed between the two renames: the state is of step 2, the weights still of step 1
  fs::copy_file(folder_ / "old.safetensors", o.run / "last.safetensors", fs::copy_options::overwrite_existing);
  struct AtFirstStep final : TrainObserver {
    void step(const StepInfo&) override {
      if (found.empty()) found = bytes_of(file);
    }
    fs::path file;
    std::string found;
  } observer;
  observer.file = o.run / "last.safetensors";
  train(tiny_config(), o, observer);
  EXPECT_TRUE(observer.found == two);
}

TEST_F(TrainRun, MoreBatchThanFramesIsRefused) {
  Config config = tiny_config();
  config.train.accumulate = 4;
  EXPECT_THROW(go(config, options("a")), Error);
}

TEST(Score, RisesWithEveryTasksMetricInItsOwnDirection) {
  const Config config = tiny_config({"semseg", "depth"});
  EvalResult r;
  r.metrics["semseg"] = {{"mIoU", 0.5}};
  r.metrics["depth"] = {{"rmse", 0.5}};
  const double base = score(r, config);
  r.metrics["semseg"][0].value = 0.6;
  EXPECT_NEAR(score(r, config) - base, std::log(0.6 / 0.5) / 2, 1e-12);
  r.metrics["depth"][0].value = 0.6;
  EXPECT_NEAR(score(r, config), base, 1e-12);
}

}  // namespace
}  // namespace m3vit
