#include "train/step.h"

#include <gtest/gtest.h>

#include "tiny_config.h"
#include "train/losses.h"

namespace m3vit {
namespace {

BatchTensors random_batch(const Config& config, int size, torch::ScalarType type) {
  const std::int64_t h = config.model.height(), w = config.model.width();
  BatchTensors b;
  b.images = torch::randn({size, 3, h, w}).to(type);
  for (const TaskConfig& t : config.tasks) {
    torch::Tensor& label = b.labels[static_cast<std::size_t>(t.id())];
    switch (task_spec(t.id()).label) {
      case LabelKind::kClassIndex:
        label = torch::randint(t.outputs, {size, 1, h, w}).to(type);
        break;
      case LabelKind::kDepth:
        label = torch::rand({size, 1, h, w}).to(type) + 1;
        break;
      case LabelKind::kNormals: {
        const torch::Tensor n = torch::randn({size, 3, h, w}).to(type);
        label = n / n.norm(2, {1}, true);
        break;
      }
      case LabelKind::kBinary:
        label = (torch::rand({size, 1, h, w}) < 0.2).to(type);
        break;
    }
  }
  return b;
}

using Gradients = std::map<std::string, torch::Tensor>;

Gradients take_gradients(NetworkImpl& network) {
  Gradients g;
  for (const auto& item : network.named_parameters()) {
    if (item.value().grad().defined()) g[item.key()] = item.value().grad().clone();
  }
  network.zero_grad();
  return g;
}

/// Undefined counts as zero: a pass that never touched a parameter says the same as a zero gradient.
void expect_equal(const Gradients& a, const Gradients& b, double tolerance) {
  std::set<std::string> names;
  for (const auto& [name, g] : a) names.insert(name);
  for (const auto& [name, g] : b) names.insert(name);
  EXPECT_GT(names.size(), 20U);
  for (const std::string& name : names) {
    const auto in_a = a.find(name), in_b = b.find(name);
    const torch::Tensor& shape = in_a != a.end() ? in_a->second : in_b->second;
    const torch::Tensor ga = in_a != a.end() ? in_a->second : torch::zeros_like(shape);
    const torch::Tensor gb = in_b != b.end() ? in_b->second : torch::zeros_like(shape);
    EXPECT_LE((ga - gb).abs().max().item<double>(), tolerance * std::max(1.0, gb.abs().max().item<double>())) << name;
  }
}

struct Fixture {
  explicit Fixture(Config c) : config(std::move(c)) {
    torch::manual_seed(3);
    network = make_network(config);
    network->to(torch::kDouble);
    network->train();
    batch = random_batch(config, 3, torch::kDouble);
  }
  Gradients gradients(TaskMode mode, const StepOptions& options = {}) {
    config.train.mode = mode;
    network->zero_grad();
    losses = forward_backward(*network, config, batch, options);
    return take_gradients(*network);
  }
  /// Each task's gradient from a full pass of its own.
  std::vector<Gradients> task_gradients() {
    std::vector<Gradients> result;
    for (std::size_t t = 0; t < config.tasks.size(); ++t) {
      const TaskConfig& task = config.tasks[t];
      const TaskOutput out = network->forward_task(batch.images, static_cast<int>(t));
      const torch::Tensor& label = batch.labels[static_cast<std::size_t>(task.id())];
      const torch::Tensor loss = task.loss_weight * task_loss(task.id(), out.raw, label, config.train.edge_weight) +
                                 config.model.moe->balance_weight * out.balance_loss;
      for (torch::Tensor& p : network->parameters()) p.mutable_grad() = torch::Tensor();  // not zero: not its task's
      loss.backward();
      result.push_back(take_gradients(*network));
    }
    return result;
  }
  Config config;
  std::shared_ptr<NetworkImpl> network;
  BatchTensors batch;
  StepLosses losses;
};

Config weighted_config(Gate gate) {
  Config c = tiny_config();
  c.model.depth = 4;
  c.model.moe->gate = gate;
  c.model.moe->gate_task_dim = 6;
  c.model.moe->balance_weight = 0.5;
  for (std::size_t t = 0; t < c.tasks.size(); ++t) c.tasks[t].loss_weight = 0.5 + static_cast<double>(t);
  return c;
}

class StepByGate : public testing::TestWithParam<Gate> {};

TEST_P(StepByGate, OneByOneGivesJointsGradientAndLosses) {
  Fixture s(weighted_config(GetParam()));
  const Gradients joint = s.gradients(TaskMode::kJoint);
  const StepLosses joint_losses = s.losses;
  const Gradients one_by_one = s.gradients(TaskMode::kOneByOne);
  expect_equal(one_by_one, joint, 1e-10);
  EXPECT_EQ(s.losses.tasks, joint_losses.tasks);
  EXPECT_NEAR(s.losses.total, joint_losses.total, 1e-10);
}

TEST_P(StepByGate, SharedPrefixGivesTheGradientOfFullPassesPerTask) {
  Fixture s(weighted_config(GetParam()));
  const Gradients shared = s.gradients(TaskMode::kOneByOne);
  for (std::size_t t = 0; t < s.config.tasks.size(); ++t) {
    const TaskConfig& task = s.config.tasks[t];
    const TaskOutput out = s.network->forward_task(s.batch.images, static_cast<int>(t));
    const torch::Tensor loss =
        task.loss_weight * task_loss(task.id(), out.raw, s.batch.labels[static_cast<std::size_t>(task.id())], 0.95) +
        s.config.model.moe->balance_weight * out.balance_loss;
    loss.backward();
  }
  expect_equal(shared, take_gradients(*s.network), 1e-10);
}

INSTANTIATE_TEST_SUITE_P(Gates, StepByGate, testing::Values(Gate::kMulti, Gate::kTaskConditioned, Gate::kShared));

TEST(Step, DenseNetworkHasNoBalanceLossAndTheSameGradientInBothModes) {
  Config c = tiny_config({"semseg", "depth"});
  c.model.moe.reset();
  Fixture s(c);
  const Gradients joint = s.gradients(TaskMode::kJoint);
  EXPECT_EQ(s.losses.balance, std::vector<double>({0, 0}));
  expect_equal(s.gradients(TaskMode::kOneByOne), joint, 1e-10);
}

TEST(Step, BalanceLossEntersWithItsWeight) {
  Fixture s(weighted_config(Gate::kMulti));
  s.gradients(TaskMode::kJoint);
  double expected = 0;
  for (std::size_t t = 0; t < s.config.tasks.size(); ++t) {
    EXPECT_GT(s.losses.balance[t], 0);
    expected += s.config.tasks[t].loss_weight * s.losses.tasks[t] + 0.5 * s.losses.balance[t];
  }
  EXPECT_NEAR(s.losses.total, expected, 1e-9);
}

TEST(Step, AuxiliaryPredictionsOfTamAddToTheLossAndNeedJoint) {
  Config c = tiny_config({"semseg", "depth"});
  c.model.tam = true;
  Fixture s(c);
  s.gradients(TaskMode::kJoint);
  double main_only = 0;
  for (std::size_t t = 0; t < 2; ++t) main_only += s.losses.tasks[t] + 0.01 * s.losses.balance[t];
  EXPECT_GT(s.losses.total, main_only + 0.1);
  EXPECT_THROW(s.gradients(TaskMode::kOneByOne), c10::Error);
}

TEST(Step, AnInfiniteLossNamesItsTask) {
  Fixture s(tiny_config({"semseg", "depth"}));
  s.batch.labels[static_cast<std::size_t>(TaskId::kDepth)].fill_(1e308);
  s.batch.labels[static_cast<std::size_t>(TaskId::kDepth)].mul_(1.0);
  s.gradients(TaskMode::kJoint);
  EXPECT_EQ(s.losses.first_bad_task(), 1);
}

/// One 1×1 convolution: no statistics across the batch, so that halves of a batch add up to the whole.
class PixelNetwork final : public NetworkImpl {
 public:
  PixelNetwork() : conv_(register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 1, 1)))) {}
  torch::Tensor prefix(const torch::Tensor& images) override { return images; }
  TaskOutput task_pass(const torch::Tensor& prefix, int) override {
    TaskOutput out;
    out.raw = conv_(prefix);
    return out;
  }
  void keep_routing(bool) override {}

 private:
  torch::nn::Conv2d conv_;
};

