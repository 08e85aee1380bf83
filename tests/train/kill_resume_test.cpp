// The built program, killed and interrupted from outside: whatever the moment, resuming ends with the weights of an
// undisturbed run.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/rng.h"
#include "core/safetensors.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kRecipe = R"(
model: {image_size: [32, 32], patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2, mlp_ratio: 2, drop_path: 0.1,
        moe: {num_experts: 4, top_k: 2, expert_hidden: 16, noise_std: 1.0}, head: {channels: 8, stages: 3}}
tasks: [{name: semseg}, {name: depth}]
data: {train: {frames: 40}, test: {frames: 4}, workers: 1}
train: {epochs: 10, batch_size: 4, optimizer: adamw, lr: 1.0e-3, schedule: cosine, ema: 0.9, threads: 1,
        eval_every: 2, save_every: 3}
)";

class Process {
 public:
  Process(const std::vector<std::string>& arguments, const fs::path& log) {
    pid_ = fork();
    if (pid_ != 0) return;
    const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(file, 1);
    dup2(file, 2);
    std::vector<char*> argv{const_cast<char*>(M3VIT_PROGRAM)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(M3VIT_PROGRAM, argv.data());
    _exit(127);
  }
  void send(int signal) const { kill(pid_, signal); }
  /// Exit code, or 128 + signal.
  int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = 0;
};

class KilledTraining : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("m3vit_kill_test_" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream(folder_ / "recipe.yaml") << kRecipe;
    const auto start = Clock::now();
    ASSERT_EQ(start_training("whole", "--overwrite").wait(), 0) << text(folder_ / "log.txt");
    seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
  }
  void TearDown() override { fs::remove_all(folder_); }

  Process start_training(const std::string& run, const std::string& flag) const {
    return {{"train", (folder_ / "recipe.yaml").string(), "--out", (folder_ / run).string(), flag},
            folder_ / "log.txt"};
  }
  static std::string text(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void expect_same_as_whole(const std::string& run) const {
    for (const char* name : {"last.safetensors", "best.safetensors", "last.optim"}) {
      const SafetensorsFile a = SafetensorsFile::open(folder_ / "whole" / name);
      const SafetensorsFile b = SafetensorsFile::open(folder_ / run / name);
      ASSERT_EQ(a.tensors().size(), b.tensors().size());
      for (const TensorView& t : a.tensors()) {
        ASSERT_TRUE(std::ranges::equal(t.bytes, b.get(t.name).bytes)) << name << " " << t.name;
      }
    }
  }

  fs::path folder_;
  double seconds_ = 0;
};

TEST_F(KilledTraining, TwentyKillsAtRandomMomentsEndWithTheUndisturbedWeights) {
  const std::uint64_t seed = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  SCOPED_TRACE("seed " + std::to_string(seed));
  Rng rng(seed);
  int kills = 0;
  std::string flag = "--overwrite";
  while (kills < 20) {
    const Process p = start_training("killed", flag);
    flag = "--resume";
    std::this_thread::sleep_for(std::chrono::duration<double>(rng.uniform(0.0, 0.6 * seconds_)));
    p.send(SIGKILL);
    const int code = p.wait();
    if (code == 128 + SIGKILL) {
      ++kills;
    } else {  // done before it could be killed: check, and kill another run for the rest
      ASSERT_EQ(code, 0) << text(folder_ / "log.txt");
      expect_same_as_whole("killed");
      flag = "--overwrite";
    }
  }
  ASSERT_EQ(start_training("killed", "--resume").wait(), 0) << text(folder_ / "log.txt");
  expect_same_as_whole("killed");
}

TEST_F(KilledTraining, CtrlCAndSigtermSaveExitWithZeroAndSayHowToGoOn) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string run = "stopped" + std::to_string(signal);
    const Process p = start_training(run, "--overwrite");
    const auto deadline = Clock::now() + std::chrono::seconds(60);
    const fs::path log = folder_ / run / "log.jsonl";
    // steps are being made: the handler is certainly in place
    while ((!fs::exists(log) || fs::file_size(log) == 0) && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    p.send(signal);
    ASSERT_EQ(p.wait(), 0);
    EXPECT_THAT(text(folder_ / "log.txt"), testing::HasSubstr("--resume"));
    ASSERT_EQ(start_training(run, "--resume").wait(), 0) << text(folder_ / "log.txt");
    expect_same_as_whole(run);
  }
}

}  // namespace
}  // namespace m3vit
