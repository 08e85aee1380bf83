// `m3vit train` and `import` from outside: a training of a few steps, and each mistake once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace m3vit::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kRecipe = R"(
model: {image_size: [32, 48], embed_dim: 12, depth: 2, num_heads: 2, mlp_ratio: 2,
        moe: {num_experts: 4, top_k: 2}, head: {channels: 8}}
tasks: [{name: depth}, {name: sal}]
data: {train: {frames: 6}, test: {frames: 2}}
train: {epochs: 2, batch_size: 2, optimizer: adamw, lr: 1.0e-3, eval_every: 0}
)";

class Training : public testing::Test {
 protected:
  void SetUp() override { write_text(file("recipe.yaml"), kRecipe); }
  std::string file(const std::string& name) const { return scratch_ / name; }
  Outcome train(std::vector<std::string> more) const {
    std::vector<std::string> arguments{"train", file("recipe.yaml"), "--out", file("run")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  const Scratch scratch_;
};

TEST_F(Training, LeavesARunThatTheOtherCommandsRead) {
  const Outcome o = train({"--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const auto document = o.json();
  EXPECT_EQ(document["end"], "finished");
  EXPECT_EQ(document["step"], 6);
  EXPECT_TRUE(document["metrics"]["depth"].contains("rmse"));
  for (const char* name : {"config.yaml", "log.jsonl", "epochs.csv", "last.safetensors", "last.optim", "curves.svg"}) {
    EXPECT_TRUE(fs::exists(file(std::string("run/") + name))) << name;
  }
  EXPECT_EQ(run({"inspect", file("run/config.yaml"), "--json"}).json()["params"],
            run({"inspect", file("run/last.safetensors"), "--json"}).json()["params"]);
  const Outcome model = run({"eval", file("run/last.safetensors"), "--json"});
  ASSERT_EQ(model.exit_code, 0) << model.err;
  ASSERT_EQ(run({"export", file("run/last.safetensors"), "-o", file("model.m3v")}).exit_code, 0);
  const Outcome runtime = run({"eval", file("model.m3v"), "--json"});
  ASSERT_EQ(runtime.exit_code, 0) << runtime.err;
  EXPECT_NEAR(model.json()["metrics"]["depth"]["rmse"].get<double>(),
              runtime.json()["metrics"]["depth"]["rmse"].get<double>(), 1e-4);
  EXPECT_EQ(run({"compare", file("run"), "--json"}).exit_code, 0);
}

TEST_F(Training, AUsedRunFolderIsLeftAlone) {
  ASSERT_EQ(train({"--steps", "1"}).exit_code, 0);
  const std::string before = read_text(file("run/last.safetensors"));
  const Outcome o = train({});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, AllOf(HasSubstr("an unused run folder"), HasSubstr("--resume")));
  EXPECT_EQ(read_text(file("run/last.safetensors")), before);
}

TEST_F(Training, ResumeWithAnotherRecipeIsRefused) {
  ASSERT_EQ(train({"--steps", "1"}).exit_code, 0);
  const Outcome o = train({"--resume", "--set", "model.embed_dim=24"});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, AllOf(HasSubstr("embed_dim"), HasSubstr("12"), HasSubstr("24")));
}

TEST_F(Training, DivergenceNamesStepTaskAndTheLastGoodCheckpoint) {
  ASSERT_EQ(train({"--steps", "1"}).exit_code, 0);
  const std::string before = read_text(file("run/last.safetensors"));
  const Outcome o = train({"--overwrite", "--set", "train.lr=1000", "--set", "train.optimizer=sgd", "--set",
                           "train.epochs=40", "--set", "tasks.0.loss_weight=1e6"});
  EXPECT_EQ(o.exit_code, 1);
  EXPECT_THAT(o.err, AllOf(HasSubstr("training diverged"), HasSubstr("at step"), HasSubstr("checkpoint")));
}

TEST_F(Training, CudaThatIsNotThereIsAnError) {
  const Outcome o = train({"--set", "train.device=cuda", "--steps", "1"});
  if (o.exit_code == 0) GTEST_SKIP() << "this machine has CUDA";
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, AllOf(HasSubstr("train.device"), HasSubstr("cuda")));
}

TEST_F(Training, ImportListsWhatIsMissingAndUnexpected) {
  Config config = tiny_config();
  write_model(file("other.safetensors"), config);
  const Outcome o = run({"import", file("other.safetensors"), "-o", file("x.safetensors"), "--config",
                         file("recipe.yaml"), "--set", "model.moe.num_experts=8"});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, HasSubstr("backbone.blocks.1.mlp.gate.0.w_gate"));
  EXPECT_FALSE(fs::exists(file("x.safetensors")));
}

TEST_F(Training, ImportOfAFileThatIsNoCheckpoint) {
  write_text(file("x.pth"), "not a zip");
  const Outcome o = run({"import", file("x.pth"), "-o", file("x.safetensors"), "--config", file("recipe.yaml")});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, HasSubstr("x.pth"));
}

}  // namespace
}  // namespace m3vit::cli_test
