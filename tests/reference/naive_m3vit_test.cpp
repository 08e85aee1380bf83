// The reference itself, against numbers worked out by hand.
#include "reference/naive_m3vit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace m3vit::naive {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

constexpr double kEps = 1e-12;

TEST(Gelu, IsTheExactErfForm) {
  EXPECT_EQ(gelu(0.0), 0.0);
  EXPECT_NEAR(gelu(1.0), 0.841344746068543, kEps);    // Φ(1)
  EXPECT_NEAR(gelu(-1.0), -0.158655253931457, kEps);  // −Φ(−1); the tanh form gives −0.158808
  EXPECT_NEAR(gelu(30.0), 30.0, kEps);
}

TEST(Softmax, DoesNotOverflowAndSumsToOne) {
  EXPECT_THAT(softmax({1000.0, 1000.0}), ElementsAre(0.5, 0.5));
  EXPECT_THAT(softmax({0.0, std::log(3.0)}), ElementsAre(DoubleNear(0.25, kEps), DoubleNear(0.75, kEps)));
}

TEST(LayerNorm, UsesBiasedVarianceWeightAndBias) {
  // mean 2, variance ((−1)² + 1²)/2 = 1
  const Row y = layer_norm({1.0, 3.0}, {{2}, {2.0, 10.0}}, {{2}, {0.5, 0.0}}, 0.0);
  EXPECT_THAT(y, ElementsAre(DoubleNear(-1.5, kEps), DoubleNear(10.0, kEps)));
}

TEST(LayerNorm, DefaultEpsIsOneMillionth) {
  const Row y = layer_norm({-1e-3, 1e-3}, {{2}, {1.0, 1.0}}, {{2}, {0.0, 0.0}});
  EXPECT_NEAR(y[1], 1e-3 / std::sqrt(1e-6 + 1e-6), kEps);
}

TEST(Linear, WeightIsOutByIn) {
  const Row y = linear({1.0, 2.0}, {{3, 2}, {1, 0, 0, 1, 3, 4}}, {{3}, {0, 0.5, -1}});
  EXPECT_THAT(y, ElementsAre(1.0, 2.5, 10.0));
}

TEST(Attention, OneHeadTwoTokensByHand) {
  // head_dim 1: scores of token 0 = 1·(0, ln 3) → p = (1/4, 3/4); of token 1 = 2·(0, ln 3) → p = (1/10, 9/10).
  const double ln3 = std::log(3.0);
  const Matrix y = attention({{1.0, 0.0, 8.0}, {2.0, ln3, 4.0}}, 1);
  EXPECT_NEAR(y[0][0], 0.25 * 8 + 0.75 * 4, kEps);
  EXPECT_NEAR(y[1][0], 0.1 * 8 + 0.9 * 4, kEps);
}

TEST(Attention, ScalesByTheRootOfHeadDim) {
  // head_dim 4: q·k = 4·ln 3·½ = 2 ln 3, over √4 → ln 3.
  const double a = std::log(3.0) / 2.0;
  const Matrix y = attention({{1, 1, 1, 1, 0, 0, 0, 0, 8, 0, 0, 0}, {1, 1, 1, 1, a, a, a, a, 4, 0, 0, 0}}, 1);
  EXPECT_NEAR(y[0][0], 0.25 * 8 + 0.75 * 4, kEps);
}

TEST(Attention, HeadsAreIndependentSlices) {
  // Two heads of 1: the second head has equal scores, so it averages.
  const double ln3 = std::log(3.0);
  const Matrix y = attention({{1, 5, 0, 0, 8, 10}, {1, 5, ln3, 0, 4, 20}}, 2);
  EXPECT_NEAR(y[0][0], 5.0, kEps);
  EXPECT_NEAR(y[0][1], 15.0, kEps);
}

TEST(TopK, DescendingAndTiesGoToTheLowerIndex) {
  EXPECT_THAT(top_k({0.1, 0.4, 0.4, 0.1}, 3), ElementsAre(1, 2, 0));
  EXPECT_THAT(top_k({0.25, 0.25, 0.25, 0.25}, 4), ElementsAre(0, 1, 2, 3));
}

TEST(CvSquared, IsUnbiasedVarianceOverSquaredMean) {
  EXPECT_NEAR(cv_squared({1.0, 3.0}), 2.0 / 4.0, 1e-9);
  EXPECT_NEAR(cv_squared({2.0, 2.0, 2.0}), 0.0, kEps);
  EXPECT_EQ(cv_squared({7.0}), 0.0);
}

