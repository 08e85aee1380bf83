#include "core/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "core/config_yaml.h"
#include "error_text.h"

namespace m3vit {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const SourceMap kSource{.file = "f.json", .places = {}};

json minimal() { return {{"tasks", {{{"name", "depth"}}}}}; }

Config decode(const json& tree) { return config_from_json(tree, kSource); }

std::string error_of(const json& tree) {
  return error_text([&] { decode(tree); });
}

/// `minimal()` with one value replaced.
json with(const std::string& pointer, const json& value) {
  json tree = minimal();
  tree[json::json_pointer(pointer)] = value;
  return tree;
}

TEST(ConfigPreset, HasTheSizesOfItsName) {
  struct Row {
    const char* name;
    int height, width, patch, dim, depth, heads, experts, top_k, expert_hidden, channels, stages;
  };
  for (const Row& r :
       {Row{"micro", 96, 128, 8, 96, 6, 3, 8, 2, 192, 48, 3}, Row{"tiny", 512, 512, 16, 192, 12, 3, 16, 4, 192, 256, 4},
        Row{"small", 512, 512, 16, 384, 12, 6, 16, 4, 384, 256, 4},
        Row{"base", 512, 512, 16, 768, 12, 12, 16, 4, 768, 256, 4}}) {
    const ModelConfig m = decode(with("/model/preset", r.name)).model;
    EXPECT_EQ(m.height(), r.height) << r.name;
    EXPECT_EQ(m.width(), r.width) << r.name;
    EXPECT_EQ(m.patch_size, r.patch) << r.name;
    EXPECT_EQ(m.embed_dim, r.dim) << r.name;
    EXPECT_EQ(m.depth, r.depth) << r.name;
    EXPECT_EQ(m.num_heads, r.heads) << r.name;
    ASSERT_TRUE(m.moe) << r.name;
    EXPECT_EQ(m.moe->num_experts, r.experts) << r.name;
    EXPECT_EQ(m.moe->top_k, r.top_k) << r.name;
    EXPECT_EQ(m.expert_hidden(), r.expert_hidden) << r.name;
    EXPECT_EQ(m.head.channels, r.channels) << r.name;
    EXPECT_EQ(m.head.stages, r.stages) << r.name;
  }
  EXPECT_EQ(preset_names(), (std::vector<std::string>{"micro", "tiny", "small", "base"}));
}

TEST(ConfigPreset, ExplicitKeysWinWhateverTheirOrder) {
  json tree = minimal();
  tree["model"] = {{"depth", 4}, {"preset", "tiny"}, {"moe", {{"top_k", 1}}}};
  const ModelConfig m = decode(tree).model;
  EXPECT_EQ(m.depth, 4);
  EXPECT_EQ(m.embed_dim, 192);
  EXPECT_EQ(m.moe->top_k, 1);
  EXPECT_EQ(m.moe->num_experts, 16);
}

TEST(ConfigPreset, ExplicitNullMakesItDense) {
  json tree = with("/model/preset", "micro");
  tree["model"]["moe"] = nullptr;
  EXPECT_FALSE(decode(tree).model.moe);
}

TEST(ConfigPreset, UnknownNameListsTheValidOnes) {
  EXPECT_EQ(error_of(with("/model/preset", "smal")),
            "f.json: model.preset: want one of micro, tiny, small, base, found \"smal\" (did you mean 'small'?)");
}

TEST(ConfigDecode, DefaultsNeedOnlyATask) {
  const Config c = decode(minimal());
  EXPECT_EQ(c.model.embed_dim, 384);
  EXPECT_EQ(c.tasks.size(), 1U);
  EXPECT_EQ(c.tasks[0].id(), TaskId::kDepth);
  EXPECT_EQ(c.task_index("depth"), 0);
  EXPECT_EQ(c.task_index("semseg"), std::nullopt);
}

TEST(ConfigDecode, MetadataMayHoldModelAndTasksAlone) {
  const Config c = config_from_text(R"({"model":{"embed_dim":96,"num_heads":3},"tasks":[{"name":"sal"}]})", "m.st");
  EXPECT_EQ(c.model.embed_dim, 96);
}

TEST(ConfigDecode, EveryKeySurvivesARoundTrip) {
  json tree = minimal();
  tree["model"] = {
      {"preset", "micro"}, {"image_size", {64, 32}},
      {"mlp_ratio", 2.5},  {"drop_path", 0.1},
      {"tam", true},       {"moe", {{"gate", "task_conditioned"}, {"noise_std", 1.0}, {"prune_below", 0.1}}}};
  tree["tasks"].push_back({{"name", "semseg"}, {"outputs", 13}, {"loss_weight", 0.3}});
  tree["data"] = {{"dataset", "folder"}, {"root", "pictures/ä"}, {"augment", {{"scales", {1, 1.2, 1.5}}}}};
  tree["train"] = {{"optimizer", "adamw"}, {"schedule", "cosine"}, {"lr", 1e-7}, {"seed", 1LL << 52}};
  const Config c = decode(tree);
  const json once = to_json(c);
  EXPECT_EQ(to_json(decode(once)), once);
  EXPECT_EQ(to_json(config_from_text(once.dump(), "x")), once);
  EXPECT_EQ(to_json(parse_config(to_yaml(c), "x.yaml")), once);
  EXPECT_EQ(once["train"]["lr"], 1e-7);
  EXPECT_EQ(once["model"]["moe"]["gate"], "task_conditioned");
}

TEST(ConfigDecode, ADenseModelSurvivesARoundTrip) {
  for (const char* preset : {"", "micro"}) {
    json tree = with("/model/moe", nullptr);
    tree["model"]["preset"] = preset;
    const json once = to_json(decode(tree));
    EXPECT_TRUE(once["model"]["moe"].is_null());
    EXPECT_EQ(to_json(decode(once)), once);
  }
}

struct BadValue {
  const char* pointer;
  json value;
  const char* message;
};

class ConfigRejects : public testing::TestWithParam<BadValue> {};

TEST_P(ConfigRejects, WithAMessageThatNamesTheKeyAndTheExpectation) {
  EXPECT_EQ(error_of(with(GetParam().pointer, GetParam().value)), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Types, ConfigRejects,
    testing::Values(
        BadValue{"/model/depth", "12", "f.json: model.depth: want an integer, found \"12\""},
        BadValue{"/model/depth", 12.0, "f.json: model.depth: want an integer, found 12.0"},
        BadValue{"/model/depth", 12.5, "f.json: model.depth: want an integer, found 12.5"},
        BadValue{"/model/depth", nullptr, "f.json: model.depth: want an integer, found null"},
        BadValue{"/model/depth", true, "f.json: model.depth: want an integer, found true"},
        BadValue{"/model/depth", 4294967296,
                 "f.json: model.depth: want an integer in -2147483648 … 2147483647, found 4294967296"},
        BadValue{"/train/seed", 18446744073709551615ULL,
                 "f.json: train.seed: want an integer in -9223372036854775808 … 9223372036854775807, "
                 "found 18446744073709551615"},
        BadValue{"/train/lr", "fast", "f.json: train.lr: want a number, found \"fast\""},
        BadValue{"/train/lr", std::numeric_limits<double>::quiet_NaN(),
                 "f.json: train.lr: want a finite number, found nan"},
        BadValue{"/train/lr", std::numeric_limits<double>::infinity(),
                 "f.json: train.lr: want a finite number, found infinity"},
        BadValue{"/train/amp", 1, "f.json: train.amp: want true or false, found 1"},
        BadValue{"/data/root", 2024, "f.json: data.root: want a string, found 2024 (quote it)"},
        BadValue{"/data/augment/scale", 1.0, "f.json: data.augment.scale: want a list, found 1.0"},
        BadValue{"/model", json::array(),
                 "f.json: model: want a map with the keys preset, image_size, patch_size, embed_dim, depth, num_heads, "
                 "mlp_ratio, drop_path, moe, resnet, head, tam, found []"},
        BadValue{"/train/optimizer", "adam",
                 "f.json: train.optimizer: want one of sgd, adamw, found \"adam\" (did you mean 'adamw'?)"},
        BadValue{"/model/moe/gate", 3,
                 "f.json: model.moe.gate: want one of multi, task_conditioned, shared, found 3"}));

INSTANTIATE_TEST_SUITE_P(
    Keys, ConfigRejects,
    testing::Values(
        BadValue{"/model/moe/topk", 2,
                 "f.json: model.moe.topk: want one of the keys every, num_experts, top_k, expert_hidden, gate, "
                 "gate_task_dim, noise_std, balance_weight, experts_per_task, prune_below, found an unknown key "
                 "(did you mean 'top_k'?)"},
        BadValue{"/tasks/0/weight_of_everything", 2,
                 "f.json: tasks.0.weight_of_everything: want one of the keys name, outputs, loss_weight, found an "
                 "unknown key"},
        BadValue{"/trian", 2,
                 "f.json: trian: want one of the keys protocol, model, tasks, data, train, eval, found an unknown key "
                 "(did you mean 'train'?)"},
        BadValue{"/a~1b\n", 2,
                 "f.json: \"a/b\\n\": want one of the keys protocol, model, tasks, data, train, eval, found an unknown "
                 "key"}));

INSTANTIATE_TEST_SUITE_P(
    Ranges, ConfigRejects,
    testing::Values(
        BadValue{"/tasks", json::array(),
                 "f.json: tasks: want at least one task of semseg, depth, normals, edge, sal, human_parts, found none"},
        BadValue{"/tasks/0/name", "deth",
                 "f.json: tasks.0.name: want one of semseg, depth, normals, edge, sal, human_parts, found \"deth\" "
                 "(did you mean 'depth'?)"},
        BadValue{"/tasks/1/name", "depth", "f.json: tasks.1.name: want each task once, found 'depth' twice"},
        BadValue{"/tasks/0/outputs", 2, "f.json: tasks.0.outputs: want 1 for depth, found 2"},
        BadValue{"/tasks/0/loss_weight", -1, "f.json: tasks.0.loss_weight: want 0.0 … 1000000.0, found -1.0"},
        BadValue{"/model/num_heads", 5, "f.json: model.embed_dim: want a multiple of num_heads (5), found 384"},
        BadValue{"/model/num_heads", 0, "f.json: model.num_heads: want 1 … 1024, found 0"},
        BadValue{"/model/image_size", json::array({512, 500}),
                 "f.json: model.image_size.1: want a multiple of patch_size (16), found 500"},
        BadValue{"/model/image_size", json::array({512}),
                 "f.json: model.image_size: want [height, width], found 1 numbers"},
        BadValue{"/model/image_size", json::array({0, 512}), "f.json: model.image_size.0: want 1 … 16384, found 0"},
        BadValue{"/model/patch_size", 0, "f.json: model.patch_size: want 1 … 1024, found 0"},
        BadValue{"/model/embed_dim", 16386, "f.json: model.embed_dim: want 1 … 16384, found 16386"},
        BadValue{"/model/depth", 1025, "f.json: model.depth: want 1 … 1024, found 1025"},
        BadValue{"/model/drop_path", 1, "f.json: model.drop_path: want a probability below 1, found 1.0"},
        BadValue{"/model/mlp_ratio", 0.001,
                 "f.json: model.mlp_ratio: want a ratio with mlp_ratio × embed_dim ≥ 1, found 0.001"},
        BadValue{"/model/head/stages", 9, "f.json: model.head.stages: want 1 … 8, found 9"},
        BadValue{"/model/moe/num_experts", 65537, "f.json: model.moe.num_experts: want 1 … 65536, found 65537"},
        BadValue{"/model/moe/top_k", 24, "f.json: model.moe.top_k: want 1 … num_experts (16), found 24"},
        BadValue{"/model/moe/top_k", 0, "f.json: model.moe.top_k: want 1 … num_experts (16), found 0"},
        BadValue{"/model/moe/experts_per_task", 3, "f.json: model.moe.top_k: want 1 … experts_per_task (3), found 4"},
        BadValue{"/model/moe/experts_per_task", 17, "f.json: model.moe.experts_per_task: want 0 … 16, found 17"},
        BadValue{"/model/moe/every", 13,
                 "f.json: model.moe.every: want at most depth (12), or no block has experts, found 13"},
        BadValue{"/model/moe/prune_below", 1.5, "f.json: model.moe.prune_below: want 0.0 … 1.0, found 1.5"},
        BadValue{"/data/dataset", "nuyd",
                 "f.json: data.dataset: want one of rooms, folder, nyud, pascal_context, cityscapes, found \"nuyd\" "
                 "(did you mean 'nyud'?)"},
        BadValue{"/data/dataset", "cityscapes",
                 "f.json: data.root: want its directory, as data.dataset is cityscapes, found none"},
        BadValue{"/protocol", "B", "f.json: protocol: want one of S, A, MTAN, found \"B\""},
        BadValue{
            "/eval/edge_setting", "seism",
            "f.json: eval.edge_setting: want one of custom, survey, astmt, bdet_pascal, bdet_nyud, found \"seism\""},
        BadValue{"/data/dataset", "folder",
                 "f.json: data.root: want its directory, as data.dataset is folder, found none"},
        BadValue{"/data/augment/flip", 1.1, "f.json: data.augment.flip: want 0.0 … 1.0, found 1.1"},
        BadValue{"/data/augment/scale", json::array({1.5, 0.5}),
                 "f.json: data.augment.scale: want [low, high] with low ≤ high, found [1.5,0.5]"},
        BadValue{"/train/batch_size", 0, "f.json: train.batch_size: want 1 … 65536, found 0"},
        BadValue{"/train/momentum", 1.0, "f.json: train.momentum: want 0 or more, below 1, found 1.0"},
        BadValue{"/train/device", "gpu", "f.json: train.device: want one of auto, cpu, cuda, found \"gpu\""}));

TEST(ConfigValidate, AWindowOfExpertsNeedsRoomForEachTaskAndItsOwnRouter) {
  json tree = minimal();
  tree["tasks"].push_back({{"name", "sal"}});
  tree["model"]["moe"] = {{"experts_per_task", 8}};
  EXPECT_EQ(error_of(tree), "(no error)");
  tree["model"]["moe"]["experts_per_task"] = 9;
  EXPECT_EQ(error_of(tree),
            "f.json: model.moe.experts_per_task: want at most num_experts / tasks (16 / 2), so that each task has its "
            "window, found 9");
  tree["model"]["moe"] = {{"experts_per_task", 4}, {"gate", "shared"}};
  EXPECT_THAT(error_of(tree), HasSubstr("want 0 unless gate is multi"));
}

TEST(ConfigValidate, TaskAffinityNeedsAllTasksAtOnce) {
  json tree = minimal();
  tree["model"]["tam"] = true;
  EXPECT_EQ(error_of(tree), "(no error)");
  tree["train"]["mode"] = "one_by_one";
  EXPECT_EQ(error_of(tree),
            "f.json: train.mode: want joint, as model.tam mixes the features of all tasks, found one_by_one");
}

TEST(ConfigValidate, SizesWhoseProductOverflowsAreRefusedThoughEachIsInRange) {
  json tree = minimal();
  tree["model"] = {{"embed_dim", 16384},
                   {"num_heads", 16},
                   {"depth", 1024},
                   {"moe", {{"num_experts", 65536}, {"expert_hidden", 65536}}}};
  EXPECT_THAT(error_of(tree), HasSubstr("model: want at most 4398046511104.0 parameters, found about"));
  tree["model"] = {{"embed_dim", 4096}, {"num_heads", 16}, {"depth", 1024}, {"image_size", {16384, 16384}},
                   {"patch_size", 1},   {"moe", nullptr}};
  EXPECT_THAT(error_of(tree), HasSubstr("MACs a frame"));
}

TEST(ConfigValidate, ChecksAConfigMadeInCode) {
  Config c = decode(minimal());
  c.model.moe->top_k = 99;
  EXPECT_THROW(validate(c, kSource), Error);
}

TEST(ConfigText, RefusesWhatIsNotStrictJson) {
  const auto error = [](std::string_view text) { return error_text([&] { config_from_text(text, "m.st"); }); };
  EXPECT_THAT(error("{\"tasks\":[}"), HasSubstr("m.st: config: want JSON, found parse error at line 1, column 11"));
  EXPECT_THAT(error(R"({"tasks":[{"name":"depth"}],"tasks":[]})"),
              HasSubstr("m.st: config: want each key once, found \"tasks\" twice"));
  EXPECT_THAT(error(std::string(100'000, '[')), HasSubstr("want at most 32 levels of nesting"));
  EXPECT_THAT(error("[1]"), HasSubstr("want a map with the keys protocol, model, tasks"));
  EXPECT_THAT(error("{\"tasks\":[{\"name\":\"\xFF\"}]}"), HasSubstr("want JSON"));
  std::string many = "{\"tasks\":[0";
  for (int i = 0; i < 200'000; ++i) many += ",0";
  EXPECT_THAT(error(many + "]}"), HasSubstr("want at most 100000 JSON values"));
}

TEST(ConfigSourceMap, FindsTheNearestEnclosingPlace) {
  const SourceMap source{.file = "f", .places = {{"/model", "f:1:1"}, {"/model/moe", "f:2:3"}}};
  EXPECT_EQ(source.at("/model/moe/top_k"), "f:2:3");
  EXPECT_EQ(source.at("/model/moe2"), "f:1:1");
  EXPECT_EQ(source.at("/train/lr"), "f");
  EXPECT_EQ(source.at(""), "f");
}

}  // namespace
}  // namespace m3vit
