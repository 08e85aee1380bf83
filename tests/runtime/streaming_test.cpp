/// Weights that are read from the file while a frame runs: the same bits as in memory, no byte too many, and every
/// failure an error of the run that meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "core/rng.h"
#include "runtime/engine.h"
#include "runtime/small_config.h"
#include "runtime/stored_case.h"

namespace m3vit {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::planes_of;
using testing::run;
using testing::StoredFile;

/// Some blocks of each kind, several tasks; experts enough that tokens leave some out.
Config moe_config(int experts, int top_k) {
  Config config = testing::small_config(32, 48, 16, 16, 4);
  MoeConfig& moe = *config.model.moe;
  moe.num_experts = experts;
  moe.top_k = top_k;
  moe.expert_hidden = 24;
  config.tasks.push_back({"normals", 3, 1.0});
  return config;
}

struct Stored {
  explicit Stored(const Config& c, std::uint64_t seed = 1)
      : config(c),
        file(testing::packed(c, naive::random_weights(c, seed))),
        model(Model::open(file.path())),
        smallest(model.session().memory().smallest) {}
  Config config;
  StoredFile file;
  Model model;
  std::size_t smallest;
};

std::vector<WeightIo> streaming_ways(const Stored& s) {
  std::vector<WeightIo> ways{WeightIo::kPread, WeightIo::kAuto};
  if (testing::uring_works(s.model, s.smallest)) ways.push_back(WeightIo::kUring);
  return ways;
}

class RandomBudgets : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(RandomBudgets, GiveTheBitsOfNoBudget) {
  Rng rng(GetParam());
  for (std::uint64_t seed = 100 * GetParam(); seed < 100 * GetParam() + 2; ++seed) {
    const Config config = naive::random_config(seed);
    const Stored s(config, seed);
    const std::vector<float> image = planes_of(config, seed);
    Session reference = s.model.session({.threads = 1});
    EXPECT_EQ(reference.io(), "memory");
    std::vector<std::vector<float>> want;
    for (const TaskInfo& task : s.model.tasks()) want.push_back(run(reference, s.model, task.name, image));
    EXPECT_EQ(reference.bytes_read(), 0U);
    const std::size_t all = reference.memory().total();
    ASSERT_LE(s.smallest, all);
    const std::vector<WeightIo> ways = streaming_ways(s);
    for (int i = 0; i < 8; ++i) {
      const std::size_t budget = i == 0 ? s.smallest : i == 1 ? all : s.smallest + rng.below(all - s.smallest + 1);
      const SessionOptions options{.threads = 1 + static_cast<int>(rng.below(3)),
                                   .schedule = static_cast<MoeSchedule>(rng.below(3)),
                                   .share_prefix = rng.coin(0.3),
                                   .memory_budget = budget,
                                   .io = ways[rng.below(ways.size())]};
      Session session = [&] {
        try {
          return s.model.session(options);
        } catch (const Error&) {  // more threads or a kept prefix need a little more
          SessionOptions larger = options;
          larger.memory_budget += all;
          return s.model.session(larger);
        }
      }();
      EXPECT_LE(session.memory().total(), budget == session.memory().total() ? budget : budget + all);
      for (int frame = 0; frame < 3; ++frame) {
        const std::size_t t = rng.below(want.size());
        EXPECT_EQ(run(session, s.model, s.model.tasks()[t].name, image), want[t])
            << "seed " << seed << " budget " << budget << " io " << session.io();
      }
      std::vector<std::vector<float>> outs;
      std::vector<std::string_view> names;
      for (const TaskInfo& task : s.model.tasks()) {
        names.push_back(task.name);
        outs.emplace_back(s.model.output_size(task.name));
      }
      const std::vector<std::span<float>> spans(outs.begin(), outs.end());
      session.run(names, image, spans);
      EXPECT_EQ(outs, want);
      EXPECT_TRUE(session.memory().streamed > 0 || session.bytes_read() == 0);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomBudgets, ::testing::Range<std::uint64_t>(1, 9));

TEST(Streaming, ReadsWhatTheFrameUsesAndNothingElse) {
  const Stored s(moe_config(32, 1));
  const M3vFile file = M3vFile::open(s.file.path());
  Session session = s.model.session({.threads = 1, .keep_routing = true, .memory_budget = s.smallest});
  EXPECT_EQ(session.memory().weights, 0U);
  std::uint64_t before = 0;
  for (const std::string task : {"semseg", "depth", "depth", "normals"}) {
    run(session, s.model, task, planes_of(s.config, 3));
    std::size_t want = file.find("embed")->bytes.size() + file.find("head." + task)->bytes.size();
    for (int b = 0; b < s.config.model.depth; ++b) {
      const std::string name = "blocks." + std::to_string(b) + ".";
      want += file.find(name + "attn")->bytes.size();
      if (!s.config.model.is_moe(b)) want += file.find(name + "mlp")->bytes.size();
    }
    for (const RoutingMap& map : session.routing()) {
      const std::string name = "blocks." + std::to_string(map.block) + ".";
      want += file.find(name + "norm2")->bytes.size() + file.find(name + "router." + task)->bytes.size();
      const std::set<std::int32_t> used(map.experts.begin(), map.experts.end());
      EXPECT_LT(used.size(), 32U);  // 7 tokens
      for (const std::int32_t e : used) want += file.find(name + "expert." + std::to_string(e))->bytes.size();
    }
    EXPECT_EQ(session.bytes_read() - before, want) << task;
    before = session.bytes_read();
  }
}

TEST(Streaming, TokenOrderReadsExpertsAgain) {
  Config config = moe_config(16, 4);
  config.model.moe->expert_hidden = 512;  // so that not all of them fit at once
  const Stored s(config);
  std::vector<std::uint64_t> read;
  for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder}) {
    Session session = s.model.session({.threads = 1, .schedule = schedule, .memory_budget = s.smallest});
    run(session, s.model, "depth", planes_of(s.config, 3));
    read.push_back(session.bytes_read());
  }
  EXPECT_GT(read[1], read[0]);
}

TEST(Streaming, FileCutShortInARunIsThatRunsError) {
  const Stored s(moe_config(8, 2));
  const std::vector<float> image = planes_of(s.config, 3);
  std::vector<WeightIo> ways = streaming_ways(s);
  for (const WeightIo io : ways) {
    Session session = s.model.session({.threads = 2, .memory_budget = s.smallest, .io = io});
    const std::vector<float> want = run(session, s.model, "semseg", image);
    Rng rng(5);
    for (int i = 0; i < 20; ++i) {
      s.file.truncate(rng.below(s.file.bytes().size() * 3 / 4));  // before the heads
      EXPECT_THAT(error_of([&] { run(session, s.model, "semseg", image); }),
                  AllOf(HasSubstr(s.file.path().string()), HasSubstr("section '"), HasSubstr("the file's end")));
      s.file.restore();
      EXPECT_EQ(run(session, s.model, "semseg", image), want) << session.io();
    }
  }
  Session mapped = s.model.session({.io = WeightIo::kMmap});
  EXPECT_EQ(mapped.io(), "mmap");
  const std::vector<float> want = run(mapped, s.model, "semseg", image);
  s.file.truncate(4096);
  EXPECT_THAT(error_of([&] { run(mapped, s.model, "semseg", image); }), HasSubstr("cut short"));
  s.file.restore();
  EXPECT_EQ(run(mapped, s.model, "semseg", image), want);
}

TEST(Streaming, AlteredSectionIsTheErrorOfTheRunThatReadsIt) {
  const Stored s(moe_config(4, 4));  // every expert is used
  const std::vector<float> image = planes_of(s.config, 3);
  Session session = s.model.session({.threads = 1, .memory_budget = s.smallest});
  const std::vector<float> want = run(session, s.model, "depth", image);
  const M3vFile file = M3vFile::open(s.file.path());
  for (const M3vSection& section : file.sections()) {
    const bool anothers = section.name.ends_with("semseg") || section.name.ends_with("normals");
    const std::size_t at = section.offset + section.bytes.size() / 2;
    s.file.flip(at, 3);
    if (anothers) {
      EXPECT_EQ(run(session, s.model, "depth", image), want) << section.name;
    } else {
      EXPECT_THAT(error_of([&] { run(session, s.model, "depth", image); }),
                  AllOf(HasSubstr("section '" + section.name + "'"), HasSubstr("crc32c")));
    }
    s.file.put_back(at);
  }
  EXPECT_EQ(run(session, s.model, "depth", image), want);
}

/// Fails the reads whose number is `bad`, counted from the last arm().
class FaultyReader final : public SectionReader {
 public:
  struct Plan {
    int bad = -1;
    ReadResult result;
    int reads = 0;
  };
  FaultyReader(std::unique_ptr<SectionReader> inner, Plan& plan) : inner_(std::move(inner)), plan_(plan) {}
  void start(std::size_t ticket, const Request& request) override { inner_->start(ticket, request); }
  ReadResult wait(std::size_t ticket) override {
    const ReadResult real = inner_->wait(ticket);
    return plan_.reads++ == plan_.bad ? plan_.result : real;
  }
  std::string_view name() const override { return "faulty"; }