TEST(ResizeBilinear, TimesTwoIsQuartersInsideAndRepeatsTheEdge) {
  Map x(1, 1, 3);
  x.data = {0.0, 4.0, 8.0};
  EXPECT_THAT(resize_bilinear(x, 2, 6).data,
              Pointwise(DoubleNear(kEps), {0.0, 1.0, 3.0, 5.0, 7.0, 8.0, 0.0, 1.0, 3.0, 5.0, 7.0, 8.0}));
}

TEST(ResizeBilinear, OtherSizesSampleAtPixelCentres) {
  Map x(1, 1, 2);
  x.data = {0.0, 6.0};
  // centres (i + ½)·2/3 − ½ = −1/6 → 0, 1/2, 7/6 → clamped to the last
  EXPECT_THAT(resize_bilinear(x, 1, 3).data, Pointwise(DoubleNear(kEps), {0.0, 3.0, 6.0}));
  EXPECT_EQ(resize_bilinear(x, 1, 2).data, x.data);
}

TEST(Conv2d, PadsWithZerosAndIsACorrelation) {
  Map x(1, 2, 2);
  x.data = {1, 2, 3, 4};
  const Tensor kernel{{1, 1, 3, 3}, {0, 0, 0, 0, 1, 10, 0, 100, 0}};  // centre 1, right 10, below 100
  EXPECT_THAT(conv2d(x, kernel, {{1}, {0.5}}).data, ElementsAre(321.5, 402.5, 43.5, 4.5));
}

// A model small enough to follow: one token grid of 1×1, D = 2, one MoE block whose attention and first expert layers
// are set to make every value known.
class OneTokenModel : public testing::Test {
 protected:
  OneTokenModel() {
    ModelConfig& m = config.model;
    m.image_size = {2, 2};
    m.patch_size = 2;
    m.embed_dim = 2;
    m.depth = 1;
    m.num_heads = 1;
    m.head = {1, 1};
    m.moe = MoeConfig{};
    m.moe->every = 1;
    m.moe->num_experts = 3;
    m.moe->top_k = 2;
    m.moe->expert_hidden = 1;
    config.tasks = {{"depth", 1, 1.0}};

    // The patch token becomes (image sum of channel 0, 0) + pos; attention adds nothing.
    std::vector<double> patch(2 * 3 * 4, 0.0);
    for (int i = 0; i < 4; ++i) patch[i] = 1.0;
    set("backbone.patch_embed.proj.weight", {2, 3, 2, 2}, patch);
    set("backbone.patch_embed.proj.bias", {2}, {0, 0});
    set("backbone.cls_token", {1, 1, 2}, {1, -1});
    set("backbone.pos_embed", {1, 2, 2}, {0, 0, 0, -3});
    const std::string b = "backbone.blocks.0.";
    for (const char* norm : {"norm1", "norm2"}) {
      set(b + norm + ".weight", {2}, {1, 1});
      set(b + norm + ".bias", {2}, {0, 0});
    }
    set(b + "attn.qkv.weight", {6, 2}, std::vector<double>(12, 0.0));
    set(b + "attn.qkv.bias", {6}, std::vector<double>(6, 0.0));
    set(b + "attn.proj.weight", {2, 2}, std::vector<double>(4, 0.0));
    set(b + "attn.proj.bias", {2}, {0, 0});
    // norm2 makes both tokens (1, −1): logits (0, ln 2, ln 5) → p = (1/8, 2/8, 5/8).
    set(b + "mlp.gate.0.w_gate", {2, 3}, {0, std::log(2.0), std::log(5.0), 0, 0, 0});
    // Every expert's hidden unit is gelu(30) = 30 by its bias; expert e adds (e, 10·e)/30·30.
    set(b + "mlp.experts.htoh4.weight", {3, 1, 2}, std::vector<double>(6, 0.0));
    set(b + "mlp.experts.htoh4.bias", {3, 1}, {30, 30, 30});
    set(b + "mlp.experts.h4toh.weight", {3, 2, 1}, {0, 0, 1.0 / 30, 10.0 / 30, 2.0 / 30, 20.0 / 30});
    set(b + "mlp.experts.h4toh.bias", {3, 2}, std::vector<double>(6, 0.0));
    // Head: norm off (weight 0, bias (2, 3)); centre tap sums both channels = 5; BN (5 − 1)/√(4 − 1e-5 + 1e-5)·3 + 1
    // = 7.
    const std::string h = "decoders.depth.";
    set(h + "norm.weight", {2}, {0, 0});
    set(h + "norm.bias", {2}, {2, 3});
    std::vector<double> conv(18, 0.0);
    conv[4] = conv[13] = 1.0;
    set(h + "conv_0.weight", {1, 2, 3, 3}, conv);
    set(h + "conv_0.bias", {1}, {0});
    set(h + "syncbn_fc_0.weight", {1}, {3});
    set(h + "syncbn_fc_0.bias", {1}, {1});
    set(h + "syncbn_fc_0.running_mean", {1}, {1});
    set(h + "syncbn_fc_0.running_var", {1}, {4.0 - 1e-5});
    set(h + "conv_1.weight", {1, 1, 1, 1}, {2});
    set(h + "conv_1.bias", {1}, {0.5});
  }
  void set(const std::string& name, std::vector<std::int64_t> shape, std::vector<double> data) {
    weights.tensors[name] = {std::move(shape), std::move(data)};
  }
  /// The head then only tells the order of the patch token's two values x at its end: 2½ when x₀ < x₁, ½ otherwise
  /// (norm → ∓1; the centre tap reads channel 1; BN (±1 − 1)/2·3 + 1 = 1 or −2 → ReLU; 2·that + ½).
  void read_order() {
    const std::string h = "decoders.depth.";
    set(h + "norm.weight", {2}, {1, 1});
    set(h + "norm.bias", {2}, {0, 0});
    std::vector<double> conv(18, 0.0);
    conv[13] = 1.0;
    set(h + "conv_0.weight", {1, 2, 3, 3}, conv);
  }
  double last_order(int task = 0) { return forward(config, weights, image, task).raw[0]; }
  void copy_head(const std::string& to) {
    for (const char* n :
         {"norm.weight", "norm.bias", "conv_0.weight", "conv_0.bias", "syncbn_fc_0.weight", "syncbn_fc_0.bias",
          "syncbn_fc_0.running_mean", "syncbn_fc_0.running_var", "conv_1.weight", "conv_1.bias"}) {
      weights.tensors["decoders." + to + "." + n] = weights.get(std::string("decoders.depth.") + n);
    }
  }
  Config config;
  Weights weights;
  const std::vector<double> image{1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0};
};

