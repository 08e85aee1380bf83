// Routing and experts: ties, balance loss, gradients by differences, and the sorted form against a loop over tokens.
#include "model/moe.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/model_testing.h"
#include "reference/naive_m3vit.h"

namespace m3vit {
namespace {

using testing_model::randomise;
using testing_model::relative_error;
using testing_model::small_config;
using torch::Tensor;

TEST(TopK, EqualValuesGiveTheLowerIndexFirst) {
  const Tensor v = torch::tensor({{1.0, 3.0, 3.0, 1.0}, {2.0, 2.0, 2.0, 2.0}, {0.0, 1.0, 0.0, 1.0}});
  EXPECT_TRUE(top_k_first(v, 3).equal(torch::tensor({{1, 2, 0}, {0, 1, 2}, {1, 3, 0}}, torch::kLong)));
}

TEST(TopK, EqualsTheNaiveReferenceOnRowsFullOfTies) {
  torch::manual_seed(1);
  const Tensor v = torch::randint(0, 5, {500, 13}).to(torch::kDouble);
  const Tensor got = top_k_first(v, 6);
  for (int64_t row = 0; row < v.size(0); ++row) {
    const naive::Row values(v[row].data_ptr<double>(), v[row].data_ptr<double>() + 13);
    const std::vector<int> want = naive::top_k(values, 6);
    for (int64_t k = 0; k < 6; ++k) ASSERT_EQ(got[row][k].item<int64_t>(), want[static_cast<std::size_t>(k)]);
  }
}

TEST(BalanceLoss, MatchesHandComputedCases) {
  EXPECT_NEAR(cv_squared(torch::tensor({1.0, 2.0, 3.0}, torch::kDouble)).item<double>(), 0.25, 1e-9);
  EXPECT_EQ(cv_squared(torch::tensor({7.0})).item<double>(), 0.0);
  // Two tokens, three experts, top 1, both choose expert 0 with p = ½: importance (1, 0, 0), load (2, 0, 0): each has
  // variance/mean² = 3.
  const Tensor logits = torch::tensor({{std::log(2.0), 0.0, 0.0}, {std::log(2.0), 0.0, 0.0}}, torch::kDouble);
  const Routing r = route(logits, 1, 0.0);
  EXPECT_NEAR(r.balance_loss.item<double>(), 6.0, 1e-6);
  EXPECT_TRUE(r.weights.allclose(torch::full({2, 1}, 0.5, torch::kDouble)));  // softmax over all, not renormalised
  EXPECT_NEAR(r.entropy.item<double>(), 0.5 * std::log(2.0) + 0.5 * std::log(4.0), 1e-6);
}

TEST(BalanceLoss, SmoothLoadIsTheProbabilityOfStayingInTheTopK) {
  const int64_t tokens = 40, width = 6, k = 2;
  const double noise_std = 3.0, sd = noise_std / static_cast<double>(width);
  torch::manual_seed(2);
  const Tensor clean = torch::randn({tokens, width}, torch::kDouble);
  torch::manual_seed(9);
  const Tensor noisy = clean + torch::randn({tokens, width}, torch::kDouble) * sd;
  torch::manual_seed(9);
  const Routing r = route(clean, k, noise_std);
  naive::Row load(width, 0.0), importance(width, 0.0);
  for (int64_t t = 0; t < tokens; ++t) {
    const naive::Row h(noisy[t].data_ptr<double>(), noisy[t].data_ptr<double>() + width);
    const naive::Row p = naive::softmax(h);
    for (std::size_t e = 0; e < h.size(); ++e) {
      naive::Row others = h;  // Shazeer 2017: the k-th largest of the others is what expert e has to beat
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(e));
      std::sort(others.rbegin(), others.rend());
      const double threshold = others[k - 1];
      const double c = clean[t][static_cast<int64_t>(e)].item<double>();
      load[e] += 0.5 * std::erfc(-(c - threshold) / sd / std::sqrt(2.0));
      if (h[e] > threshold) importance[e] += p[e];
    }
  }
  EXPECT_NEAR(r.balance_loss.item<double>(), naive::cv_squared(load) + naive::cv_squared(importance), 1e-9);
}

/// y_t = Σ_k w_tk · expert(x_t), one token and one expert at a time, by autograd.
Tensor loop_over_tokens(ExpertsImpl& experts, const Tensor& x, const Tensor& indices, const Tensor& weights) {
  const auto p = experts.named_parameters();
  std::vector<Tensor> rows;
  for (int64_t t = 0; t < x.size(0); ++t) {
    Tensor y = torch::zeros_like(x[t]);
    for (int64_t k = 0; k < indices.size(1); ++k) {
      const int64_t e = indices[t][k].item<int64_t>();
      if (e == p["htoh4.weight"].size(0)) continue;
      const Tensor h = torch::gelu(torch::mv(p["htoh4.weight"][e], x[t]) + p["htoh4.bias"][e]);
      y = y + weights[t][k] * (torch::mv(p["h4toh.weight"][e], h) + p["h4toh.bias"][e]);
    }
    rows.push_back(y);
  }
  return torch::stack(rows);
}

TEST(Experts, SortedGroupsEqualTheLoopOverTokensWithGradients) {
  struct Case {
    const char* name;
    Tensor indices;
  };
  torch::manual_seed(4);
  const int64_t tokens = 17, k = 3, num_experts = 6;
  const Tensor random =
      torch::rand({tokens, num_experts}).argsort(/*dim=*/int64_t{1}, /*descending=*/false).narrow(1, 0, k).contiguous();
  const Case cases[] = {
      {"random", random},
      {"empty experts", random.remainder(3)},  // 3, 4, 5 get nobody; some tokens choose one expert twice
      {"one expert gets every token", torch::full({tokens, k}, 4, torch::kLong)},
      {"some pairs are skipped", torch::where(random == 2, torch::full_like(random, num_experts), random)},
      {"every pair is skipped", torch::full({tokens, k}, num_experts, torch::kLong)},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Experts experts(num_experts, 5, 7);
    experts->to(torch::kDouble);
    randomise(*experts, 0.5);
    const Tensor x = torch::randn({tokens, 5}, torch::kDouble).requires_grad_();
    const Tensor w = torch::rand({tokens, k}, torch::kDouble).requires_grad_();
    const Tensor g = torch::randn({tokens, 5}, torch::kDouble);
    std::vector<Tensor> leaves{x, w};
    for (const Tensor& p : experts->parameters()) leaves.push_back(p);

    const Tensor got = experts->forward(x, c.indices, w);
    const Tensor want = loop_over_tokens(*experts, x, c.indices, w);
    EXPECT_LE((got - want).abs().max().item<double>(), 1e-12);
    const auto d_got = torch::autograd::grad({(got * g).sum()}, leaves, {}, /*retain_graph=*/false,
                                             /*create_graph=*/false, /*allow_unused=*/true);
    if (!want.requires_grad()) {
      for (const Tensor& d : d_got) EXPECT_TRUE(!d.defined() || d.abs().max().item<double>() == 0.0);
      continue;
    }
    const auto d_want = torch::autograd::grad({(want * g).sum()}, leaves, {}, /*retain_graph=*/false,
                                              /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      ASSERT_TRUE(d_got[i].defined());
      EXPECT_LE((d_got[i] - d_want[i]).abs().max().item<double>(), 1e-11) << "leaf " << i;
    }
  }
}

/// Central differences of `loss` in a sample of every leaf's entries; entries whose ±h changes the routing are skipped.
void expect_gradients_by_differences(const std::vector<Tensor>& leaves, const std::function<Tensor()>& loss,
                                     const std::function<Tensor()>& chosen) {
  const double h = 1e-6;
  const auto gradients = torch::autograd::grad({loss()}, leaves);
  const torch::NoGradGuard no_grad;
  const Tensor before = chosen();
  int compared = 0, skipped = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const double scale = std::max(1e-3, gradients[i].abs().max().item<double>());
    Tensor flat = leaves[i].view({-1});
    const Tensor g = gradients[i].reshape({-1});
    for (int64_t j = 0; j < flat.numel(); j += std::max<int64_t>(1, flat.numel() / 23)) {
      const double value = flat[j].item<double>();
      const auto at = [&](double v) {
        flat[j].fill_(v);
        return std::pair(loss().item<double>(), chosen().equal(before));
      };
      const auto [up, same_up] = at(value + h);
      const auto [down, same_down] = at(value - h);
      flat[j].fill_(value);
      if (!same_up || !same_down) {
        ++skipped;
        continue;
      }
      ++compared;
      EXPECT_NEAR((up - down) / (2 * h), g[j].item<double>(), 2e-6 * scale) << "leaf " << i << " entry " << j;
    }
  }
  EXPECT_LE(skipped * 20, compared);
}

