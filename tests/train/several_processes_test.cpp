// One recipe trained by one process and by two: the same loss curve, also when the two are stopped from
// outside and go on.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "local_ranks.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Everything that could depend on who does the work: random numbers, clipping, EMA, experts' balance, two
/// micro-batches a step.
constexpr const char* kRecipe = R"(
model: {image_size: [32, 32], patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2, mlp_ratio: 2, drop_path: 0.1,
        moe: {num_experts: 4, top_k: 2, expert_hidden: 16, noise_std: 1.0}, head: {channels: 8, stages: 3}}
tasks: [{name: semseg}, {name: depth}, {name: sal}]
data: {train: {frames: 40}, test: {frames: 4}, workers: 1, augment: {flip: 0.5, rotate: 5}}
train: {epochs: 4, batch_size: 4, accumulate: 2, optimizer: adamw, lr: 1.0e-3, schedule: cosine, ema: 0.9,
        clip_norm: 1.0, threads: 1, eval_every: 2, save_every: 3}
)";

class SeveralProcesses : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("m3vit_ranks_test_" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream(folder_ / "recipe.yaml") << kRecipe;
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// Starts `size` ranks with these arguments after the recipe.
  std::vector<pid_t> start(int size, const std::string& run, std::vector<std::string> more) const {
    const std::string port = std::to_string(free_port());
    return fork_ranks(size, [&](int rank) {
      const int log = open((folder_ / ("log" + std::to_string(rank))).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(log, 1);
      dup2(log, 2);
      setenv("RANK", std::to_string(rank).c_str(), 1);
      setenv("WORLD_SIZE", std::to_string(size).c_str(), 1);
      setenv("MASTER_ADDR", "127.0.0.1", 1);
      setenv("MASTER_PORT", port.c_str(), 1);
      std::vector<std::string> words{M3VIT_PROGRAM, "train", (folder_ / "recipe.yaml").string(), "--out",
                                     (folder_ / run).string()};
      words.insert(words.end(), more.begin(), more.end());
      std::vector<char*> argv;
      for (std::string& w : words) argv.push_back(w.data());
      argv.push_back(nullptr);
      execv(M3VIT_PROGRAM, argv.data());
      return 127;
    });
  }
  std::string text(const std::string& name) const {
    std::ifstream in(folder_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string logs() const { return text("log0") + text("log1"); }

  std::vector<json> records(const std::string& run, const std::string& type) const {
    std::ifstream in(folder_ / run / "log.jsonl");
    std::vector<json> result;
    for (std::string line; std::getline(in, line);) {
      json r = json::parse(line);
      if (r.at("type") == type) result.push_back(r);
    }
    return result;
  }
  /// Loss by loss, gradient length by gradient length; weights and experts' use at the end.
  void expect_same_training(const std::string& a, const std::string& b) const {
    for (const char* type : {"step", "epoch"}) {
      const std::vector<json> ra = records(a, type), rb = records(b, type);
      ASSERT_EQ(ra.size(), rb.size());
      ASSERT_FALSE(ra.empty());
      for (std::size_t i = 0; i < ra.size(); ++i) {
        EXPECT_EQ(ra[i]["step"], rb[i]["step"]);
        EXPECT_NEAR(ra[i]["loss"], rb[i]["loss"], 1e-4 * ra[i]["loss"].get<double>()) << ra[i]["step"];
        for (const auto& [task, loss] : ra[i]["losses"].items()) {
          EXPECT_NEAR(loss, rb[i]["losses"][task], 1e-3 * std::abs(loss.get<double>())) << task << " " << ra[i]["step"];
        }
        if (ra[i].contains("grad_norm")) {
          EXPECT_NEAR(ra[i]["grad_norm"], rb[i]["grad_norm"], 1e-3 * ra[i]["grad_norm"].get<double>());
        }
        if (ra[i].contains("routing")) {
          for (const char* task : {"semseg", "depth"}) {
            const json& la = ra[i]["routing"][0]["tasks"][task]["load"];
            const json& lb = rb[i]["routing"][0]["tasks"][task]["load"];
            for (std::size_t e = 0; e < la.size(); ++e) EXPECT_NEAR(la[e], lb[e], 0.01);
          }
        }
      }
    }
    const SafetensorsFile fa = SafetensorsFile::open(folder_ / a / "last.optim");
    const SafetensorsFile fb = SafetensorsFile::open(folder_ / b / "last.optim");
    for (const TensorView& t : fa.tensors()) {
      if (!t.name.starts_with("param/")) continue;
      const TensorView& other = fb.get(t.name);
      ASSERT_EQ(t.bytes.size(), other.bytes.size());
      for (std::size_t i = 0; i + sizeof(float) <= t.bytes.size(); i += sizeof(float)) {
        float x = 0, y = 0;
        std::memcpy(&x, t.bytes.data() + i, sizeof x);
        std::memcpy(&y, other.bytes.data() + i, sizeof y);
        ASSERT_NEAR(x, y, 2e-3) << t.name;  // a step of AdamW is 1e-3 whatever the gradient's size
      }
    }
  }

  fs::path folder_;
};

TEST_F(SeveralProcesses, TwoTrainAsOne) {
  ASSERT_EQ(wait_for(start(1, "one", {}))[0], 0) << logs();
  const std::vector<int> codes = wait_for(start(2, "two", {}));
  if (text("log0").find("no Gloo") != std::string::npos) GTEST_SKIP() << "no Gloo in this build";
  ASSERT_THAT(codes, testing::Each(0)) << logs();
  expect_same_training("one", "two");
  EXPECT_TRUE(fs::exists(folder_ / "two" / "contact.png"));
  EXPECT_EQ(text("log1").find("semseg"), std::string::npos) << "rank 0 speaks for all: " << text("log1");

  // Half of it by two, the rest by one: who goes on does not matter either.
  ASSERT_THAT(wait_for(start(2, "mixed", {"--steps", "8"})), testing::Each(0)) << logs();
  ASSERT_EQ(wait_for(start(1, "mixed", {"--resume"}))[0], 0) << logs();
  expect_same_training("one", "mixed");
}

TEST_F(SeveralProcesses, AnInterruptionOfOneRankSavesAndEndsAllAndTheRunGoesOn) {
  const std::vector<pid_t> children = start(2, "two", {"--set", "train.epochs=400"});
  for (int i = 0; i < 3000 && records("two", "epoch").empty() && waitpid(children[0], nullptr, WNOHANG) == 0; ++i) {
    usleep(20000);
  }
  if (text("log0").find("no Gloo") != std::string::npos) {
    wait_for(children);
    GTEST_SKIP() << "no Gloo in this build";
  }
  kill(children[1], SIGINT);
  ASSERT_THAT(wait_for(children), testing::Each(0)) << logs();
  EXPECT_TRUE(fs::exists(folder_ / "two" / "last.optim"));
  EXPECT_THAT(text("log0"), testing::HasSubstr("interrupted"));
  ASSERT_THAT(wait_for(start(2, "two", {"--set", "train.epochs=400", "--resume", "--steps", "2"})), testing::Each(0))
      << logs();
}

TEST_F(SeveralProcesses, ARecipeThatCannotBeSharedOutSaysSo) {
  for (const int code : wait_for(start(2, "odd", {"--set", "train.accumulate=3"}))) EXPECT_EQ(code, 2);
  EXPECT_THAT(text("log0"), testing::HasSubstr("train.accumulate"));
  for (const int code : wait_for(start(2, "odd", {"--set", "train.weighting.method=dwa"}))) EXPECT_EQ(code, 2);
  EXPECT_THAT(text("log1"), testing::HasSubstr("train.weighting.method"));
}

}  // namespace
}  // namespace m3vit
