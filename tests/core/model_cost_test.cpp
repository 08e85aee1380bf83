#include "core/model_cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config_yaml.h"
#include "error_text.h"

namespace m3vit {
namespace {

Config config(const std::string& yaml) { return parse_config(yaml, "test"); }

/// GMAC to the published two decimals.
double giga(std::int64_t macs) { return std::round(static_cast<double>(macs) / 1e7) / 100; }

TEST(ModelCost, SmallAt512MeetsThePublishedCount) {
  // The paper's 84 G: one head of 256 channels, 40 classes (NYUD). 84.06 is the count of the equally active dense
  // network; the routers add 0.04.
  const ModelCost cost = model_cost(config("model: {preset: small}\ntasks: [{name: semseg, outputs: 40}]\n"));
  const TaskCost& t = cost.tasks.at(0);
  EXPECT_EQ(giga(t.total - t.router), 84.06);
  EXPECT_NEAR(static_cast<double>(t.total), 84.06e9, 0.05e9);
  EXPECT_EQ(t.router, 6LL * 1025 * 384 * 16);
  EXPECT_EQ(giga(t.linear + t.experts + t.router), 21.80);
  EXPECT_EQ(giga(t.attention), 9.68);
  EXPECT_EQ(giga(t.patch_embed), 0.30);
  EXPECT_EQ(giga(t.head), 52.31);
}

/// One task of a recipe of the paper's sizes, in GMAC.
struct Parts {
  double encoder, head;  ///< encoder: all that a task's inference needs before its head
  double total() const { return encoder + head; }
};
Parts parts(const std::string& model, const std::string& tasks) {
  const TaskCost t = model_cost(config("model: " + model + "\ntasks: [" + tasks + "]\n")).tasks.at(0);
  return {static_cast<double>(t.total - t.head - t.router) * 1e-9, static_cast<double>(t.head) * 1e-9};
}
constexpr const char* kNyudTasks = "{name: semseg, outputs: 40}, {name: depth}";
constexpr const char* kPascalTasks =
    "{name: semseg, outputs: 21}, {name: human_parts}, {name: sal}, {name: edge}, {name: normals}";
std::string resnet(int depth, const std::string& size, const std::string& sharing) {
  return "{preset: small, image_size: " + size +
         ", patch_size: 8, head: {stages: 3}, moe: null, resnet: {depth: " + std::to_string(depth) +
         ", sharing: " + sharing + "}}";
}
/// DeepLab's head as the published rivals have it, in GMAC: ASPP (a 1×1, three 3×3, pooling, 1×1), a 3×3, a 1×1.
double deeplab(double in, double height, double width, double outputs) {
  const double pixels = height / 8 * width / 8;
  return (pixels * (in * 256 + 3 * 9 * in * 256 + 5 * 256 * 256 + 9 * 256 * 256 + 256 * outputs) + in * 256) * 1e-9;
}

TEST(ModelCost, MeetsThePublishedFiguresOfTheViTRowsWithinTwoPercent) {
  const auto near = [](double ours, double published) { EXPECT_NEAR(ours / published, 1, 0.02) << published; };
  near(parts("{preset: small, moe: null}", kPascalTasks).total(), 83);                         // M-ViT
  near(parts("{preset: small}", kPascalTasks).total(), 84);                                    // M³ViT
  near(parts("{preset: small, image_size: [480, 640], moe: null}", kNyudTasks).total(), 100);  // M-ViT, NYUD-v2
  near(parts("{preset: base, image_size: [480, 640], moe: null}", kNyudTasks).total(), 191);   // the base size
}

TEST(ModelCost, MeetsThePublishedFiguresOfNyudsRivalsWithTheirOwnHead) {
  // NYUD-v2's rivals are ResNet-50 with DeepLab's head, of which one task's is run; ours have M³ViT's head.
  const auto near = [](double ours, double published) { EXPECT_NEAR(ours / published, 1, 0.02) << published; };
  const double head = deeplab(2048, 480, 640, 40);
  const auto encoder = [](const char* sharing) { return parts(resnet(50, "[480, 640]", sharing), kNyudTasks).encoder; };
  near(encoder("shared") + head, 192);        // single-task, MTL-B
  near(encoder("cross_stitch") + head, 310);  // two encoders
}

TEST(ModelCost, OneTaskOfM3ViTIsEightyEightPercentBelowNetworksThatRunEveryTask) {
  // 84 G against what Cross-Stitch and NDDR-CNN run: an encoder and a head for each of the five tasks.
  const double ours = parts("{preset: small}", kPascalTasks).total();
  for (const char* sharing : {"cross_stitch", "nddr_cnn"}) {
    const Parts r = parts(resnet(50, "[512, 512]", sharing), kPascalTasks);
    EXPECT_GT(1 - ours / (r.encoder + 5 * r.head), 0.88) << sharing;
    // ResNet-18's encoders are half as large: less is saved, and less still where one head is run.
    const Parts small = parts(resnet(18, "[512, 512]", sharing), kPascalTasks);
    EXPECT_GT(1 - ours / (small.encoder + 5 * small.head), 0.83) << sharing;
    EXPECT_GT(1 - ours / small.total(), 0.71) << sharing;
  }
}

TEST(ModelCost, TopKTimesExpertHiddenDecidesTheActiveCostNotTheNumberOfExperts) {
  const auto task = [](const std::string& moe) {
    return model_cost(config("model: {preset: small, moe: " + moe + "}\ntasks: [{name: depth}]\n")).tasks.at(0);
  };
  const TaskCost dense = task("null");
  const TaskCost moe = task("{num_experts: 16, top_k: 4, expert_hidden: 384}");
  EXPECT_EQ(moe.total - moe.router, dense.total);
  const TaskCost wide = task("{num_experts: 1024, top_k: 4, expert_hidden: 384}");
  EXPECT_EQ(wide.experts, moe.experts);
  EXPECT_EQ(wide.router, 64 * moe.router);
}

TEST(ModelCost, HandCountedTinyNetwork) {
  // 8×8 image, patch 4: 2×2 grid, 5 tokens; embed 6; 2 blocks, the second with 3 experts of 5 units, top 2.
  const ModelCost cost = model_cost(
      config("model: {image_size: [8, 8], patch_size: 4, embed_dim: 6, depth: 2, num_heads: 2, mlp_ratio: 2,\n"
             "        moe: {num_experts: 3, top_k: 2, expert_hidden: 5}, head: {channels: 7, stages: 2}}\n"
             "tasks: [{name: normals}, {name: depth}]\n"));
  const TaskCost& t = cost.tasks.at(0);
  EXPECT_EQ(t.task, "normals");
  EXPECT_EQ(t.patch_embed, 4 * 48 * 6);
  EXPECT_EQ(t.attention, 2 * (2 * 5 * 5 * 6));
  EXPECT_EQ(t.linear, 5 * (2 * (6 * 18 + 6 * 6) + 6 * 12 + 12 * 6));
  EXPECT_EQ(t.router, 5 * 6 * 3);
  EXPECT_EQ(t.experts, 5 * 2 * (6 * 5 + 5 * 6));
  EXPECT_EQ(t.head, 4 * 6 * 7 * 9 + 16 * 7 * 7 * 9 + 16 * 7 * 3);
  EXPECT_EQ(t.total, t.patch_embed + t.attention + t.linear + t.router + t.experts + t.head);

  const std::int64_t embed = 48 * 6 + 6 + 6 + 5 * 6;
  const std::int64_t attention = 4 * 6 + 6 * 18 + 18 + 6 * 6 + 6;
  const std::int64_t mlp = 6 * 12 + 12 + 12 * 6 + 6;
  const std::int64_t expert = 6 * 5 + 5 + 5 * 6 + 6;
  const std::int64_t router = 6 * 3;
  const auto head = [](std::int64_t outputs) {
    return 12 + (6 * 7 * 9 + 7) + 14 + (7 * 7 * 9 + 7) + 14 + 7 * outputs + outputs;
  };
  EXPECT_EQ(cost.params, embed + 2 * attention + mlp + 3 * expert + 2 * router + head(3) + head(1));
  EXPECT_EQ(t.active_params, embed + 2 * attention + mlp + 2 * expert + router + head(3));
}

std::vector<std::string> random_models() {
  std::vector<std::string> models;
  for (const char* gate : {"multi", "task_conditioned", "shared"}) {
    for (const char* preset : {"micro", "tiny"}) {
      models.push_back(std::string("{preset: ") + preset + ", moe: {gate: " + gate + ", gate_task_dim: 5}}");
    }
  }
  models.push_back("{preset: micro, moe: null}");
  models.push_back("{preset: micro, moe: {experts_per_task: 2}}");
  models.push_back("{preset: micro, depth: 5, moe: {every: 3, num_experts: 6}}");
  return models;
}

TEST(ModelCost, LayersAddUpToTheTaskForEveryKindOfModel) {
  for (const std::string& model : random_models()) {
    const ModelCost cost = model_cost(config("model: " + model + "\ntasks: [{name: depth}, {name: sal}]\n"));
    ASSERT_EQ(cost.tasks.size(), 2U);
    for (const TaskCost& t : cost.tasks) {
      std::map<std::string, std::int64_t> kinds;
      std::int64_t total = 0;
      std::int64_t active = 0;
      for (const LayerCost& layer : t.layers) {
        kinds[layer.kind] += layer.macs;
        total += layer.macs;
        active += layer.active_params;
        EXPECT_LE(layer.active_params, layer.params) << layer.name;
      }
      EXPECT_EQ(total, t.total) << model;
      EXPECT_EQ(active, t.active_params) << model;
      EXPECT_EQ(kinds["router"], t.router);
      EXPECT_EQ(kinds["experts"], t.experts);
      EXPECT_EQ(kinds["head"], t.head);
      EXPECT_LE(t.active_params, cost.params);
    }
  }
}

TEST(ModelCost, WhatOneTaskStoresPlusTheOthersPrivatePartsIsTheWholeModel) {
  // Layers that belong to a task: its decoder and, with `multi`, its routers. Everything else is shared.
  for (const std::string& model : random_models()) {
    const ModelCost cost = model_cost(config("model: " + model + "\ntasks: [{name: depth}, {name: sal}]\n"));
    std::map<std::string, std::int64_t> stored;
    for (const TaskCost& t : cost.tasks) {
      for (const LayerCost& layer : t.layers) stored[layer.name] = layer.params;
    }
    std::int64_t sum = 0;
    for (const auto& [name, params] : stored) sum += params;
    EXPECT_EQ(sum, cost.params) << model;
  }
}

std::map<std::string, std::vector<std::int64_t>> shapes(const std::string& yaml) {
  std::map<std::string, std::vector<std::int64_t>> all;
  for (const TensorSpec& t : expected_tensors(config(yaml))) {
    EXPECT_TRUE(all.emplace(t.name, t.shape).second) << t.name << " twice";
    EXPECT_EQ(t.buffer, t.name.find("running_") != std::string::npos) << t.name;
  }
  return all;
}

using Shape = std::vector<std::int64_t>;

constexpr const char* kShape =
    "model: {image_size: [8, 12], patch_size: 4, embed_dim: 6, depth: 2, num_heads: 2, mlp_ratio: 2,\n"
    "        moe: {num_experts: 6, top_k: 2, expert_hidden: 5, gate_task_dim: 9}, head: {channels: 7, stages: 2}}\n"
    "tasks: [{name: semseg, outputs: 11}, {name: depth}]\n";

TEST(ExpectedTensors, NamesAndShapesArePublishedOnes) {
  const auto all = shapes(kShape);
  const std::map<std::string, Shape> want{
      {"backbone.patch_embed.proj.weight", {6, 3, 4, 4}},
      {"backbone.patch_embed.proj.bias", {6}},
      {"backbone.cls_token", {1, 1, 6}},
      {"backbone.pos_embed", {1, 7, 6}},
      {"backbone.blocks.0.norm1.weight", {6}},
      {"backbone.blocks.0.norm1.bias", {6}},
      {"backbone.blocks.0.attn.qkv.weight", {18, 6}},
      {"backbone.blocks.0.attn.qkv.bias", {18}},
      {"backbone.blocks.0.attn.proj.weight", {6, 6}},
      {"backbone.blocks.0.attn.proj.bias", {6}},
      {"backbone.blocks.0.norm2.weight", {6}},
      {"backbone.blocks.0.norm2.bias", {6}},
      {"backbone.blocks.0.mlp.fc1.weight", {12, 6}},
      {"backbone.blocks.0.mlp.fc1.bias", {12}},
      {"backbone.blocks.0.mlp.fc2.weight", {6, 12}},
      {"backbone.blocks.0.mlp.fc2.bias", {6}},
      {"backbone.blocks.1.norm1.weight", {6}},
      {"backbone.blocks.1.norm1.bias", {6}},
      {"backbone.blocks.1.attn.qkv.weight", {18, 6}},
      {"backbone.blocks.1.attn.qkv.bias", {18}},
      {"backbone.blocks.1.attn.proj.weight", {6, 6}},
      {"backbone.blocks.1.attn.proj.bias", {6}},
      {"backbone.blocks.1.norm2.weight", {6}},
      {"backbone.blocks.1.norm2.bias", {6}},
      {"backbone.blocks.1.mlp.experts.htoh4.weight", {6, 5, 6}},
      {"backbone.blocks.1.mlp.experts.htoh4.bias", {6, 5}},
      {"backbone.blocks.1.mlp.experts.h4toh.weight", {6, 6, 5}},
      {"backbone.blocks.1.mlp.experts.h4toh.bias", {6, 6}},
      {"backbone.blocks.1.mlp.gate.0.w_gate", {6, 6}},
      {"backbone.blocks.1.mlp.gate.1.w_gate", {6, 6}},
      {"decoders.semseg.norm.weight", {6}},
      {"decoders.semseg.norm.bias", {6}},
      {"decoders.semseg.conv_0.weight", {7, 6, 3, 3}},
      {"decoders.semseg.conv_0.bias", {7}},
      {"decoders.semseg.syncbn_fc_0.weight", {7}},
      {"decoders.semseg.syncbn_fc_0.bias", {7}},
      {"decoders.semseg.syncbn_fc_0.running_mean", {7}},
      {"decoders.semseg.syncbn_fc_0.running_var", {7}},
      {"decoders.semseg.conv_1.weight", {7, 7, 3, 3}},
      {"decoders.semseg.conv_1.bias", {7}},
      {"decoders.semseg.syncbn_fc_1.weight", {7}},
      {"decoders.semseg.syncbn_fc_1.bias", {7}},
      {"decoders.semseg.syncbn_fc_1.running_mean", {7}},
      {"decoders.semseg.syncbn_fc_1.running_var", {7}},
      {"decoders.semseg.conv_2.weight", {11, 7, 1, 1}},
      {"decoders.semseg.conv_2.bias", {11}},
  };
  std::map<std::string, Shape> found;
  for (const auto& [name, shape] : all) {
    if (name.find("decoders.depth.") != 0) found[name] = shape;
  }
  EXPECT_EQ(found, want);
  EXPECT_EQ(all.at("decoders.depth.conv_2.weight"), (Shape{1, 7, 1, 1}));
}

TEST(ExpectedTensors, FollowTheGate) {
  std::string yaml = kShape;
  yaml.replace(yaml.find("gate_task_dim"), 0, "gate: task_conditioned, ");
  auto all = shapes(yaml);
  EXPECT_EQ(all.at("backbone.blocks.1.mlp.gate.w_gate"), (Shape{6 + 9, 6}));
  EXPECT_EQ(all.at("backbone.gate_task_represent.fc1.weight"), (Shape{9, 2}));
  EXPECT_EQ(all.at("backbone.gate_task_represent.fc1.bias"), (Shape{9}));
  EXPECT_EQ(all.at("backbone.gate_task_represent.fc2.weight"), (Shape{9, 9}));
  EXPECT_EQ(all.at("backbone.gate_task_represent.norm.bias"), (Shape{9}));
  EXPECT_FALSE(all.contains("backbone.blocks.1.mlp.gate.0.w_gate"));

  yaml = kShape;
  yaml.replace(yaml.find("gate_task_dim"), 0, "gate: shared, ");
  all = shapes(yaml);
  EXPECT_EQ(all.at("backbone.blocks.1.mlp.gate.w_gate"), (Shape{6, 6}));
  EXPECT_FALSE(all.contains("backbone.gate_task_represent.fc1.weight"));

  yaml = kShape;
  yaml.replace(yaml.find("gate_task_dim"), 0, "experts_per_task: 3, ");
  EXPECT_EQ(shapes(yaml).at("backbone.blocks.1.mlp.gate.1.w_gate"), (Shape{6, 3}));
}

TEST(ExpectedTensors, ClassesLeftToADataSetMustBeFilledFirst) {
  const Config c = config("tasks: [{name: depth}, {name: semseg}]\n");
  EXPECT_EQ(error_text([&] { expected_tensors(c); }),
            "tasks.1.outputs: want the number of classes of semseg, found 0 (it comes from the data set when there is "
            "one)");
}

TEST(ModelCost, JsonHasTheDocumentedKeys) {
  const nlohmann::json j = to_json(model_cost(config("model: {preset: micro}\ntasks: [{name: depth}, {name: sal}]\n")));
  EXPECT_TRUE(j["params"]["total"].is_number_integer());
  EXPECT_TRUE(j["params"]["active_per_task"]["sal"].is_number_integer());
  std::int64_t sum = 0;
  for (const char* key : {"patch_embed", "attention", "linear", "router", "experts", "head"}) {
    sum += j["macs"]["depth"][key].get<std::int64_t>();
  }
  EXPECT_EQ(j["macs"]["depth"]["total"], sum);
}

}  // namespace
}  // namespace m3vit
