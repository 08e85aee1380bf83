/// Slow: the budget kept by a real process, and damage to a streamed file by the thousand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/config_codec.h"
#include "core/rng.h"
#include "runtime/random_weights.h"
#include "runtime/small_config.h"
#include "runtime/stored_case.h"

namespace m3vit {
namespace {

using testing::planes_of;
using testing::run;
using testing::StoredFile;

nlohmann::json probe(const std::string& arguments) {
  std::FILE* pipe = ::popen((std::string(M3VIT_PROBE) + " " + arguments).c_str(), "r");
  std::string text;
  char part[256];
  while (std::fgets(part, sizeof part, pipe) != nullptr) text += part;
  EXPECT_EQ(::pclose(pipe), 0) << text;
  return nlohmann::json::parse(text);
}

TEST(Budget, IsKeptByTheProcess) {
  Config config;
  apply_preset("small", config.model);
  config.tasks = {{"semseg", 40, 1.0}};
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("m3vit_memory_" + std::to_string(::getpid()) + ".m3v");
  {
    std::ofstream out(path, std::ios::binary);
    pack_model(config, testing::random_weights_source(config), {.dtype = Precision::kBf16}, out, path.string());
  }
  const auto idle = probe("").at("peak").get<double>();
  constexpr double kMiB = 1024.0 * 1024.0;
  // The whole small frame at 512² in 16 MiB, and other budgets on the way to all-resident.
  for (const double budget : {16.0, 24.0, 48.0, 200.0}) {
    const nlohmann::json found =
        probe(path.string() + " semseg " + std::to_string(static_cast<std::size_t>(budget * kMiB)));
    const double used = found.at("peak").get<double>() - idle;
    const auto planned = found.at("planned").get<double>();
    std::printf("budget %.0f MiB: planned %.2f, measured %.2f MiB, %.1f MiB read a frame by %s\n", budget,
                planned / kMiB, used / kMiB, found.at("read").get<double>() / 2 / kMiB,
                found.at("io").get<std::string>().c_str());
    EXPECT_LE(planned, budget * kMiB);
    EXPECT_LE(used, budget * kMiB + std::max(2 * kMiB, 0.05 * budget * kMiB));
    EXPECT_NEAR(used, planned, std::max(2 * kMiB, 0.05 * planned));
  }
  std::filesystem::remove(path);
}

TEST(Damage, TenThousandFlippedBitsAndAHundredCutsAreErrorsOrHarmless) {
  const Config config = testing::small_config();
  const StoredFile file(testing::packed(config, naive::random_weights(config, 1)));
  const std::vector<float> image = planes_of(config, 1);
  const auto all = [&](const Model& model, Session& session) {
    std::vector<float> out;
    for (const TaskInfo& task : model.tasks()) {
      const std::vector<float> one = run(session, model, task.name, image);
      out.insert(out.end(), one.begin(), one.end());
    }
    return out;
  };
  const Model model = Model::open(file.path());
  const std::size_t smallest = model.session({.threads = 1}).memory().smallest;
  Session running = model.session({.threads = 1, .memory_budget = smallest});
  const std::vector<float> want = all(model, running);
  Rng rng(4);
  int refused = 0;
  const auto check = [&](const std::function<std::vector<float>()>& result) {
    try {
      EXPECT_EQ(result(), want);
    } catch (const Error& e) {
      ++refused;
      EXPECT_THAT(e.what(), ::testing::HasSubstr(file.path().string()));
    }
  };
  const auto opened = [&] {
    const Model fresh = Model::open(file.path());
    Session session = fresh.session({.threads = 1, .memory_budget = smallest, .io = WeightIo::kPread});
    return all(fresh, session);
  };
  for (int i = 0; i < 10000; ++i) {
    const std::size_t at = rng.below(file.bytes().size());
    file.flip(at, static_cast<int>(rng.below(8)));
    check([&] { return all(model, running); });  // under a session that streams
    if (i % 4 == 0) check(opened);               // before it is opened
    file.put_back(at);
  }
  EXPECT_GT(refused, 500);  // most of so small a file is padding
  refused = 0;
  for (int i = 0; i < 100; ++i) {
    file.truncate(rng.below(file.bytes().size()));
    check([&] { return all(model, running); });
    check(opened);
    file.restore();
  }
  EXPECT_GT(refused, 100);
  EXPECT_EQ(all(model, running), want);
}

}  // namespace
}  // namespace m3vit