TEST(Step, AccumulatedHalvesGiveTheGradientOfTheWholeBatch) {
  Config c = tiny_config({"depth"});
  c.model.moe.reset();
  PixelNetwork network;
  network.to(torch::kDouble);
  const BatchTensors whole = random_batch(c, 4, torch::kDouble);
  forward_backward(network, c, whole, {});
  const torch::Tensor expected = network.parameters()[0].grad().clone();
  network.zero_grad();
  for (const int first : {0, 2}) {
    BatchTensors half = whole;
    half.images = whole.images.slice(0, first, first + 2);
    const auto depth = static_cast<std::size_t>(TaskId::kDepth);
    half.labels[depth] = whole.labels[depth].slice(0, first, first + 2);
    forward_backward(network, c, half, {.scale = 0.5});
  }
  EXPECT_TRUE(torch::allclose(network.parameters()[0].grad(), expected, 1e-12, 1e-12));
}

/// The update by hand: Σ_t w_t·g_t on what two tasks share, the plain sum elsewhere.
Gradients combined(const std::vector<Gradients>& tasks, const std::vector<double>& weights) {
  std::map<std::string, int> users;
  for (const Gradients& g : tasks) {
    for (const auto& [name, value] : g) ++users[name];
  }
  Gradients sum;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    for (const auto& [name, value] : tasks[t]) {
      const torch::Tensor part = users[name] > 1 ? value * weights[t] : value;
      sum[name] = sum.contains(name) ? sum[name] + part : part;
    }
  }
  return sum;
}

