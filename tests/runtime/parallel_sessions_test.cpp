/// Sessions of one model in several threads at once: the results of each alone. Under tsan also: no data race.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "core/rng.h"
#include "m3vit/m3vit.h"
#include "runtime/packed_case.h"

namespace m3vit {
namespace {

struct Shared {
  Config config = naive::random_config(21);
  std::vector<std::byte> file = testing::packed(config, naive::random_weights(config, 21));
  Model model = Model::from_bytes(file, "test.m3v");
  std::vector<float> image = testing::floats(naive::random_image(config, 5));
  std::vector<std::vector<float>> alone;

  Shared() {
    Session session = Model::from_bytes(file, "test.m3v").session({.threads = 1});
    for (const TaskInfo& task : model.tasks()) alone.push_back(testing::run(session, model, task.name, image));
  }
};

TEST(ParallelSessions, EachThreadsOwnSessionGivesWhatItGivesAlone) {
  const Shared shared;
  ASSERT_GE(shared.model.tasks().size(), 2U);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  // Sessions are made inside the threads: the first check of the weights is a race of its own.
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&shared, &wrong, t] {
      Session session = shared.model.session({.threads = 1 + static_cast<int>(t % 3), .keep_routing = true});
      Rng rng(t);
      for (int i = 0; i < 8; ++i) {
        const std::size_t task = rng.below(shared.alone.size());
        const std::vector<float> got =
            testing::run(session, shared.model, shared.model.tasks()[task].name, shared.image);
        if (got != shared.alone[task]) ++wrong;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ParallelSessions, ThroughTheCInterfaceWithErrorsInBetween) {
  const Shared shared;
  m3vit_model* model = nullptr;
  ASSERT_EQ(m3vit_model_open_memory(shared.file.data(), shared.file.size(), "test.m3v", &model), M3VIT_OK);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      m3vit_session* session = nullptr;
      wrong += m3vit_session_create(model, nullptr, &session) != M3VIT_OK;
      const std::string nonsense = "nonsense" + std::to_string(t);
      for (std::size_t i = 0; i < 6; ++i) {
        const std::size_t task = i % shared.alone.size();
        std::vector<float> out(shared.alone[task].size());
        const m3vit_status failed = m3vit_session_run_planes(session, nonsense.c_str(), shared.image.data(),
                                                             shared.image.size(), out.data(), out.size());
        wrong += failed != M3VIT_ERROR_ARGUMENT;
        wrong += std::string(m3vit_last_error()).find("found " + nonsense) == std::string::npos;
        wrong += m3vit_session_run_planes(session, shared.model.tasks()[task].name.c_str(), shared.image.data(),
                                          shared.image.size(), out.data(), out.size()) != M3VIT_OK;
        wrong += out != shared.alone[task];
      }
      m3vit_session_destroy(session);
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  m3vit_model_close(model);
}

}  // namespace
}  // namespace m3vit