TEST_F(OneTokenModel, RoutesByProbabilityWithoutRenormalising) {
  const Result r = forward(config, weights, image, 0);
  ASSERT_EQ(r.routing.size(), 1U);
  EXPECT_EQ(r.routing[0].block, 0);
  for (int t = 0; t < 2; ++t) {
    EXPECT_THAT(r.routing[0].experts[t], ElementsAre(2, 1));
    EXPECT_THAT(r.routing[0].weights[t], ElementsAre(DoubleNear(0.625, 1e-5), DoubleNear(0.25, 1e-5)));
  }
  EXPECT_NEAR(r.margin, 0.125, 1e-5);
}

TEST_F(OneTokenModel, BalanceLossIsImportancePlusLoad) {
  // importance (0, ½, 5/4): mean 7/12, unbiased variance 0.395833; load (0, 2, 2): mean 4/3, variance 4/3.
  const double want = 0.3958333333 / (49.0 / 144.0) + (4.0 / 3.0) / (16.0 / 9.0);
  EXPECT_NEAR(forward(config, weights, image, 0).balance_loss, want, 1e-4);
}

TEST_F(OneTokenModel, HeadIsNormConvBnReluConvUp) {
  const Result r = forward(config, weights, image, 0);
  EXPECT_EQ(r.channels, 1);
  EXPECT_THAT(r.raw, Pointwise(DoubleNear(1e-9), std::vector<double>(4, 14.5)));  // 7·2 + ½
}

TEST_F(OneTokenModel, ExpertsAddToTheResidualWeightedByTheirGate) {
  // Patch token (4, −3) + 5/8·(2, 20) + 2/8·(1, 10) = (5.5, 12).
  read_order();
  EXPECT_NEAR(last_order(), 2.5, 1e-5);
  config.model.moe->prune_below = 0.7;  // drops all of them
  EXPECT_NEAR(last_order(), 0.5, 1e-5);
  EXPECT_THAT(forward(config, weights, image, 0).routing[0].weights[1], ElementsAre(0.0, 0.0));
}

TEST_F(OneTokenModel, PositionIsAdded) {
  read_order();
  set("backbone.blocks.0.mlp.experts.h4toh.weight", {3, 2, 1}, std::vector<double>(6, 0.0));
  EXPECT_NEAR(last_order(), 0.5, 1e-5);  // (4, −3)
  set("backbone.pos_embed", {1, 2, 2}, {0, 0, 0, 10});
  EXPECT_NEAR(last_order(), 2.5, 1e-5);  // (4, 10)
}

