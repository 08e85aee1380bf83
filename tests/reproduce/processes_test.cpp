#include "reproduce/processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/error.h"

namespace m3vit {
namespace {

using testing::HasSubstr;

bool never() { return false; }

/// What the parent saw.
struct Seen {
  std::set<std::size_t> finished;
  std::vector<int> messages;
  int running = 0, most = 0;

  ProcessEvents events() {
    ProcessEvents e;
    e.started = [this](std::size_t) { most = std::max(most, ++running); };
    e.message = [this](std::size_t, const nlohmann::json& m) { messages.push_back(m.at("value").get<int>()); };
    e.finished = [this](std::size_t i) {
      finished.insert(i);
      --running;
    };
    return e;
  }
};

TEST(Processes, EachPieceOfWorkIsDoneOnceSeveralAtATimeAndItsMessagesArrive) {
  Seen seen;
  const ProcessesEnd end = run_processes(
      7, 3,
      [](std::size_t i, const Send& send) {
        send({{"value", i}, {"text", std::string(100000, 'x')}});  // more than a pipe holds
        return true;
      },
      seen.events(), never);
  EXPECT_FALSE(end.interrupted);
  EXPECT_TRUE(end.failures.empty());
  EXPECT_EQ(seen.finished.size(), 7U);
  EXPECT_THAT(seen.messages, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_EQ(seen.most, 3);
}

TEST(Processes, AChildThatFailsOrIsKilledIsNamedAndTheOthersGoOn) {
  Seen seen;
  const ProcessesEnd end = run_processes(
      4, 2,
      [](std::size_t i, const Send&) {
        if (i == 1) throw std::runtime_error("diverged");
        if (i == 2) raise(SIGKILL);
        return true;
      },
      seen.events(), never);
  EXPECT_THAT(seen.finished, testing::ElementsAre(0, 3));
  ASSERT_EQ(end.failures.size(), 2U);
  for (const auto& [index, what] : end.failures) EXPECT_THAT(what, HasSubstr(index == 1 ? "diverged" : "Killed"));
}

TEST(Processes, TheCallersMistakeInAChildStopsAllAndArrivesWhole) {
  Seen seen;
  try {
    run_processes(
        100, 2,
        [](std::size_t i, const Send&) -> bool {
          if (i == 1) throw Error{{.where = "a.yaml:3:4", .field = "f", .wanted = "w", .found = "x", .hint = "h"}};
          usleep(10000);
          return true;
        },
        seen.events(), never);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.parts().where, "a.yaml:3:4");
    EXPECT_EQ(e.parts().hint, "h");
  }
  EXPECT_LT(seen.finished.size(), 99U);
}

volatile sig_atomic_t g_asked = 0;

TEST(Processes, AnInterruptionReachesTheChildrenWhoMaySaveFirst) {
  signal(SIGTERM, [](int) { g_asked = 1; });
  Seen seen;
  const ProcessesEnd end = run_processes(
      5, 2,
      [](std::size_t i, const Send& send) {
        send({{"value", i}});
        while (g_asked == 0) usleep(1000);
        send({{"value", 100}});  // what it saves
        return false;
      },
      seen.events(), [&] { return seen.messages.size() >= 2; });
  signal(SIGTERM, SIG_DFL);
  EXPECT_TRUE(end.interrupted);
  EXPECT_TRUE(seen.finished.empty());
  EXPECT_THAT(seen.messages, testing::UnorderedElementsAre(0, 1, 100, 100));
}

}  // namespace
}  // namespace m3vit
