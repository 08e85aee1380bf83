/// The C ABI: the C++ API's results and refusals through plain pointers, statuses and messages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/version.h"
#include "m3vit/m3vit.h"
#include "runtime/packed_case.h"
#include "runtime/small_config.h"

namespace m3vit {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A model with two MoE blocks and three tasks; a picture.
struct CApi : ::testing::Test {
  CApi() {
    config.model.moe->num_experts = 5;
    config.tasks = {{"depth", 1, 1.0}, {"semseg", 7, 1.0}, {"normals", 3, 1.0}};
    file = testing::packed(config, naive::random_weights(config, 3));
    for (std::size_t i = 0; i < 3 * 16 * 24; ++i) rgb.push_back(static_cast<std::uint8_t>(i * 37 + i / 5));
    picture.data = rgb.data();
    picture.height = 16;
    picture.width = 24;
    EXPECT_EQ(m3vit_model_open_memory(file.data(), file.size(), "small.m3v", &model), M3VIT_OK) << m3vit_last_error();
  }
  ~CApi() override {
    m3vit_session_destroy(session);
    m3vit_model_close(model);
  }
  CApi(const CApi&) = delete;
  CApi& operator=(const CApi&) = delete;

  void create(const m3vit_session_options* options = nullptr) {
    ASSERT_EQ(m3vit_session_create(model, options, &session), M3VIT_OK) << m3vit_last_error();
  }
  std::vector<float> run(const char* task) {
    std::size_t floats = 0;
    EXPECT_EQ(m3vit_model_output_floats(model, task, &floats), M3VIT_OK);
    std::vector<float> out(floats);
    EXPECT_EQ(m3vit_session_run(session, task, &picture, out.data(), out.size()), M3VIT_OK) << m3vit_last_error();
    return out;
  }
  std::vector<float> run_in_cpp(const std::string& task) const {
    const Model cpp = Model::from_bytes(file, "small.m3v");
    Session of_cpp = cpp.session();
    std::vector<float> out(cpp.output_size(task));
    of_cpp.run(task, RgbView{rgb.data(), 16, 24}, out);
    return out;
  }