class MoeGradients : public testing::TestWithParam<std::tuple<Gate, double>> {};

TEST_P(MoeGradients, AgreeWithFiniteDifferencesThroughRouterExpertsAndBalanceLoss) {
  const auto [gate, noise_std] = GetParam();
  Config config = small_config();
  config.model.moe->gate = gate;
  config.model.moe->noise_std = noise_std;
  torch::manual_seed(11);
  MoeMlp moe(config.model, 2);
  moe->to(torch::kDouble);
  randomise(*moe, 0.4);
  const Tensor x = torch::randn({2, 9, 16}, torch::kDouble).requires_grad_();
  const Tensor feature = torch::randn({6}, torch::kDouble).requires_grad_();
  const Tensor g = torch::randn({2, 9, 16}, torch::kDouble);
  const auto run = [&] {
    torch::manual_seed(77);  // the same noise every time
    return moe->forward(x, 1, gate == Gate::kTaskConditioned ? feature : Tensor());
  };
  std::vector<Tensor> leaves{x};
  if (gate == Gate::kTaskConditioned) leaves.push_back(feature);
  for (const auto& p : moe->named_parameters()) {
    if (p.key() != "gate.0.w_gate") leaves.push_back(p.value());  // task 1 does not use router 0
  }
  expect_gradients_by_differences(
      leaves,
      [&] {
        const MoeOutput o = run();
        return (o.y * g).sum() + 0.7 * o.routing.balance_loss;
      },
      [&] { return run().routing.indices; });
}

