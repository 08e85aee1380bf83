// The convolutional rivals: shapes and counts from their definitions, and each reduced to plain ResNets.
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "core/model_cost.h"
#include "model/baselines/encoders.h"
#include "model/baselines/rival.h"
#include "model/weights.h"

namespace m3vit {
namespace {

using torch::Tensor;

Config rival(Sharing sharing, int depth = 18, int width = 8) {
  Config c;
  c.model.moe.reset();
  c.model.image_size = {32, 48};
  c.model.patch_size = 8;
  c.model.head = {.channels = 8, .stages = 3};
  c.model.resnet = ResnetConfig{.depth = depth, .width = width, .sharing = sharing};
  c.tasks = {{"semseg", 5, 1.0}, {"depth", 1, 1.0}, {"edge", 1, 1.0}};
  return c;
}

constexpr Sharing kAll[] = {Sharing::kShared, Sharing::kCrossStitch, Sharing::kNddrCnn, Sharing::kMtan};

class Rivals : public testing::TestWithParam<std::tuple<Sharing, int>> {
 protected:
  Config config() const { return rival(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(Rivals, HoldTheTensorsAndParametersThatTheirConfigPromises) {
  const Config c = config();
  validate(c, {});
  const auto network = make_network(c);
  std::map<std::string, std::vector<std::int64_t>> want, got;
  for (const TensorSpec& t : expected_tensors(c)) want.emplace(t.name, t.shape);
  for (const auto& [name, tensor] : named_tensors(*network)) got.emplace(name, tensor.sizes().vec());
  EXPECT_EQ(got, want);
  std::int64_t params = 0;
  for (const Tensor& p : network->parameters()) params += p.numel();
  EXPECT_EQ(model_cost(c).params, params);
}

TEST_P(Rivals, GiveEveryTaskAMapOfImageSizeAndAGradient) {
  const Config c = config();
  torch::manual_seed(1);
  const auto network = make_network(c);
  const Tensor images = torch::randn({2, 3, 32, 48});
  for (int t = 0; t < 3; ++t) {
    network->zero_grad();
    const Tensor raw = network->forward_task(images, t).raw;
    EXPECT_EQ(raw.sizes().vec(), (std::vector<std::int64_t>{2, c.tasks[static_cast<std::size_t>(t)].outputs, 32, 48}));
    raw.square().sum().backward();
    double norm = 0;
    for (const auto& item : network->named_parameters()) {
      if (item.key().find("conv1.weight") != std::string::npos && item.value().grad().defined()) {
        norm += item.value().grad().norm().item<double>();
      }
    }
    EXPECT_GT(norm, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Rivals, testing::Combine(testing::ValuesIn(kAll), testing::Values(18, 50)));

TEST(Rival, ResnetsHaveThePublishedNumberOfParameters) {
  const auto count = [](int depth) {
    std::int64_t n = 0;
    Resnet resnet(ResnetConfig{.depth = depth});
    for (const Tensor& p : resnet->parameters()) n += p.numel();
    return n;
  };
  EXPECT_EQ(count(18), 11'689'512 - 513'000);  // torchvision's, without the 1000-class layer
  EXPECT_EQ(count(50), 25'557'032 - 2'049'000);
}

TEST(Rival, ResnetMacsOfTheSharedEncoderByHand) {
  Config c = rival(Sharing::kShared, 18, 64);
  c.model.image_size = {64, 64};
  const TaskCost cost = model_cost(c).tasks.front();
  // 64×64: stem at 32² (7²·3·64), stage 1 at 16², the rest at 8²; two 3×3 convolutions a block, 1×1 where channels
  // grow.
  const auto stage = [](std::int64_t pixels, std::int64_t in, std::int64_t out) {
    return pixels * (9 * in * out + 3 * 9 * out * out + (in == out ? 0 : in * out));
  };
  const std::int64_t want =
      32 * 32 * 49 * 3 * 64 + stage(256, 64, 64) + stage(64, 64, 128) + stage(64, 128, 256) + stage(64, 256, 512);
  EXPECT_EQ(cost.linear, want);
}

TEST(Rival, CrossStitchAndNddrRunEveryTasksEncoderForOneTaskAndMtanOne) {
  const std::int64_t one = model_cost(rival(Sharing::kShared)).tasks.front().linear;
  for (const Sharing s : {Sharing::kCrossStitch, Sharing::kNddrCnn}) {
    EXPECT_GT(model_cost(rival(s)).tasks.front().linear, 3 * one);
  }
  const std::int64_t mtan = model_cost(rival(Sharing::kMtan)).tasks.front().linear;
  EXPECT_GT(mtan, one);
  EXPECT_LT(mtan, 3 * one);
}

/// The encoders of a mixed network, one task's at a time, from their own weights.
Tensor alone(const MultiTaskEncoderImpl& mixed, const std::string& prefix, const ResnetConfig& config,
             const Tensor& images) {
  Resnet resnet(config);
  const torch::NoGradGuard no_grad;
  const auto parameters = mixed.named_parameters();
  for (auto& item : resnet->named_parameters()) item.value().copy_(parameters[prefix + item.key()]);
  const auto buffers = mixed.named_buffers();
  for (auto& item : resnet->named_buffers()) item.value().copy_(buffers[prefix + item.key()]);
  resnet->eval();
  return resnet->forward(images);
}

TEST(Rival, MixturesThatKeepTasksApartAreSeparateResnets) {
  torch::manual_seed(2);
  const torch::NoGradGuard no_grad;
  const Tensor images = torch::randn({2, 3, 32, 48});
  for (const Sharing sharing : {Sharing::kCrossStitch, Sharing::kNddrCnn}) {
    const ResnetConfig config = *rival(sharing).model.resnet;
    const auto mixed = make_encoder(config, 3);
    mixed->eval();  // fresh BN statistics: the identity up to eps
    for (auto& item : mixed->named_parameters()) {
      Tensor p = item.value();
      if (item.key().starts_with("cross_stitch")) {
        for (int to = 0; to < 3; ++to) {
          for (int from = 0; from < 3; ++from) p[to][from].fill_(to == from ? 1.0 : 0.0);
        }
      } else if (item.key().starts_with("nddr_conv")) {  // "nddr_conv_S.T.weight"
        const int t = std::stoi(item.key().substr(item.key().find('.') + 1));
        const std::int64_t channels = p.size(0);
        p.zero_();
        p.narrow(1, t * channels, channels).copy_(torch::eye(channels).reshape({channels, channels, 1, 1}));
      }
    }
    const Tensor maps = mixed->forward(images);
    for (int t = 0; t < 3; ++t) {
      const Tensor want = alone(*mixed, "encoders." + std::to_string(t) + ".", config, images);
      EXPECT_TRUE(torch::allclose(maps[t], want, 1e-3, 1e-3)) << t;
    }
    EXPECT_FALSE(torch::allclose(maps[0], maps[1]));
  }
}

TEST(Rival, CrossStitchIsTheLinearCombinationOfItsParameters) {
  torch::manual_seed(3);
  const torch::NoGradGuard no_grad;
  const ResnetConfig config = *rival(Sharing::kCrossStitch).model.resnet;
  const auto mixed = make_encoder(config, 2);
  mixed->eval();
  // All stages but the last keep the tasks apart; the last mixes ¼ and ¾.
  for (auto& item : mixed->named_parameters()) {
    if (!item.key().starts_with("cross_stitch")) continue;
    const bool last = item.key() == "cross_stitch_3";
    for (int to = 0; to < 2; ++to) {
      for (int from = 0; from < 2; ++from) {
        item.value()[to][from].fill_(last ? (to == from ? 0.25 : 0.75) : (to == from ? 1.0 : 0.0));
      }
    }
  }
  const Tensor images = torch::randn({1, 3, 32, 48});
  const Tensor a = alone(*mixed, "encoders.0.", config, images), b = alone(*mixed, "encoders.1.", config, images);
  EXPECT_TRUE(torch::allclose(mixed->forward(images)[0], 0.25 * a + 0.75 * b, 1e-4, 1e-4));
}

TEST(Rival, AttentionThatLetsEverythingThroughIsTheSharedResnet) {
  torch::manual_seed(4);
  const torch::NoGradGuard no_grad;
  const ResnetConfig config = *rival(Sharing::kMtan).model.resnet;
  const auto mtan = make_encoder(config, 2);
  mtan->eval();
  const Tensor images = torch::randn({1, 3, 32, 48});
  const Tensor want = alone(*mtan, "encoder.", config, images);
  EXPECT_FALSE(torch::allclose(mtan->forward(images)[0], want));
  for (auto& item : mtan->named_parameters()) {
    if (item.key() == "attend_3.0.4.bias") item.value().fill_(50.0);  // sigmoid(50) = 1, for task 0
  }
  const Tensor maps = mtan->forward(images);
  EXPECT_TRUE(torch::allclose(maps[0], want));
  EXPECT_FALSE(torch::allclose(maps[1], want));
}

TEST(Rival, ConfigurationsThatCannotBeAreRefusedByKey) {
  const auto refused = [](const Config& c, const std::string& key) {
    try {
      validate(c, {});
      ADD_FAILURE() << key;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
    }
  };
  Config c = rival(Sharing::kMtan, 34);
  refused(c, "model.resnet.depth");
  c = rival(Sharing::kMtan);
  c.model.moe = MoeConfig{};
  refused(c, "model.moe");
  c = rival(Sharing::kMtan);
  c.model.patch_size = 16;
  refused(c, "model.patch_size");
}

}  // namespace
}  // namespace m3vit
