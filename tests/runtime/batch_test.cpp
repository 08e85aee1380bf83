/// Frames that go through the network together: the same bits as one at a time, for one reading of the weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/rng.h"
#include "runtime/stored_case.h"

namespace m3vit {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::packed;
using testing::planes_of;
using testing::StoredFile;

constexpr std::size_t kFrames = 3;

/// Pictures of a model's size, their outputs, and views of both.
struct Frames {
  explicit Frames(const Model& m, std::uint64_t seed) : model(m) {
    const auto pixels = static_cast<std::size_t>(m.height()) * static_cast<std::size_t>(m.width());
    Rng rng(seed);
    for (auto& picture : pictures) {
      picture.resize(3 * pixels);
      for (auto& v : picture) v = static_cast<std::uint8_t>(rng.below(256));
      images.push_back({picture.data(), m.height(), m.width()});
    }
  }
  std::vector<std::vector<float>> alone(Session& session, const std::string& task) const {
    std::vector<std::vector<float>> outs;
    for (const RgbView& image : images) {
      outs.emplace_back(model.output_size(task));
      session.run(task, image, outs.back());
    }
    return outs;
  }
  std::vector<std::vector<float>> together(Session& session, const std::string& task, std::size_t count) const {
    std::vector<std::vector<float>> outs(count, std::vector<float>(model.output_size(task), -1.0F));
    const std::vector<std::span<float>> spans(outs.begin(), outs.end());
    session.run_batch(task, std::span(images).first(count), spans);
    return outs;
  }

  const Model& model;
  std::vector<std::uint8_t> pictures[kFrames];
  std::vector<RgbView> images;
};

std::vector<std::vector<float>> first(std::vector<std::vector<float>> all, std::size_t count) {
  all.resize(count);
  return all;
}

TEST(Batch, GivesTheBitsOfOneFrameAtATime) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const Config config = naive::random_config(seed);
    const naive::Weights weights = naive::random_weights(config, seed);
    for (const Precision dtype : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
      PackOptions options;
      options.dtype = dtype;
      const Model model = Model::from_bytes(packed(config, weights, options), "test.m3v");
      const Frames frames(model, seed);
      const std::string task = model.tasks()[seed % model.tasks().size()].name;
      Session one = model.session({.threads = 1});
      const std::vector<std::vector<float>> want = frames.alone(one, task);
      for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder, MoeSchedule::kDense}) {
        Session session = model.session({.threads = 1 + static_cast<int>(seed % 3),
                                         .schedule = schedule,
                                         .share_prefix = seed % 2 == 0,
                                         .batch = static_cast<int>(kFrames)});
        for (const std::size_t count : {std::size_t{3}, std::size_t{1}, std::size_t{2}}) {
          EXPECT_EQ(frames.together(session, task, count), first(want, count))
              << "seed " << seed << ' ' << model.dtype() << " schedule " << static_cast<int>(schedule);
        }
        EXPECT_EQ(frames.alone(session, task), want) << "seed " << seed << ": alone, in a session for several";
      }
    }
  }
}

TEST(Batch, TakesPlanesAndGivesClassesToo) {
  Config config = naive::random_config(3);
  config.tasks = {{"semseg", 5, 1.0}, {"depth", 1, 1.0}};
  const Model model = Model::from_bytes(packed(config, naive::random_weights(config, 3)), "test.m3v");
  const Frames frames(model, 1);
  Session session = model.session({.threads = 2, .batch = 2});

  const std::vector<float> a = planes_of(config, 1);
  const std::vector<float> b = planes_of(config, 2);
  std::vector<float> depth_a(model.output_size("depth")), depth_b = depth_a;
  const std::vector<std::span<const float>> planes{a, b};
  const std::vector<std::span<float>> outs{depth_a, depth_b};
  session.run_batch("depth", planes, outs);
  EXPECT_EQ(depth_a, testing::run(session, model, "depth", a));
  EXPECT_EQ(depth_b, testing::run(session, model, "depth", b));
  EXPECT_NE(depth_a, depth_b);

  std::vector<std::uint8_t> got_a(a.size() / 3), got_b = got_a, want = got_a;
  const std::vector<std::span<std::uint8_t>> maps{got_a, got_b};
  session.run_batch_classes("semseg", std::span(frames.images).first(2), maps);
  session.run_classes("semseg", frames.images[0], want);
  EXPECT_EQ(got_a, want);
  session.run_classes("semseg", frames.images[1], want);
  EXPECT_EQ(got_b, want);
}

TEST(Batch, ReadsWeightsOnceForAllFrames) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const Config config = naive::random_config(seed);
    const StoredFile file(packed(config, naive::random_weights(config, seed)));
    const Model model = Model::open(file.path());
    const Frames frames(model, seed);
    const std::string task = model.tasks()[0].name;
    const std::size_t smallest = model.session({.threads = 2, .batch = kFrames}).memory().smallest;
    Session session = model.session({.threads = 2, .memory_budget = smallest, .batch = kFrames});
    EXPECT_LE(session.memory().total(), smallest);
    ASSERT_GT(session.memory().streamed, 0U);
    const std::vector<std::vector<float>> want = frames.alone(session, task);
    const std::uint64_t apart = session.bytes_read();
    EXPECT_EQ(frames.together(session, task, kFrames), want) << seed;
    const std::uint64_t together = session.bytes_read() - apart;
    // The dense sections once; of a layer's experts those that any frame uses.
    EXPECT_LT(together, apart) << seed;
    EXPECT_LE(together, model.session({.threads = 2, .memory_budget = smallest, .batch = kFrames}).memory().streamed)
        << "no section more than once";
  }
}

