/// A session's promise: after Model::session nothing is allocated. Every way to the C library's heap is counted, in
/// every thread, so that no container, no exception's text and no worker escapes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "m3vit/m3vit.h"
#include "runtime/packed_case.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0};
void note() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

// glibc's own functions under their other names; operator new comes here, too.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* p, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept {
  note();
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  note();
  return __libc_calloc(count, bytes);
}
void* realloc(void* p, std::size_t bytes) noexcept {
  note();
  return __libc_realloc(p, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  note();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept { return memalign(alignment, bytes); }
int posix_memalign(void** p, std::size_t alignment, std::size_t bytes) noexcept {
  *p = memalign(alignment, bytes);
  return *p == nullptr ? ENOMEM : 0;
}
}

namespace m3vit {
namespace {

template <class F>
std::size_t allocations_of(const F& f) {
  allocations.store(0);
  counting.store(true);
  f();
  counting.store(false);
  return allocations.load();
}

void* volatile escaped = nullptr;  // a compiler may leave out a pair of new and delete that nobody sees

TEST(Counter, SeesEveryWayToTheHeap) {
  EXPECT_EQ(allocations_of([] {}), 0U);
  EXPECT_EQ(allocations_of([] {
              auto* bytes = new char[100];
              escaped = bytes;
              delete[] bytes;
            }),
            1U);
  EXPECT_EQ(allocations_of([] {
              escaped = ::operator new(64, std::align_val_t{64});
              ::operator delete(escaped, std::align_val_t{64});
            }),
            1U);
  EXPECT_EQ(allocations_of([] {
              std::vector<int> v(3);
              escaped = v.data();
            }),
            1U);
  EXPECT_EQ(allocations_of([] {
              escaped = std::calloc(3, 5);
              void* const longer = std::realloc(escaped, 1000);
              escaped = longer;
              std::free(escaped);
            }),
            2U);
}

/// Random configurations walk through every gate, dense models, pruning, windows and odd sizes.
class Allocation : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  Config config = naive::random_config(GetParam());
  Model model = Model::from_bytes(testing::packed(config, naive::random_weights(config, GetParam())), "test.m3v");
  std::vector<float> planes = testing::floats(naive::random_image(config, 1));
  std::vector<std::uint8_t> rgb = std::vector<std::uint8_t>(planes.size(), 90);
  std::vector<std::uint8_t> classes = std::vector<std::uint8_t>(planes.size() / 3);
  RgbView picture{rgb.data(), model.height(), model.width()};

  std::vector<std::vector<float>> outputs() const {
    std::vector<std::vector<float>> all;
    for (const TaskInfo& task : model.tasks()) all.emplace_back(model.output_size(task.name));
    return all;
  }
};

TEST_P(Allocation, RunsAllocateNothing) {
  for (const MoeSchedule schedule : {MoeSchedule::kExpertOrder, MoeSchedule::kTokenOrder, MoeSchedule::kDense}) {
    for (const int threads : {1, 3}) {
      Session session = model.session({.threads = threads,
                                       .schedule = schedule,
                                       .keep_routing = true,
                                       .share_prefix = threads == 3,
                                       .keep_times = true,
                                       .batch = 2});
      std::vector<std::vector<float>> outs = outputs();
      std::vector<std::string_view> names;
      std::vector<std::span<float>> spans;
      for (std::size_t t = 0; t < outs.size(); ++t) {
        names.emplace_back(model.tasks()[t].name);
        spans.emplace_back(outs[t]);
      }
      std::vector<float> second(model.output_size(names[0]));
      const std::span<float> two_outs[] = {outs[0], second};
      const RgbView two_pictures[] = {picture, picture};
      const std::span<const float> two_planes[] = {planes, planes};
      EXPECT_EQ(allocations_of([&] {
                  for (int round = 0; round < 2; ++round) {
                    session.run_batch(names[0], two_pictures, two_outs);
                    session.run_batch(names[0], two_planes, two_outs);
                    for (std::size_t t = 0; t < outs.size(); ++t) {
                      session.run(names[t], planes, outs[t]);
                      session.run(names[t], picture, outs[t]);
                      if (model.tasks()[t].channels < 2) continue;
                      session.run_classes(names[t], planes, classes);
                      session.run_classes(names[t], picture, classes);
                    }
                    session.run(names, picture, spans);
                    session.run(names, planes, spans);
                  }
                }),
                0U)
          << "schedule " << static_cast<int>(schedule) << " threads " << threads;
    }
  }
}

TEST_P(Allocation, RunsThatStreamTheirWeightsAllocateNothing) {
  const std::string path = ::testing::TempDir() + "allocation_test." + std::to_string(::getpid()) + ".m3v";
  const std::vector<std::byte> bytes = testing::packed(config, naive::random_weights(config, GetParam()));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  const Model file = Model::open(path);
  const std::size_t smallest = file.session({.threads = 2}).memory().smallest;
  for (const WeightIo io : {WeightIo::kAuto, WeightIo::kPread}) {
    Session session = file.session({.threads = 2, .memory_budget = smallest, .io = io});
    EXPECT_GT(session.memory().streamed, 0U);
    std::vector<std::vector<float>> outs = outputs();
    EXPECT_EQ(allocations_of([&] {
                for (int round = 0; round < 2; ++round) {
                  for (std::size_t t = 0; t < outs.size(); ++t) session.run(model.tasks()[t].name, picture, outs[t]);
                }
              }),
              0U)
        << session.io();
    EXPECT_GT(session.bytes_read(), 0U);
  }
  std::filesystem::remove(path);
}

TEST_P(Allocation, RunsThroughTheCInterfaceAllocateNothing) {
  const std::vector<std::byte> file = testing::packed(config, naive::random_weights(config, GetParam()));
  m3vit_model* c_model = nullptr;
  m3vit_session* session = nullptr;
  m3vit_session_options options = M3VIT_SESSION_OPTIONS_INIT;
  options.keep_routing = 1;
  options.threads = 2;
  options.batch = 2;
  ASSERT_EQ(m3vit_model_open_memory(file.data(), file.size(), "test.m3v", &c_model), M3VIT_OK);
  ASSERT_EQ(m3vit_session_create(c_model, &options, &session), M3VIT_OK);
  m3vit_rgb view = M3VIT_RGB_INIT;
  view.data = rgb.data();
  view.height = model.height();
  view.width = model.width();
  std::vector<std::vector<float>> outs = outputs();
  std::vector<const char*> names;
  std::vector<float*> pointers;
  std::vector<std::size_t> floats;
  for (std::size_t t = 0; t < outs.size(); ++t) {
    names.push_back(model.tasks()[t].name.c_str());
    pointers.push_back(outs[t].data());
    floats.push_back(outs[t].size());
  }
  int fine = 0;
  int expected = 2 * static_cast<int>(outs.size()) + 2;
  std::vector<float> second(outs[0].size());
  const m3vit_rgb* const two_views[] = {&view, &view};
  float* const two_outs[] = {pointers[0], second.data()};
  EXPECT_EQ(allocations_of([&] {
              for (std::size_t t = 0; t < outs.size(); ++t) {
                fine += m3vit_session_run(session, names[t], &view, pointers[t], floats[t]) == M3VIT_OK;
                fine += m3vit_session_run_planes(session, names[t], planes.data(), planes.size(), pointers[t],
                                                 floats[t]) == M3VIT_OK;
                if (model.tasks()[t].channels < 2) continue;
                expected += 2;
                fine += m3vit_session_run_classes(session, names[t], &view, classes.data(), classes.size()) == M3VIT_OK;
                fine += m3vit_session_run_classes_planes(session, names[t], planes.data(), planes.size(),
                                                         classes.data(), classes.size()) == M3VIT_OK;
              }
              fine += m3vit_session_run_batch(session, names[0], two_views, 2, two_outs, floats[0]) == M3VIT_OK;
              fine += m3vit_session_run_tasks(session, names.data(), names.size(), &view, pointers.data(),
                                              floats.data()) == M3VIT_OK;
            }),
            0U);
  EXPECT_EQ(fine, expected);
  m3vit_session_destroy(session);
  m3vit_model_close(c_model);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Allocation, ::testing::Range<std::uint64_t>(0, 6));

}  // namespace
}  // namespace m3vit