double product(const Gradients& a, const Gradients& b, const std::vector<Gradients>& all) {
  double sum = 0;
  for (const auto& [name, value] : a) {
    int users = 0;
    for (const Gradients& g : all) users += g.contains(name) ? 1 : 0;
    if (users > 1 && b.contains(name)) sum += (value * b.at(name)).sum().item<double>();
  }
  return sum;
}

TEST_P(StepByGate, MeasuringConflictChangesNeitherGradientNorLosses) {
  Fixture s(weighted_config(GetParam()));
  const Gradients joint = s.gradients(TaskMode::kJoint);
  const StepLosses plain = s.losses;
  expect_equal(s.gradients(TaskMode::kJoint, {.conflict = true}), joint, 1e-10);
  EXPECT_EQ(s.losses.tasks, plain.tasks);
  EXPECT_NEAR(s.losses.total, plain.total, 1e-10);
  EXPECT_FALSE(s.losses.conflict.empty());
}

TEST(Conflict, LayersHoldTheProductsOfTheTasksGradientsAndLeaveOutWhatOneTaskOwns) {
  Config c = weighted_config(Gate::kMulti);
  c.tasks.resize(3);
  Fixture s(c);
  const std::vector<Gradients> tasks = s.task_gradients();
  s.gradients(TaskMode::kJoint, {.conflict = true});
  const std::string layer = "backbone.blocks.1.mlp";
  bool seen = false;
  for (const LayerConflict& l : s.losses.conflict) {
    EXPECT_FALSE(l.layer.starts_with("decoders.")) << l.layer;
    if (l.layer != layer) continue;
    seen = true;
    for (int a = 0; a < 3; ++a) {
      for (int b = 0; b < 3; ++b) {
        double want = 0;
        for (const auto& [name, value] : tasks[static_cast<std::size_t>(a)]) {
          if (!name.starts_with(layer + ".experts")) continue;  // each task's router is its own
          want += (value * tasks[static_cast<std::size_t>(b)].at(name)).sum().item<double>();
        }
        EXPECT_NEAR(l.gram(a, b), want, 1e-4 * std::max(1.0, std::abs(want)));  // summed in f32
      }
    }
  }
  EXPECT_TRUE(seen);
}

TEST(Conflict, LayerNames) {
  EXPECT_EQ(layer_of("backbone.blocks.3.mlp.experts.htoh4.weight"), "backbone.blocks.3.mlp");
  EXPECT_EQ(layer_of("backbone.blocks.12.norm1.weight"), "backbone.blocks.12.norm1");
  EXPECT_EQ(layer_of("backbone.patch_embed.proj.bias"), "backbone.patch_embed.proj");
  EXPECT_EQ(layer_of("alone"), "alone");
}

TEST(Weighted, SurgeryMovesSharedWeightsByTheMethodsCombinationAndOwnWeightsByTheirTask) {
  Config c = weighted_config(Gate::kMulti);
  c.tasks.resize(2);
  c.train.weighting.method = Weighting::kPcgrad;
  Fixture s(c);
  const std::vector<Gradients> tasks = s.task_gradients();
  // Yu et al. 2020, by hand for two tasks.
  const double aa = product(tasks[0], tasks[0], tasks), bb = product(tasks[1], tasks[1], tasks),
               ab = product(tasks[0], tasks[1], tasks);
  const double cut = std::min(ab, 0.0);
  const auto weighting = make_weighting(c.train.weighting, 2, 1);
  const Gradients got = s.gradients(TaskMode::kJoint, {.weighting = weighting.get()});
  expect_equal(got, combined(tasks, {1 - cut / aa, 1 - cut / bb}), 1e-4);
}

TEST(Weighted, LossMethodsWeighHeadsToo) {
  Config c = weighted_config(Gate::kMulti);
  c.tasks.resize(2);
  c.train.weighting.method = Weighting::kFamo;
  Fixture s(c);
  const auto weighting = make_weighting(c.train.weighting, 2, 1);
  const std::vector<Gradients> tasks = s.task_gradients();
  const Gradients got = s.gradients(TaskMode::kJoint, {.weighting = weighting.get()});
  ASSERT_EQ(s.losses.weights.size(), 2U);
  EXPECT_NE(s.losses.weights[0], s.losses.weights[1]);
  Gradients want;
  for (std::size_t t = 0; t < 2; ++t) {
    for (const auto& [name, value] : tasks[t]) {
      const torch::Tensor part = value * s.losses.weights[t];
      want[name] = want.contains(name) ? want[name] + part : part;
    }
  }
  expect_equal(got, want, 1e-9);
  // The same when every task is differentiated for itself.
  const auto again = make_weighting(c.train.weighting, 2, 1);
  expect_equal(s.gradients(TaskMode::kJoint, {.conflict = true, .weighting = again.get()}), want, 1e-9);
}

}  // namespace
}  // namespace m3vit