TEST_F(OneTokenModel, AttentionAddsToTheResidual) {
  read_order();
  set("backbone.blocks.0.mlp.experts.h4toh.weight", {3, 2, 1}, std::vector<double>(6, 0.0));
  set("backbone.blocks.0.attn.proj.bias", {2}, {0, 10});
  EXPECT_NEAR(last_order(), 2.5, 1e-5);  // (4, −3 + 10)
}

TEST_F(OneTokenModel, DenseBlockIsATwoLayerMlpOnTheResidual) {
  read_order();
  config.model.moe.reset();
  const std::string mlp = "backbone.blocks.0.mlp.";
  set(mlp + "fc1.weight", {1, 2}, {30, 0});  // norm2 → (1, −1): gelu(30) = 30
  set(mlp + "fc1.bias", {1}, {0});
  set(mlp + "fc2.weight", {2, 1}, {0, 0.5});
  set(mlp + "fc2.bias", {2}, {0, 0});
  EXPECT_NEAR(last_order(), 2.5, 1e-5);  // (4, −3 + 15)
  set(mlp + "fc1.weight", {1, 2}, {-30, 0});
  set(mlp + "fc2.weight", {2, 1}, {0, -0.5});
  EXPECT_NEAR(last_order(), 0.5, 1e-5);  // gelu(−30) = 0, where −30 itself would give +15
  EXPECT_TRUE(forward(config, weights, image, 0).routing.empty());
}

TEST_F(OneTokenModel, WindowShiftsExpertsByTask) {
  config.tasks.push_back({"edge", 1, 1.0});
  config.model.moe->num_experts = 4;
  config.model.moe->experts_per_task = 2;
  config.model.moe->top_k = 1;
  for (const char* t : {"0", "1"}) {
    set(std::string("backbone.blocks.0.mlp.gate.") + t + ".w_gate", {2, 2}, {0, std::log(3.0), 0, 0});
  }
  set("backbone.blocks.0.mlp.experts.htoh4.weight", {4, 1, 2}, std::vector<double>(8, 0.0));
  set("backbone.blocks.0.mlp.experts.htoh4.bias", {4, 1}, std::vector<double>(4, 30.0));
  set("backbone.blocks.0.mlp.experts.h4toh.weight", {4, 2, 1}, {0, 0, 0, 0, 0, 0, 0, 1});  // only expert 3 speaks
  set("backbone.blocks.0.mlp.experts.h4toh.bias", {4, 2}, std::vector<double>(8, 0.0));
  read_order();
  copy_head("edge");
  EXPECT_THAT(forward(config, weights, image, 0).routing[0].experts[1], ElementsAre(1));
  EXPECT_THAT(forward(config, weights, image, 1).routing[0].experts[1], ElementsAre(3));
  EXPECT_NEAR(last_order(0), 0.5, 1e-5);  // (4, −3)
  EXPECT_NEAR(last_order(1), 2.5, 1e-5);  // (4, −3 + ¾·30)
}

TEST_F(OneTokenModel, TaskConditionedRouterSeesTheTask) {
  config.tasks.push_back({"edge", 1, 1.0});
  MoeConfig& moe = *config.model.moe;
  moe.gate = Gate::kTaskConditioned;
  moe.gate_task_dim = 2;
  moe.top_k = 1;
  const std::string n = "backbone.gate_task_represent.";
  set(n + "fc1.weight", {2, 2}, {30, 0, 0, 30});  // one-hot → gelu(30)·e_t
  set(n + "fc1.bias", {2}, {0, 0});
  set(n + "fc2.weight", {2, 2}, {1, 0, 0, 1});
  set(n + "fc2.bias", {2}, {0, 0});
  set(n + "norm.weight", {2}, {1, 1});  // → (1, −1) for task 0, (−1, 1) for task 1
  set(n + "norm.bias", {2}, {0, 0});
  // Rows: two of the token (ignored), two of the task: task 0 likes expert 0, task 1 expert 2.
  set("backbone.blocks.0.mlp.gate.w_gate", {4, 3}, {0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 5});
  copy_head("edge");
  EXPECT_THAT(forward(config, weights, image, 0).routing[0].experts[0], ElementsAre(0));
  EXPECT_THAT(forward(config, weights, image, 1).routing[0].experts[0], ElementsAre(2));
}

}  // namespace
}  // namespace m3vit::naive
