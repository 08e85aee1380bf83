/// Several tasks of one frame: what is shared, and that sharing changes no bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "core/image.h"
#include "core/rng.h"
#include "runtime/frame_plan.h"
#include "runtime/layout.h"
#include "runtime/packed_case.h"

namespace m3vit {
namespace {

using testing::floats;
using testing::packed;
using testing::run;

struct Outputs {
  std::vector<std::string_view> names;
  std::vector<std::vector<float>> values;
  std::vector<std::span<float>> spans;
  Outputs(const Model& model, std::vector<std::string_view> tasks) : names(std::move(tasks)) {
    for (const std::string_view task : names) values.emplace_back(model.output_size(task), -1.0F);
    for (auto& v : values) spans.emplace_back(v);
  }
};

TEST(SeveralTasks, GiveTheBitsOfSeparateRuns) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Config config = naive::random_config(seed);
    const naive::Weights weights = naive::random_weights(config, seed);
    const std::vector<float> image = floats(naive::random_image(config, seed));
    ImageU8 picture(config.model.height(), config.model.width(), 3);
    Rng rng(seed);
    for (auto& v : picture.data) v = static_cast<std::uint8_t>(rng.below(256));
    const RgbView view{picture.data.data(), picture.height, picture.width};
    const Model model = Model::from_bytes(packed(config, weights), "test.m3v");
    Session alone = model.session({.threads = 1});
    std::vector<std::string_view> tasks;
    for (const TaskInfo& task : model.tasks())
      tasks.insert(tasks.begin() + (seed % 2 == 0 ? 0 : tasks.size()), task.name);
    if (tasks.size() > 1 && seed % 3 == 0) tasks.back() = tasks.front();  // one twice
    for (const bool share : {true, false}) {
      Session session = model.session({.threads = 2, .share_prefix = share});
      Outputs of_planes(model, tasks), of_picture(model, tasks);
      session.run(of_planes.names, std::span<const float>(image), of_planes.spans);
      session.run(of_picture.names, view, of_picture.spans);
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        EXPECT_EQ(of_planes.values[i], run(alone, model, std::string(tasks[i]), image)) << seed << ' ' << tasks[i];
        std::vector<float> want(model.output_size(tasks[i]));
        alone.run(tasks[i], view, want);
        EXPECT_EQ(of_picture.values[i], want) << seed << ' ' << tasks[i];
      }
    }
  }
}

TEST(SeveralTasks, ShareUpToTheFirstRouterThatDiffers) {
  Config config = naive::random_config(0);
  config.model.depth = 6;
  config.model.moe = MoeConfig{};
  config.model.moe->every = 3;
  for (const Gate gate : {Gate::kMulti, Gate::kTaskConditioned}) {
    config.model.moe->gate = gate;
    EXPECT_EQ(first_task_block(config), 2);
  }
  config.model.moe->gate = Gate::kShared;
  EXPECT_EQ(first_task_block(config), 6);
  config.model.moe->experts_per_task = 4;
  EXPECT_EQ(first_task_block(config), 2);
  config.model.moe->every = 7;  // no MoE block at all
  EXPECT_EQ(first_task_block(config), 6);
  config.model.moe.reset();
  EXPECT_EQ(first_task_block(config), 6);
}

TEST(SeveralTasks, TheFirstOnesTimeHasWhatAllShare) {
  std::uint64_t seed = 0;
  Config config = naive::random_config(seed);
  while (config.tasks.size() < 2) config = naive::random_config(++seed);
  const Model model = Model::from_bytes(packed(config, naive::random_weights(config, 2)), "test.m3v");
  const std::vector<float> image = floats(naive::random_image(config, 2));
  Session session = model.session({.threads = 1, .share_prefix = true, .keep_times = true});
  Outputs outs(model, {model.tasks()[0].name, model.tasks()[1].name});
  session.run(outs.names, std::span<const float>(image), outs.spans);
  EXPECT_GT(session.times().embed, 0.0);
  EXPECT_GE(session.task_times()[0], session.times().embed);
  EXPECT_GT(session.task_times()[1], 0.0);
}

TEST(SeveralTasks, PlanKeepsTheSharedPartApart) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Config config = naive::random_config(seed);
    std::vector<int> tasks(config.tasks.size());
    std::iota(tasks.begin(), tasks.end(), 0);
    const FramePlan plan(config, {.tasks = tasks}, 2, true);
    const FramePlan one(config, {.tasks = tasks}, 2, false);
    EXPECT_EQ(one.kept, FramePlan::kNone);
    EXPECT_EQ(plan.kept == FramePlan::kNone, first_task_block(config) == config.model.depth);
    const std::vector<PlannedBuffer>& all = plan.planner.buffers();
    const std::size_t shared = plan.kept == FramePlan::kNone ? plan.x : plan.kept;
    const PlannedBuffer& kept = all[shared];
    for (const PlannedBuffer& b : all) {
      EXPECT_LE(b.last, kept.last) << "the last task may still need " << kept.name;
      if (&b == &kept || b.last < kept.first) continue;
      EXPECT_TRUE(b.offset + b.bytes <= kept.offset || kept.offset + kept.bytes <= b.offset) << b.name;
    }
  }
}

TEST(SeveralTasks, RefusesListsThatDoNotFit) {
  const Config config = naive::random_config(1);
  const Model model = Model::from_bytes(packed(config, naive::random_weights(config, 1)), "test.m3v");
  Session session = model.session({.threads = 1, .share_prefix = true});
  const std::vector<float> image = floats(naive::random_image(config, 1));
  const std::string_view task = model.tasks()[0].name;
  Outputs outputs(model, {task});
  const auto refused = [&](std::vector<std::string_view> tasks, const std::string& said) {
    try {
      session.run(tasks, std::span<const float>(image), outputs.spans);
      ADD_FAILURE() << "accepted " << tasks.size() << " tasks";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), ::testing::HasSubstr(said));
    }
  };
  refused({}, "0 tasks");
  refused({task, task}, "2 tasks, 1 outputs");
  refused({"smell"}, "smell");
  EXPECT_THAT(outputs.values[0], ::testing::Each(-1.0F)) << "a call that throws changes nothing";
}

TEST(Times, CoverTheRunOnlyWhenAskedFor) {
  const Config config = naive::random_config(2);
  const Model model = Model::from_bytes(packed(config, naive::random_weights(config, 2)), "test.m3v");
  const std::vector<float> image = floats(naive::random_image(config, 2));
  for (const bool keep : {true, false}) {
    Session session = model.session({.threads = 1, .keep_times = keep});
    run(session, model, model.tasks()[0].name, image);
    const PhaseTimes& t = session.times();
    EXPECT_EQ(t.input, 0.0) << "planes were given";
    EXPECT_EQ(t.embed > 0 && t.attention > 0 && t.head > 0, keep);
    EXPECT_EQ(t.total() > 0, keep);
  }
}

}  // namespace
}  // namespace m3vit
