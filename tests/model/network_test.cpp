// The whole network against the naive reference, and what training relies on.
#include "model/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/model_cost.h"
#include "model/attention.h"
#include "model/model_testing.h"
#include "model/weights.h"
#include "reference/random_model.h"

namespace m3vit {
namespace {

using testing::HasSubstr;
using testing_model::randomise;
using testing_model::relative_error;
using testing_model::small_config;

/// A float64 network holding the reference's weights, in eval mode.
std::shared_ptr<NetworkImpl> network_of(const Config& config, const naive::Weights& weights) {
  auto network = make_network(config);
  network->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : named_tensors(*network)) {
    const naive::Tensor& t = weights.get(name);
    torch::Tensor target = tensor;
    target.copy_(torch::tensor(t.data, torch::kDouble).view(t.shape));
  }
  network->eval();
  network->keep_routing(true);
  return network;
}

TEST(Network, HoldsExactlyTheTensorsThatItsConfigPromises) {
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    const Config config = naive::random_config(seed);
    std::map<std::string, std::vector<std::int64_t>> want, got;
    for (const TensorSpec& t : expected_tensors(config)) want.emplace(t.name, t.shape);
    for (const auto& [name, tensor] : named_tensors(*make_network(config))) got.emplace(name, tensor.sizes().vec());
    EXPECT_EQ(got, want) << "seed " << seed;
  }
}

TEST(Network, EqualsTheNaiveReferenceForRandomConfigurations) {
  const torch::NoGradGuard no_grad;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const naive::RandomCase c = naive::random_case(seed, /*margin=*/2e-5);
    const auto network = network_of(c.config, c.weights);
    const torch::Tensor image = torch::tensor(c.image, torch::kDouble).view({1, 3, c.config.model.height(), -1});
    for (std::size_t t = 0; t < c.config.tasks.size(); ++t) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " task " + std::to_string(t));
      const naive::Result& want = c.results[t];
      const TaskOutput got = network->forward_task(image, static_cast<int>(t));
      ASSERT_EQ(got.raw.sizes().vec(), (std::vector<int64_t>{1, want.channels, want.height, want.width}));
      EXPECT_LE(relative_error(got.raw.flatten(), torch::tensor(want.raw, torch::kDouble)), 1e-9);
      EXPECT_NEAR(got.balance_loss.item<double>(), want.balance_loss, 1e-9 * (1.0 + want.balance_loss));
      ASSERT_EQ(got.indices.size(), want.routing.size());
      for (std::size_t layer = 0; layer < want.routing.size(); ++layer) {
        const naive::Routing& r = want.routing[layer];
        EXPECT_EQ(got.routing[layer].block, r.block);
        for (std::size_t token = 0; token < r.experts.size(); ++token) {
          for (std::size_t k = 0; k < r.experts[token].size(); ++k) {
            const auto i = static_cast<int64_t>(token), j = static_cast<int64_t>(k);
            EXPECT_EQ(got.indices[layer][i][j].item<int64_t>(), r.experts[token][k]);
            EXPECT_NEAR(got.weights[layer][i][j].item<double>(), r.weights[token][k], 1e-9);
          }
        }
      }
    }
    network->to(torch::kFloat);
    for (std::size_t t = 0; t < c.config.tasks.size(); ++t) {
      const TaskOutput got = network->forward_task(image.to(torch::kFloat), static_cast<int>(t));
      EXPECT_LE(relative_error(got.raw.flatten(), torch::tensor(c.results[t].raw, torch::kDouble)), 1e-4)
          << "f32, seed " << seed << " task " << t;
    }
  }
}

TEST(Network, SharedPrefixServesEveryTaskAndSamplesDoNotMix) {
  torch::manual_seed(3);
  const auto network = make_network(small_config());
  randomise(*network, 0.2);
  network->eval();
  const torch::NoGradGuard no_grad;
  const torch::Tensor images = torch::randn({3, 3, 32, 48});
  const torch::Tensor prefix = network->prefix(images);
  for (int t = 0; t < 2; ++t) {
    const torch::Tensor all = network->task_pass(prefix, t).raw;
    EXPECT_TRUE(all.equal(network->forward_task(images, t).raw));
    const torch::Tensor one = network->forward_task(images.narrow(0, 1, 1), t).raw;
    EXPECT_LE(relative_error(all.narrow(0, 1, 1), one), 1e-5);
  }
}

TEST(Network, JointGradientIsTheSumOfTheTasksGradients) {
  Config config = small_config();
  config.model.moe->gate = Gate::kTaskConditioned;
  torch::manual_seed(5);
  const auto network = make_network(config);
  network->to(torch::kDouble);
  const torch::Tensor images = torch::randn({2, 3, 32, 48}, torch::kDouble);
  const auto loss = [&](const torch::Tensor& prefix, int t) {
    const TaskOutput o = network->task_pass(prefix, t);
    return o.raw.square().mean() + 0.01 * o.balance_loss;
  };
  const auto gradients = [&] {
    std::map<std::string, torch::Tensor> g;
    for (const auto& p : network->named_parameters()) g[p.key()] = p.value().grad().clone();
    network->zero_grad();
    return g;
  };
  torch::Tensor prefix = network->prefix(images);
  (loss(prefix, 0) + loss(prefix, 1)).backward();
  const auto joint = gradients();
  for (int t = 0; t < 2; ++t) loss(network->prefix(images), t).backward();
  for (const auto& [name, g] : gradients()) {
    EXPECT_LE((g - joint.at(name)).abs().max().item<double>(), 1e-12 + 1e-9 * g.abs().max().item<double>()) << name;
  }
}

