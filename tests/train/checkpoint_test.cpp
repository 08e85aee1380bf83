#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "core/error.h"
#include "model/network.h"
#include "tiny_config.h"
#include "train/optimizer.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class TrainStateFile : public testing::TestWithParam<Optimizer> {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("m3vit_checkpoint_test_" + std::to_string(getpid()));
    fs::create_directories(folder_);
    config_ = tiny_config({"semseg", "depth"});
  }
  void TearDown() override { fs::remove_all(folder_); }

  struct Objects {
    std::shared_ptr<NetworkImpl> network;
    std::unique_ptr<torch::optim::Optimizer> optimizer;
    std::unique_ptr<Ema> ema;
  };
  Objects make(std::uint64_t seed) {
    torch::manual_seed(seed);
    config_.train.optimizer = GetParam();
    Objects o;
    o.network = make_network(config_);
    o.optimizer = make_optimizer(*o.network, config_.train);
    o.ema = std::make_unique<Ema>(*o.network, 0.9);
    return o;
  }
  void steps(Objects& o, int count) {
    for (int i = 0; i < count; ++i) {
      torch::manual_seed(static_cast<std::uint64_t>(100 + i));
      o.network->zero_grad();
      o.network->forward_task(torch::randn({2, 3, 32, 32}), 1).raw.square().mean().backward();
      o.optimizer->step();
      o.ema->update(*o.network, i);
    }
  }
  static void expect_identical(const Objects& a, const Objects& b) {
    const auto pa = a.network->named_parameters(), pb = b.network->named_parameters();
    for (const auto& item : pa) EXPECT_TRUE(torch::equal(item.value(), pb[item.key()])) << item.key();
    const auto ba = a.network->named_buffers(), bb = b.network->named_buffers();
    for (const auto& item : ba) EXPECT_TRUE(torch::equal(item.value(), bb[item.key()])) << item.key();
    for (const auto& [name, t] : a.ema->averages()) EXPECT_TRUE(torch::equal(t, b.ema->averages().at(name))) << name;
    const auto sa = optimizer_state(*a.network, *a.optimizer), sb = optimizer_state(*b.network, *b.optimizer);
    ASSERT_EQ(sa.size(), sb.size());
    EXPECT_GT(sa.size(), 10U);
    for (const auto& [name, t] : sa) EXPECT_TRUE(torch::equal(t, sb.at(name))) << name;
  }

  fs::path folder_;
  Config config_;
};

TEST_P(TrainStateFile, RestoresWeightsBuffersAveragesAndOptimizerSoThatTrainingGoesOnBitForBit) {
  Objects a = make(1);
  steps(a, 3);
  save_train_state(folder_ / "last.optim", *a.network, *a.optimizer, a.ema.get(), config_, {{"step", 3}});
  Objects b = make(2);
  const TrainState state = load_train_state(folder_ / "last.optim");
  EXPECT_EQ(state.progress.at("step"), 3);
  EXPECT_EQ(state.config, to_json(config_));
  restore(state, *b.network, *b.optimizer, b.ema.get());
  expect_identical(a, b);
  steps(a, 2);
  steps(b, 2);
  expect_identical(a, b);
}

TEST_P(TrainStateFile, IsRefusedByNameWhenItIsOfAnotherNetwork) {
  Objects a = make(1);
  save_train_state(folder_ / "last.optim", *a.network, *a.optimizer, a.ema.get(), config_, nlohmann::json::object());
  config_.model.embed_dim = 24;
  Objects b = make(1);
  try {
    restore(load_train_state(folder_ / "last.optim"), *b.network, *b.optimizer, b.ema.get());
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("last.optim"));
    EXPECT_THAT(e.what(), HasSubstr("param/"));
  }
}

TEST_P(TrainStateFile, EveryTruncationIsAnError) {
  Objects a = make(1);
  steps(a, 1);
  const fs::path path = folder_ / "last.optim";
  save_train_state(path, *a.network, *a.optimizer, nullptr, config_, nlohmann::json::object());
  const auto size = fs::file_size(path);
  for (const std::uintmax_t keep : {std::uintmax_t{0}, std::uintmax_t{5}, size / 3, size / 2, size - 1}) {
    fs::resize_file(path, keep);
    EXPECT_THROW(load_train_state(path), Error) << keep;
    save_train_state(path, *a.network, *a.optimizer, nullptr, config_, nlohmann::json::object());
  }
  EXPECT_THROW(load_train_state(folder_ / "none"), Error);
}

INSTANTIATE_TEST_SUITE_P(Optimizers, TrainStateFile, testing::Values(Optimizer::kSgd, Optimizer::kAdamw),
                         [](const auto& param) { return param.param == Optimizer::kSgd ? "sgd" : "adamw"; });

TEST(Resumable, NamesTheKeyThatWouldChangeTheRun) {
  const Config before = tiny_config();
  Config after = before;
  after.train.lr = 0.5;
  try {
    check_resumable(to_json(before), to_json(after), "--resume");
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.parts().field, "train.lr");
    EXPECT_THAT(e.what(), HasSubstr("0.5"));
  }
  after = before;
  after.tasks[1].loss_weight = 3;
  EXPECT_THROW(check_resumable(to_json(before), to_json(after), "--resume"), Error);
}

TEST(Resumable, WarnsWhereOnlyTheScheduleOrBitsChangeAndIsSilentElsewhere) {
  const Config before = tiny_config();
  Config after = before;
  after.train.epochs = 50;
  EXPECT_THAT(check_resumable(to_json(before), to_json(after), "x"), ElementsAre(HasSubstr("train.epochs")));
  after = before;
  after.train.threads = 2;
  EXPECT_THAT(check_resumable(to_json(before), to_json(after), "x"), ElementsAre(HasSubstr("train.threads")));
  after = before;
  after.data.workers = 7;
  after.train.eval_every = 3;
  after.eval.edge_thresholds = 9;
  EXPECT_THAT(check_resumable(to_json(before), to_json(after), "x"), testing::IsEmpty());
}

TEST(OptimizerGroups, AdamwLeavesNormsBiasesAndPositionsUndecayedAndSgdDecaysAll) {
  const auto network = make_network(tiny_config());
  int decayed = 0;
  for (const auto& item : network->named_parameters()) {
    EXPECT_TRUE(is_decayed(Optimizer::kSgd, item.key(), item.value()));
    const bool yes = is_decayed(Optimizer::kAdamw, item.key(), item.value());
    decayed += yes ? 1 : 0;
    for (const char* plain : {"bias", "norm1", "norm2", ".norm.", "pos_embed", "cls_token"}) {
      if (item.key().find(plain) != std::string::npos) {
        EXPECT_FALSE(yes) << item.key();
      }
    }
  }
  EXPECT_GT(decayed, 10);
}

TEST(EmaOfWeights, FollowsTheRecurrenceAndSwapUndoesItself) {
  torch::nn::Linear net(1, 1);
  const torch::NoGradGuard no_grad;
  net->weight.fill_(0);
  Ema ema(*net, 0.5);
  double expected = 0;
  for (int step = 0; step < 20; ++step) {
    net->weight.fill_(step);
    const double d = std::min(0.5, (1.0 + step) / (10.0 + step));
    expected = d * expected + (1 - d) * step;
    ema.update(*net, step);
  }
  EXPECT_NEAR(ema.averages().at("weight").item<double>(), expected, 1e-5);
  {
    const EmaScope scope(&ema, *net);
    EXPECT_NEAR(net->weight.item<double>(), expected, 1e-5);
  }
  EXPECT_EQ(net->weight.item<double>(), 19);
}

}  // namespace
}  // namespace m3vit