 private:
  std::unique_ptr<SectionReader> inner_;
  Plan& plan_;
};

TEST(Streaming, EveryFailedReadIsAnErrorAndTheSessionGoesOn) {
  const Stored s(moe_config(6, 2));
  const M3vFile file = M3vFile::open(s.file.path());
  const std::vector<float> image = planes_of(s.config, 3);
  FaultyReader::Plan plan;
  const SectionReaderFactory factory = [&](const ReadFile& source, std::size_t tickets) {
    return std::make_unique<FaultyReader>(make_pread_reader(source, tickets), plan);
  };
  for (const std::size_t budget : {s.smallest, s.smallest + s.smallest / 4}) {
    Engine engine(file, {.threads = 2, .memory_budget = budget}, nullptr, factory);
    std::vector<float> out(s.model.output_size("depth"));
    plan = {};
    const Engine::Frame frame{{}, image.data(), {out.data(), nullptr}};
    engine.run(0, {&frame, 1});
    const std::vector<float> want = out;
    const int reads = plan.reads;
    ASSERT_GT(reads, 4);
    for (int bad = 0; bad < reads; ++bad) {
      plan = {bad, bad % 2 == 0 ? ReadResult{0, EIO} : ReadResult{64, 0}, 0};
      EXPECT_THAT(
          error_of([&] {
            engine.run(0, {&frame, 1});
          }),
          AllOf(HasSubstr("section '"), AnyOf(HasSubstr("Input/output error"), HasSubstr("64, the file's end"))));
      plan = {};
      engine.run(0, {&frame, 1});
      EXPECT_EQ(out, want) << bad;
    }
  }
}

TEST(Streaming, SessionsOfOneModelRunSideBySide) {
  const Stored s(moe_config(8, 2));
  const std::vector<float> image = planes_of(s.config, 3);
  Session reference = s.model.session({.threads = 1});
  const std::vector<float> want = run(reference, s.model, "semseg", image);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const std::size_t budget = i == 0 ? 0 : s.smallest + static_cast<std::size_t>(i) * 4096;
      Session session =
          s.model.session({.threads = 1, .memory_budget = budget, .io = i == 3 ? WeightIo::kPread : WeightIo::kAuto});
      for (int frame = 0; frame < 20; ++frame) EXPECT_EQ(run(session, s.model, "semseg", image), want);
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace m3vit