TEST(Network, EvalUsesStoredBatchNormStatisticsAndLeavesThemAlone) {
  const auto network = make_network(small_config());
  const auto mean = [&] { return named_tensors(*network).at("decoders.depth.syncbn_fc_1.running_mean").clone(); };
  const torch::Tensor images = torch::randn({2, 3, 32, 48}), before = mean();
  network->eval();
  network->forward_task(images, 1);
  EXPECT_TRUE(mean().equal(before));
  network->train();
  network->forward_task(images, 1);
  EXPECT_FALSE(mean().equal(before));
}

TEST(DropPath, KeepsTheExpectationPerSample) {
  torch::manual_seed(1);
  const torch::Tensor x = torch::ones({20000, 2, 3});
  const torch::Tensor y = drop_path(x, 0.3, /*training=*/true);
  const torch::Tensor per_sample = y.view({20000, 6});
  EXPECT_TRUE(per_sample.eq(per_sample.narrow(1, 0, 1)).all().item<bool>());  // all or nothing
  EXPECT_NEAR(y.max().item<double>(), 1.0 / 0.7, 1e-6);
  EXPECT_NEAR(y.mean().item<double>(), 1.0, 4.0 * std::sqrt(0.3 / 0.7 / 20000));  // four standard errors
  EXPECT_TRUE(drop_path(x, 0.3, /*training=*/false).equal(x));
}

TEST(DropPath, GrowsLinearlyOverTheDepthFromZero) {
  Config config = small_config();
  config.model.moe.reset();
  config.model.depth = 1;
  config.model.drop_path = 0.9;
  torch::manual_seed(2);
  const auto network = make_network(config);
  const torch::Tensor images = torch::randn({8, 3, 32, 48});
  const torch::Tensor first = network->prefix(images);
  EXPECT_TRUE(first.equal(network->prefix(images)));  // the first block's rate is 0
  config.model.depth = 2;
  const auto deeper = make_network(config);
  EXPECT_FALSE(deeper->prefix(images).equal(deeper->prefix(images)));
}

TEST(Network, TaskAffinityModulesPredictInTrainingOnlyAndAreNotPublished) {
  Config config = small_config();
  config.model.tam = true;
  config.model.image_size = {24, 40};  // 3 × 5 patches: odd maps through the strided hourglass
  const auto network = make_network(config);
  const torch::Tensor prefix = network->prefix(torch::randn({2, 3, 24, 40}));
  std::vector<TaskOutput> outputs{network->task_pass(prefix, 0), network->task_pass(prefix, 1)};
  const auto extra = network->auxiliary(outputs);
  ASSERT_EQ(extra.size(), 2U);  // after stages 1 and 2
  torch::Tensor loss = torch::zeros({});
  for (const auto& stage : extra) {
    ASSERT_EQ(stage.size(), 2U);
    EXPECT_EQ(stage[0].sizes().vec(), (std::vector<int64_t>{2, 5, 24, 40}));
    EXPECT_EQ(stage[1].sizes().vec(), (std::vector<int64_t>{2, 1, 24, 40}));
    loss = loss + stage[0].square().mean();
  }
  loss.backward();
  for (const auto& p : network->named_parameters()) {  // task 0's extra prediction reaches task 1's features
    if (p.key() == "decoders.depth.conv_1.weight" || p.key() == "backbone.blocks.0.mlp.fc1.weight") {
      EXPECT_GT(p.value().grad().abs().max().item<double>(), 0.0) << p.key();
    }
  }
  for (const auto& [name, tensor] : named_tensors(*network)) EXPECT_EQ(name.find("tam."), std::string::npos);
  EXPECT_TRUE(named_tensors(*network, /*with_tam=*/true).contains("tam.1.up0.weight"));
  network->eval();
  EXPECT_TRUE(network->auxiliary(outputs).empty());
  EXPECT_TRUE(network->task_pass(prefix, 0).features.empty());
}

TEST(Network, SaysWhatIsWrongWithItsInput) {
  Config config = small_config();
  const auto network = make_network(config);
  const auto message = [](auto&& call) {
    try {
      call();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message([&] { network->prefix(torch::zeros({1, 3, 32, 32})); }), HasSubstr("[B, 3, 32, 48]"));
  EXPECT_THAT(message([&] { network->task_pass(torch::zeros({1, 25, 16}), 2); }), HasSubstr("0 … 1"));
  config.tasks[0].outputs = 0;
  EXPECT_THAT(message([&] { make_network(config); }), HasSubstr("tasks.semseg.outputs"));
}

}  // namespace
}  // namespace m3vit