TEST(Batch, SeveralTasksGiveTheBitsOfEachAlone) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    Config config = naive::random_config(seed);
    config.tasks = {{"semseg", 5, 1.0}, {"depth", 1, 1.0}, {"normals", 3, 1.0}};
    const StoredFile file(packed(config, naive::random_weights(config, seed)));
    const Model model = Model::open(file.path());
    const Frames frames(model, seed);
    Session one = model.session({.threads = 1});
    const std::vector<std::string_view> tasks{"normals", "semseg", "depth"};
    std::vector<std::vector<float>> want;
    for (const std::string_view task : tasks) {
      for (auto& out : first(frames.alone(one, std::string(task)), 2)) want.push_back(out);
    }
    for (const bool share : {true, false}) {
      SessionOptions options{.threads = 2, .share_prefix = share, .batch = kFrames};
      for (const bool streamed : {false, true}) {
        if (streamed) options.memory_budget = model.session(options).memory().smallest;
        Session session = model.session(options);
        std::vector<std::vector<float>> got;
        for (const auto& w : want) got.emplace_back(w.size(), -1.0F);
        const std::vector<std::span<float>> outs(got.begin(), got.end());
        session.run_batch(std::span(tasks), std::span(frames.images).first(2), outs);
        EXPECT_EQ(got, want) << "seed " << seed << (share ? " shared" : "") << (streamed ? " streamed" : "");
      }
    }
  }
}

TEST(Batch, TheMemoryPlanKnowsIt) {
  const Config config = naive::random_config(2);
  const StoredFile file(packed(config, naive::random_weights(config, 2)));
  const Model model = Model::open(file.path());
  const MemoryPlan one = model.session({.threads = 2}).memory();
  std::size_t before = one.smallest;
  for (const int batch : {2, 4, 8}) {
    const MemoryPlan plan = model.session({.threads = 2, .batch = batch}).memory();
    EXPECT_GT(plan.smallest, before);
    EXPECT_GT(plan.arena, one.arena);
    EXPECT_LT(plan.arena, static_cast<std::size_t>(batch) * one.arena) << "frames share what they use in turn";
    EXPECT_THAT(error_of([&] { model.session({.threads = 2, .memory_budget = plan.smallest - 1, .batch = batch}); }),
                AllOf(HasSubstr("memory budget"), HasSubstr(std::to_string(plan.smallest))));
    before = plan.smallest;
  }
}

TEST(Batch, RoutingIsTheLastFrames) {
  Config config = naive::random_config(1);
  ASSERT_TRUE(config.model.moe.has_value());
  const Model model = Model::from_bytes(packed(config, naive::random_weights(config, 1)), "test.m3v");
  const Frames frames(model, 4);
  const std::string task = model.tasks()[0].name;
  Session session = model.session({.threads = 2, .keep_routing = true, .batch = 2});
  frames.together(session, task, 2);
  const std::vector<RoutingMap> together = session.routing();
  std::vector<float> out(model.output_size(task));
  session.run(task, frames.images[1], out);
  ASSERT_FALSE(together.empty());
  for (std::size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(together[i].experts, session.routing()[i].experts);
    EXPECT_EQ(together[i].weights, session.routing()[i].weights);
  }
}

TEST(Batch, RefusalsSayWhatWouldDo) {
  const Config config = naive::random_config(0);
  const Model model = Model::from_bytes(packed(config, naive::random_weights(config, 0)), "test.m3v");
  const Frames frames(model, 1);
  const std::string task = model.tasks()[0].name;
  for (const int batch : {0, -1, 1025}) {
    EXPECT_THAT(error_of([&] { model.session({.batch = batch}); }), HasSubstr("1 … 1024"));
  }
  Session session = model.session({.threads = 1, .batch = 2});
  EXPECT_THAT(error_of([&] { frames.together(session, task, 3); }), AllOf(HasSubstr("1 … 2"), HasSubstr("3 frames")));
  EXPECT_THAT(error_of([&] { frames.together(session, task, 0); }), HasSubstr("0 frames"));
  std::vector<std::span<float>> no_outs;
  EXPECT_THAT(error_of([&] { session.run_batch(task, frames.images, no_outs); }), HasSubstr("0 outputs"));
  const std::vector<std::string_view> tasks{task};
  const auto two = std::span(frames.images).first(2);
  EXPECT_THAT(error_of([&] { session.run_batch(std::span(tasks), two, no_outs); }),
              AllOf(HasSubstr("an output for each and frame"), HasSubstr("1 tasks, 0 outputs")));
}

}  // namespace
}  // namespace m3vit
