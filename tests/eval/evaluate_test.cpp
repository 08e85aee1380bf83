#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "core/error.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

constexpr int kH = 16, kW = 32;

/// Frame i carries its index in the first pixel; labels are random but fixed by the index; every third frame lacks sal.
class Noise final : public Dataset {
 public:
  Noise() {
    info_.name = "noise";
    for (const TaskSpec& t : kTasks) info_.tasks.push_back(t.id);
    info_.classes[0] = {"a", "b", "c"};
  }
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 11; }
  Sample get(std::int64_t index) const override {
    Rng rng{7, static_cast<std::uint64_t>(index)};
    Sample s;
    s.id = std::to_string(index);
    s.image = ImageU8(kH, kW, 3, static_cast<std::uint8_t>(index));
    const auto fill = [&](TaskId t, int channels, auto&& draw) {
      s.label(t) = ImageF32(kH, kW, channels);
      for (float& v : s.label(t).data) v = static_cast<float>(draw());
    };
    fill(TaskId::kSemseg, 1, [&] { return rng.below(3); });
    fill(TaskId::kDepth, 1, [&] { return rng.coin(0.1) ? 0 : rng.uniform(1, 5); });
    fill(TaskId::kNormals, 3, [&] { return rng.normal(); });
    fill(TaskId::kEdge, 2, [&] { return rng.coin(0.1); });
    if (index % 3 != 0) fill(TaskId::kSal, 1, [&] { return rng.coin(0.4); });
    fill(TaskId::kHumanParts, 1, [&] { return rng.below(7); });
    ImageF32& n = s.label(TaskId::kNormals);
    for (std::size_t i = 0; i < n.data.size(); i += 3) {
      const float norm = std::hypot(n.data[i], n.data[i + 1], n.data[i + 2]);
      for (std::size_t c = 0; c < 3; ++c) n.data[i + c] /= norm;
    }
    return s;
  }

 private:
  DatasetInfo info_;
};

Config config_of(int batch_size) {
  Config c;
  c.model.image_size = {kH, kW};
  for (const TaskSpec& t : kTasks)
    c.tasks.push_back({std::string(t.name), t.default_outputs > 0 ? t.default_outputs : 3});
  c.train.batch_size = batch_size;
  c.eval.edge_max_dist = 0.05;
  c.eval.edge_thresholds = 9;
  return c;
}

/// What the "network" says for one frame: depends on its id only.
std::vector<float> predict_frame(const std::string& id, const TaskConfig& task) {
  Rng rng{99, std::stoull(id), static_cast<std::uint64_t>(task.id())};
  std::vector<float> raw(static_cast<std::size_t>(task.outputs * kH * kW));
  for (float& v : raw) v = static_cast<float>(task.id() == TaskId::kDepth ? rng.uniform(1, 5) : rng.normal());
  return raw;
}

std::vector<float> predict_batch(const Batch& batch, const TaskConfig& task) {
  std::vector<float> all;
  for (const std::string& id : batch.ids) {
    const std::vector<float> one = predict_frame(id, task);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

EvalOptions quiet(int threads = 2) {
  EvalOptions o;
  o.quiet = true;
  o.metric_threads = threads;
  return o;
}

TEST(Evaluate, EqualsUpdatingEveryMetricFrameByFrameWithAllAnnotators) {
  const Noise data;
  const Config config = config_of(4);
  const EvalResult result = evaluate(data, config, predict_batch, quiet());
  EXPECT_EQ(result.frames, 11) << "the last, smaller batch counts";
  for (const TaskConfig& task : config.tasks) {
    const auto metric = make_metric(task.id(), task.outputs, config.eval);
    for (std::int64_t i = 0; i < data.size(); ++i) {
      const Sample s = data.get(i);
      metric->update(predict_frame(s.id, task), task.outputs, s.label(task.id()));
    }
    EXPECT_TRUE(same_values(result.metrics.at(task.name), metric->compute(), 1e-6)) << task.name;
  }
  EXPECT_EQ(result.per_class.at("semseg").size(), 3U);
}

TEST(Evaluate, BitsDoNotDependOnThreadsNorBatchSize) {
  const Noise data;
  const EvalResult one = evaluate(data, config_of(1), predict_batch, quiet(1));
  for (const int threads : {1, 2, 5}) {
    for (const int batch : {3, 11}) {
      const EvalResult other = evaluate(data, config_of(batch), predict_batch, quiet(threads));
      for (const auto& [task, values] : one.metrics) {
        EXPECT_TRUE(same_values(values, other.metrics.at(task), 0)) << task;
      }
    }
  }
}

TEST(Evaluate, RunsChosenTasksOnlyUpToMaxFrames) {
  const Noise data;
  EvalOptions options = quiet();
  options.tasks = {"depth"};
  options.max_frames = 5;
  const Config config = config_of(4);
  const EvalResult result = evaluate(data, config, predict_batch, options);
  EXPECT_EQ(result.frames, 5);
  EXPECT_EQ(result.metrics.size(), 1U);
  const auto metric = make_metric(TaskId::kDepth, 1, config.eval);
  for (std::int64_t i = 0; i < 5; ++i) {
    metric->update(predict_frame(std::to_string(i), config.tasks[1]), 1, data.get(i).label(TaskId::kDepth));
  }
  EXPECT_TRUE(same_values(result.metrics.at("depth"), metric->compute(), 1e-6));
}

TEST(Evaluate, StopsBetweenBatchesWhenCancelled) {
  const Noise data;
  int polls = 0;
  EvalOptions options = quiet();
  options.cancelled = [&] { return ++polls > 2; };
  EXPECT_EQ(evaluate(data, config_of(2), predict_batch, options).frames, 4);
}

TEST(Evaluate, ReportsAnUnknownTaskAndAWrongPredictionSize) {
  const Noise data;
  EvalOptions options = quiet();
  options.tasks = {"dept"};
  EXPECT_THROW(evaluate(data, config_of(2), predict_batch, options), Error);
  const Predictor wrong = [](const Batch&, const TaskConfig&) { return std::vector<float>(3); };
  EXPECT_THROW(evaluate(data, config_of(2), wrong, quiet()), Error);
}

TEST(Evaluate, AMetricsErrorReachesTheCaller) {
  const Noise data;
  Config config = config_of(2);
  config.tasks[0].outputs = 2;  // labels have three classes
  EXPECT_THROW(evaluate(data, config, predict_batch, quiet()), Error);
}

TEST(Evaluate, APredictorsErrorReachesTheCallerWhileFramesAreUnderWay) {
  const Noise data;
  int calls = 0;
  const Predictor failing = [&](const Batch& batch, const TaskConfig& task) {
    if (++calls == 5) throw std::runtime_error("out of order");
    return predict_batch(batch, task);
  };
  EXPECT_THROW(evaluate(data, config_of(2), failing, quiet()), std::runtime_error);
}

}  // namespace
}  // namespace m3vit