INSTANTIATE_TEST_SUITE_P(AllGates, MoeGradients,
                         testing::Combine(testing::Values(Gate::kMulti, Gate::kTaskConditioned, Gate::kShared),
                                          testing::Values(0.0, 4.0)));

TEST(MoeMlp, NoiseActsInTrainingOnly) {
  Config config = small_config();
  config.model.moe->noise_std = 50.0;
  MoeMlp moe(config.model, 2);
  const Tensor x = torch::randn({1, 50, 16});
  EXPECT_FALSE(moe->forward(x, 0, {}).routing.indices.equal(moe->forward(x, 0, {}).routing.indices));
  moe->eval();
  EXPECT_TRUE(moe->forward(x, 0, {}).routing.indices.equal(moe->forward(x, 0, {}).routing.indices));
}

TEST(MoeMlp, AnEqualRouterSendsAllTokensToTheFirstExperts) {
  MoeMlp moe(small_config().model, 2);
  const torch::NoGradGuard no_grad;
  for (const auto& p : moe->named_parameters()) {
    if (p.key().starts_with("gate")) p.value().detach().zero_();
  }
  const MoeOutput o = moe->forward(torch::randn({2, 5, 16}), 0, {});
  EXPECT_TRUE(o.routing.load.equal(torch::tensor({10.0F, 10.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F})));
  EXPECT_TRUE(o.routing.weights.allclose(torch::full({10, 2}, 0.125F)));
}

TEST(MoeMlp, AWindowKeepsEachTaskToItsExperts) {
  Config config = small_config();
  config.model.moe->experts_per_task = 4;
  MoeMlp moe(config.model, 2);
  randomise(*moe, 0.5);
  for (int task = 0; task < 2; ++task) {
    const Routing r = moe->forward(torch::randn({1, 30, 16}), task, {}).routing;
    EXPECT_EQ(r.indices.min().item<int64_t>() / 4, task);
    EXPECT_EQ(r.indices.max().item<int64_t>() / 4, task);
    EXPECT_EQ(r.load.narrow(0, 4 * task, 4).sum().item<float>(), 60.0F);
    EXPECT_EQ(r.load.sum().item<float>(), 60.0F);
  }
}

TEST(MoeMlp, PruningDropsSmallWeightsAtInferenceOnly) {
  Config config = small_config();
  torch::manual_seed(8);
  MoeMlp plain(config.model, 2);
  randomise(*plain, 0.3);
  config.model.moe->prune_below = 0.3;
  MoeMlp pruned(config.model, 2);
  const torch::NoGradGuard no_grad;
  const auto source = plain->named_parameters();
  for (const auto& p : pruned->named_parameters()) p.value().detach().copy_(source[p.key()]);
  const Tensor x = torch::randn({1, 40, 16});
  EXPECT_TRUE(pruned->forward(x, 0, {}).y.equal(plain->forward(x, 0, {}).y));  // training
  pruned->eval();
  plain->eval();
  const Routing all = plain->forward(x, 0, {}).routing;
  const MoeOutput got = pruned->forward(x, 0, {});
  const Tensor keep = all.weights >= 0.3;
  ASSERT_GT(keep.sum().item<int64_t>(), 0);
  ASSERT_LT(keep.sum().item<int64_t>(), keep.numel());
  EXPECT_TRUE(got.routing.weights.equal(all.weights * keep));
  EXPECT_EQ(got.routing.load.sum().item<double>(), keep.sum().item<double>());
  EXPECT_NEAR(got.routing.importance.sum().item<double>(), (all.weights * keep).sum().item<double>(), 1e-4);
  Experts experts(8, 16, 32);
  for (const auto& p : experts->named_parameters()) p.value().detach().copy_(source["experts." + p.key()]);
  const Tensor want = experts->forward(x[0], all.indices, all.weights * keep);
  EXPECT_LE(relative_error(got.y[0], want), 1e-5);
}

}  // namespace
}  // namespace m3vit