  Config config = testing::small_config(16, 24, 8, 12, 4);
  std::vector<std::byte> file;
  std::vector<std::uint8_t> rgb;
  m3vit_rgb picture = M3VIT_RGB_INIT;
  m3vit_model* model = nullptr;
  m3vit_session* session = nullptr;
};

TEST_F(CApi, SaysWhatItIs) {
  EXPECT_EQ(m3vit_abi_version(), M3VIT_ABI_VERSION);
  EXPECT_EQ(m3vit_version(), kVersion);
  const std::vector<std::string_view> names = isas();
  ASSERT_EQ(m3vit_isa_count(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(m3vit_isa_name(i), names[i]);
  EXPECT_EQ(m3vit_isa_name(names.size()), nullptr);
}

TEST_F(CApi, DescribesTheModel) {
  EXPECT_EQ(m3vit_model_height(model), 16);
  EXPECT_EQ(m3vit_model_width(model), 24);
  EXPECT_EQ(m3vit_model_patch_size(model), 8);
  EXPECT_STREQ(m3vit_model_dtype(model), "f32");
  EXPECT_THAT(m3vit_model_config(model), HasSubstr("\"embed_dim\":12"));
  ASSERT_EQ(m3vit_model_task_count(model), 3U);
  m3vit_task_info info = M3VIT_TASK_INFO_INIT;
  ASSERT_EQ(m3vit_model_task(model, 1, &info), M3VIT_OK);
  EXPECT_STREQ(info.name, "semseg");
  EXPECT_EQ(info.channels, 7);
  EXPECT_EQ(info.output_floats, 7U * 16 * 24);
  EXPECT_EQ(m3vit_model_task(model, 3, &info), M3VIT_ERROR_ARGUMENT);
}

TEST_F(CApi, RunsEveryTaskAsTheCppApiAndOutlivesItsModel) {
  create();
  const std::vector<float> depth = run_in_cpp("depth");
  EXPECT_EQ(run("depth"), depth);
  EXPECT_EQ(run("semseg"), run_in_cpp("semseg"));
  m3vit_model_close(model);
  model = nullptr;
  std::vector<float> again(depth.size());
  ASSERT_EQ(m3vit_session_run(session, "depth", &picture, again.data(), again.size()), M3VIT_OK);
  EXPECT_EQ(again, depth);
}

TEST_F(CApi, RunsPlanesAndSeveralTasksOfOneFrame) {
  m3vit_session_options options = M3VIT_SESSION_OPTIONS_INIT;
  options.share_prefix = 1;
  options.threads = 2;
  create(&options);
  EXPECT_EQ(m3vit_session_threads(session), 2);
  std::vector<float> semseg(7U * 16 * 24);
  std::vector<float> depth(16U * 24);
  const char* const tasks[] = {"semseg", "depth"};
  float* const outs[] = {semseg.data(), depth.data()};
  const std::size_t floats[] = {semseg.size(), depth.size()};
  ASSERT_EQ(m3vit_session_run_tasks(session, tasks, 2, &picture, outs, floats), M3VIT_OK) << m3vit_last_error();
  EXPECT_EQ(semseg, run_in_cpp("semseg"));
  EXPECT_EQ(depth, run_in_cpp("depth"));

  const std::vector<float> planes = testing::floats(naive::random_image(config, 1));
  std::vector<float> want(16U * 24);
  const Model cpp = Model::from_bytes(file, "small.m3v");
  cpp.session().run("depth", planes, want);
  ASSERT_EQ(m3vit_session_run_planes(session, "depth", planes.data(), planes.size(), depth.data(), depth.size()),
            M3VIT_OK);
  EXPECT_EQ(depth, want);
}

TEST_F(CApi, GivesClassesOfPictureAndPlanes) {
  create();
  const std::vector<float> logits = run("semseg");
  std::vector<std::uint8_t> classes(16U * 24);
  ASSERT_EQ(m3vit_session_run_classes(session, "semseg", &picture, classes.data(), classes.size()), M3VIT_OK);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    std::size_t best = 0;
    for (std::size_t c = 1; c < 7; ++c) {
      if (logits[c * classes.size() + i] > logits[best * classes.size() + i]) best = c;
    }
    ASSERT_EQ(classes[i], best) << i;
  }
  const std::vector<float> planes = testing::floats(naive::random_image(config, 1));
  std::vector<std::uint8_t> want(classes.size());
  const Model cpp = Model::from_bytes(file, "small.m3v");
  cpp.session().run_classes("semseg", planes, want);
  ASSERT_EQ(
      m3vit_session_run_classes_planes(session, "semseg", planes.data(), planes.size(), classes.data(), classes.size()),
      M3VIT_OK);
  EXPECT_EQ(classes, want);
  EXPECT_EQ(m3vit_session_run_classes(session, "depth", &picture, classes.data(), classes.size()),
            M3VIT_ERROR_ARGUMENT);
  EXPECT_THAT(m3vit_last_error(), HasSubstr("a task of 2"));
  EXPECT_EQ(m3vit_session_run_classes(session, "semseg", &picture, classes.data(), 7), M3VIT_ERROR_ARGUMENT);
  EXPECT_THAT(m3vit_last_error(), HasSubstr("want 384 bytes, found 7"));
}

TEST_F(CApi, RunsPicturesTogether) {
  m3vit_session_options options = M3VIT_SESSION_OPTIONS_INIT;
  options.batch = 2;
  create(&options);
  std::vector<std::uint8_t> dark(rgb.size(), 3);
  m3vit_rgb other = picture;
  other.data = dark.data();
  const m3vit_rgb* const pictures[] = {&picture, &other, &picture};
  std::vector<float> a(run("depth").size()), b = a;
  float* const outs[] = {a.data(), b.data(), a.data()};
  ASSERT_EQ(m3vit_session_run_batch(session, "depth", pictures, 2, outs, a.size()), M3VIT_OK) << m3vit_last_error();
  EXPECT_EQ(a, run("depth"));
  EXPECT_NE(a, b);
  picture.data = dark.data();
  EXPECT_EQ(b, run("depth"));

  std::vector<std::uint8_t> classes(16 * 24), want = classes, ignored = classes;
  std::uint8_t* const maps[] = {ignored.data(), classes.data()};
  const m3vit_rgb* const swapped[] = {&other, &picture};
  ASSERT_EQ(m3vit_session_run_batch_classes(session, "semseg", swapped, 2, maps, classes.size()), M3VIT_OK);
  ASSERT_EQ(m3vit_session_run_classes(session, "semseg", &picture, want.data(), want.size()), M3VIT_OK);
  EXPECT_EQ(classes, want);

  EXPECT_EQ(m3vit_session_run_batch(session, "depth", pictures, 3, outs, a.size()), M3VIT_ERROR_ARGUMENT);
  EXPECT_THAT(m3vit_last_error(), HasSubstr("1 … 2"));
  EXPECT_EQ(m3vit_session_run_batch(session, "depth", pictures, 0, outs, a.size()), M3VIT_ERROR_ARGUMENT);
  EXPECT_EQ(m3vit_session_run_batch(session, "depth", nullptr, 1, outs, a.size()), M3VIT_ERROR_ARGUMENT);
  float* const missing[] = {nullptr};
  EXPECT_EQ(m3vit_session_run_batch(session, "depth", pictures, 1, missing, a.size()), M3VIT_ERROR_ARGUMENT);
  EXPECT_EQ(m3vit_session_run_batch(session, "depth", pictures, 1, outs, 1), M3VIT_ERROR_ARGUMENT);
}

TEST_F(CApi, TellsRoutingTimesAndMemory) {
  m3vit_session_options options = M3VIT_SESSION_OPTIONS_INIT;
  options.keep_routing = 1;
  options.keep_times = 1;
  options.schedule = M3VIT_SCHEDULE_TOKEN_ORDER;
  options.isa = "scalar";
  create(&options);
  EXPECT_STREQ(m3vit_session_isa(session), "scalar");
  run("normals");
  ASSERT_EQ(m3vit_session_routing_count(session), 2U);
  m3vit_routing routing = M3VIT_ROUTING_INIT;
  ASSERT_EQ(m3vit_session_routing(session, 1, &routing), M3VIT_OK);
  EXPECT_EQ(routing.block, 3);
  EXPECT_EQ(routing.tokens, 7);
  EXPECT_EQ(routing.top_k, 2);
  for (int i = 0; i < routing.tokens; ++i) {
    EXPECT_LT(routing.experts[2 * i], 5);
    EXPECT_GE(routing.weights[2 * i], routing.weights[2 * i + 1]);
  }
  EXPECT_EQ(m3vit_session_routing(session, 2, &routing), M3VIT_ERROR_ARGUMENT);
  m3vit_times times = M3VIT_TIMES_INIT;
  ASSERT_EQ(m3vit_session_times(session, &times), M3VIT_OK);
  EXPECT_GT(times.attention, 0.0);
  EXPECT_GT(times.total, times.attention);
  m3vit_memory memory = M3VIT_MEMORY_INIT;
  ASSERT_EQ(m3vit_session_memory(session, &memory), M3VIT_OK);
  EXPECT_GT(memory.arena, 0U);
  EXPECT_EQ(memory.total, memory.arena + memory.weights);
  EXPECT_GT(memory.smallest, 0U);
  const double* seconds = nullptr;
  std::size_t count = 0;
  ASSERT_EQ(m3vit_session_task_times(session, &seconds, &count), M3VIT_OK);
  ASSERT_GE(count, 1U);
  EXPECT_GT(seconds[0], 0.0);
  EXPECT_STREQ(m3vit_session_io(session), "memory");
  EXPECT_EQ(m3vit_session_bytes_read(session), 0U);
}

TEST_F(CApi, RefusesTheCallersMistakesWithAMessage) {
  create();
  std::vector<float> out(16U * 24);
  const auto refused = [](m3vit_status status, const char* said) {
    EXPECT_EQ(status, M3VIT_ERROR_ARGUMENT) << said;
    EXPECT_THAT(m3vit_last_error(), HasSubstr(said));
  };
  refused(m3vit_session_run(session, "smell", &picture, out.data(), out.size()), "one of depth, semseg, normals");
  refused(m3vit_session_run(session, "depth", &picture, out.data(), out.size() - 1), "want 384 floats, found 383");
  refused(m3vit_session_run(session, "depth", nullptr, out.data(), out.size()), "picture: want a pointer");
  refused(m3vit_session_run(nullptr, "depth", &picture, out.data(), out.size()), "session: want a pointer");
  refused(m3vit_session_run(session, nullptr, &picture, out.data(), out.size()), "task: want a pointer");
  refused(m3vit_session_run(session, "depth", &picture, nullptr, out.size()), "out: want a pointer");
  picture.height = 17;
  refused(m3vit_session_run(session, "depth", &picture, out.data(), out.size()), "want 16 × 24 RGB, found 17 × 24");
  picture.height = 16;
  picture.size = 3;
  refused(m3vit_session_run(session, "depth", &picture, out.data(), out.size()), "picture.size");
  refused(m3vit_session_run_tasks(session, nullptr, 1, &picture, nullptr, nullptr), "tasks: want a pointer");

  m3vit_session* other = session;
  m3vit_session_options options = M3VIT_SESSION_OPTIONS_INIT;
  options.isa = "abacus";
  refused(m3vit_session_create(model, &options, &other), "abacus");
  EXPECT_EQ(other, nullptr);
  options.isa = nullptr;
  options.schedule = 3;
  refused(m3vit_session_create(model, &options, &other), "options.schedule");
  options.schedule = 0;
  options.head_form = 3;
  refused(m3vit_session_create(model, &options, &other), "options.head_form");
  options.head_form = 0;
  options.threads = -1;
  refused(m3vit_session_create(model, &options, &other), "threads");
  options.threads = 0;
  options.io = 9;
  refused(m3vit_session_create(model, &options, &other), "options.io");
  options.io = M3VIT_IO_AUTO;
  options.memory_budget = 1;
  EXPECT_EQ(m3vit_session_create(model, &options, &other), M3VIT_ERROR_RESOURCE);
  EXPECT_THAT(m3vit_last_error(), HasSubstr("memory budget"));
  refused(m3vit_session_create(nullptr, nullptr, &other), "model");
  refused(m3vit_session_create(model, nullptr, nullptr), "session");
  m3vit_model_close(nullptr);
  m3vit_session_destroy(nullptr);
}

TEST_F(CApi, FileErrorsAreOfTheFile) {
  m3vit_model* other = model;
  EXPECT_EQ(m3vit_model_open("no/such.m3v", &other), M3VIT_ERROR_FILE);
  EXPECT_EQ(other, nullptr);
  EXPECT_THAT(m3vit_last_error(), StartsWith("no/such.m3v"));
  EXPECT_EQ(m3vit_model_open_memory(file.data(), 100, "cut.m3v", &other), M3VIT_ERROR_FILE);
  EXPECT_THAT(m3vit_last_error(), StartsWith("cut.m3v"));
  EXPECT_EQ(m3vit_model_open_memory(nullptr, 100, "none.m3v", &other), M3VIT_ERROR_ARGUMENT);
  std::vector<std::byte> altered = file;
  altered.back() ^= std::byte{1};
  ASSERT_EQ(m3vit_model_open_memory(altered.data(), altered.size(), "altered.m3v", &other), M3VIT_OK);
  EXPECT_EQ(m3vit_session_create(other, nullptr, &session), M3VIT_ERROR_FILE);
  EXPECT_THAT(m3vit_last_error(), HasSubstr("damaged"));
  m3vit_model_close(other);
}

/// A program built against an older, shorter or a newer, longer header.
TEST_F(CApi, StructuresMayBeShorterOrLonger) {
  struct Longer {
    m3vit_session_options known;
    std::size_t news;
  };
  Longer longer{M3VIT_SESSION_OPTIONS_INIT, 0};
  longer.known.size = sizeof longer;
  create(&longer.known);
  longer.news = 1;
  m3vit_session* other = nullptr;
  EXPECT_EQ(m3vit_session_create(model, &longer.known, &other), M3VIT_ERROR_ARGUMENT);
  EXPECT_THAT(m3vit_last_error(), HasSubstr("a newer one"));

  struct LongerInfo {
    m3vit_task_info known;
    std::size_t news;
  };
  LongerInfo info{M3VIT_TASK_INFO_INIT, 7};
  info.known.size = sizeof info;
  ASSERT_EQ(m3vit_model_task(model, 0, &info.known), M3VIT_OK);
  EXPECT_EQ(info.news, 0U);
  EXPECT_EQ(info.known.size, sizeof info);

  m3vit_memory memory = M3VIT_MEMORY_INIT;
  memory.size = offsetof(m3vit_memory, total);
  memory.total = 77;
  ASSERT_EQ(m3vit_session_memory(session, &memory), M3VIT_OK);
  EXPECT_GT(memory.arena, 0U);
  EXPECT_EQ(memory.total, 77U);
}

TEST_F(CApi, ErrorsBelongToTheirThread) {
  ASSERT_EQ(m3vit_model_output_floats(model, "here", nullptr), M3VIT_ERROR_ARGUMENT);
  const std::string here = m3vit_last_error();
  std::string there = "unset";
  std::thread([&] {
    there = m3vit_last_error();
    std::size_t floats = 0;
    EXPECT_EQ(m3vit_model_output_floats(model, "there", &floats), M3VIT_ERROR_ARGUMENT);
  }).join();
  EXPECT_EQ(there, "");
  EXPECT_EQ(m3vit_last_error(), here);
}

TEST_F(CApi, LongMessageIsCutBetweenCharacters) {
  std::string name;
  for (int i = 0; i < 2000; ++i) name += "é";
  std::size_t floats = 0;
  EXPECT_EQ(m3vit_model_output_floats(model, name.c_str(), &floats), M3VIT_ERROR_ARGUMENT);
  const std::string said = m3vit_last_error();
  EXPECT_LT(said.size(), 1024U);
  EXPECT_GT(said.size(), 1000U);
  EXPECT_EQ(said.substr(said.size() - 2), "é");
}

}  // namespace
}  // namespace m3vit
