#include "core/config_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/yaml_tree.h"
#include "error_text.h"
#include "temp_dir.h"

namespace m3vit {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string error_of(std::string_view yaml, const std::vector<std::string>& sets = {}) {
  return error_text([&] { parse_config(yaml, "r.yaml", sets); });
}

constexpr const char* kGood = R"(# a recipe
model:
  preset: micro
  moe: {top_k: 1}
tasks:
  - {name: depth, loss_weight: 2}
  - name: semseg
    outputs: 13
train:
  lr: 1.0e-3
)";

TEST(ConfigYaml, ReadsARecipe) {
  const Config c = parse_config(kGood, "r.yaml");
  EXPECT_EQ(c.model.embed_dim, 96);
  EXPECT_EQ(c.model.moe->top_k, 1);
  ASSERT_EQ(c.tasks.size(), 2U);
  EXPECT_EQ(c.tasks[1].name, "semseg");
  EXPECT_EQ(c.tasks[0].loss_weight, 2.0);
  EXPECT_EQ(c.train.lr, 1e-3);
}

struct BadYaml {
  const char* yaml;
  const char* message;
};
class YamlRejects : public testing::TestWithParam<BadYaml> {};
TEST_P(YamlRejects, WithFileLineAndColumn) { EXPECT_EQ(error_of(GetParam().yaml), GetParam().message); }

INSTANTIATE_TEST_SUITE_P(
    Table, YamlRejects,
    testing::Values(
        BadYaml{"tasks: [{name: depth}]\nmodel:\n  moe:\n    top_k: 24\n",
                "r.yaml:4:5: model.moe.top_k: want 1 … num_experts (16), found 24"},
        BadYaml{"tasks: [{name: depth}]\nmodel:\n  embed_dim: 100\n",
                "r.yaml:3:3: model.embed_dim: want a multiple of num_heads (6), found 100"},
        BadYaml{"tasks:\n  - name: depth\n    lossweight: 1\n",
                "r.yaml:3:5: tasks.0.lossweight: want one of the keys name, outputs, loss_weight, found an unknown key "
                "(did you mean 'loss_weight'?)"},
        BadYaml{"tasks: [{name: depth}]\ntrain: {amp: yes}\n",
                "r.yaml:2:9: train.amp: want true or false, found \"yes\""},
        BadYaml{"tasks: [{name: depth}]\ntrain: {epochs: \"5\"}\n",
                "r.yaml:2:9: train.epochs: want an integer, found \"5\""},
        BadYaml{"tasks: [{name: depth}]\ntrain: {lr: .nan}\n", "r.yaml:2:9: train.lr: want a finite number, found nan"},
        BadYaml{"tasks: [{name: depth}]\nmodel:\n  image_size: [512, 500]\n",
                "r.yaml:3:21: model.image_size.1: want a multiple of patch_size (16), found 500"},
        BadYaml{"tasks:\n", "r.yaml:1:1: tasks: want a list, found null"},
        BadYaml{"tasks: []\n",
                "r.yaml:1:1: tasks: want at least one task of semseg, depth, normals, edge, sal, human_parts, found "
                "none"},
        BadYaml{"model: {preset: micro}\n",
                "r.yaml: tasks: want at least one task of semseg, depth, normals, edge, sal, human_parts, found none"},
        BadYaml{"",
                "r.yaml: tasks: want at least one task of semseg, depth, normals, edge, sal, human_parts, found "
                "none"},
        BadYaml{"train: {lr: 1}\ntasks: [{name: depth}]\ntrain: {lr: 2}\n",
                "r.yaml:3:1: train: want each key once, found it twice, first at r.yaml:1:1"},
        BadYaml{"tasks:\n  - {name: depth, name: depth}\n",
                "r.yaml:2:19: tasks.0.name: want each key once, found it twice, first at r.yaml:2:6"},
        BadYaml{"[a]: 1\n", "r.yaml:1:1: want a plain key, found a list or map as a key"},
        BadYaml{"&x a: 1\n", "r.yaml:1:1: want a plain key, found an anchor on a key"},
        BadYaml{"a: &x [*x]\n",
                "r.yaml:1:8: want an alias of a finished value, found an alias of the value it lies in"},
        BadYaml{"a: !!python/object:os.system ls\n",
                "r.yaml:1:4: want a value without a tag, found tag:yaml.org,2002:python/object:os.system"},
        BadYaml{"--- {}\n--- {}\n", "r.yaml: want one YAML document, found several"},
        BadYaml{"a: [1, 2\n", "r.yaml:2:1: want YAML, found end of sequence flow not found"},
        BadYaml{"extends: base.yaml\n", "r.yaml:1:1: extends: want none, as this text is no file, found \"base.yaml\""},
        BadYaml{"just text",
                "r.yaml: want a map with the keys protocol, model, tasks, data, train, eval, found \"just text\""}));

TEST(ConfigYaml, DeepNestingIsAnErrorNotAStackOverflow) {
  for (const char* open : {"[", "{a: ", "- ", "? "}) {
    std::string text;
    for (int i = 0; i < 20'000; ++i) text += open;
    EXPECT_NE(error_of(text), "(no error)") << open;
  }
  EXPECT_THAT(error_of("a: " + std::string(65, '[') + std::string(65, ']')), HasSubstr("want at most 64 levels"));
}

TEST(ConfigYaml, AnAliasBombEndsEarly) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 40; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 9; ++k) text += (k > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    text += "]\n";
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(error_of(text), HasSubstr("want at most 100000 values, found more"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(ConfigYaml, ALongStringAliasedOftenEndsEarly) {
  std::string text = "a: &x " + std::string(500'000, 's') + "\nb: [*x";
  for (int i = 0; i < 90'000; ++i) text += ",*x";
  EXPECT_THAT(error_of(text + "]\n"), HasSubstr("want at most 100000 values, found more"));
}

TEST(ConfigYaml, AliasesStandForTheirValue) {
  const Config c = parse_config("tasks: [{name: &n depth}, {name: sal, loss_weight: &w 3}]\ntrain: {lr: *w}\n", "r");
  EXPECT_EQ(c.train.lr, 3.0);
}

TEST(ConfigYaml, AFileBeyondOneMebibyteIsRefused) {
  EXPECT_EQ(error_of(std::string((1U << 20U) + 1, '#')), "r.yaml: want at most 1048576 bytes, found 1048577");
}

TEST(YamlScalar, FollowsTheCoreSchema) {
  struct Row {
    const char* text;
    json value;
  };
  for (const Row& r : {Row{"", nullptr},
                       Row{"~", nullptr},
                       Row{"null", nullptr},
                       Row{"true", true},
                       Row{"FALSE", false},
                       Row{"yes", "yes"},
                       Row{"0", 0U},
                       Row{"-7", -7},
                       Row{"+7", 7U},
                       Row{"0x1F", 31U},
                       Row{"0o17", 15U},
                       Row{"-0x1F", "-0x1F"},
                       Row{"0x", "0x"},
                       Row{"1.5", 1.5},
                       Row{"-.5", -0.5},
                       Row{"1e3", 1000.0},
                       Row{"1.0e-4", 1e-4},
                       Row{"1e-400", 0.0},
                       Row{"12abc", "12abc"},
                       Row{"-", "-"},
                       Row{".", "."},
                       Row{"1.2.3", "1.2.3"},
                       Row{"1_000", "1_000"},
                       Row{"nan", "nan"},
                       Row{"inf", "inf"},
                       Row{"9223372036854775808", 9223372036854775808ULL},
                       Row{"-9223372036854775808", std::numeric_limits<std::int64_t>::min()},
                       Row{"18446744073709551616", 18446744073709551616.0}}) {
    EXPECT_EQ(yaml_scalar(r.text), r.value) << r.text;
    EXPECT_EQ(yaml_scalar(r.text).is_number_float(), r.value.is_number_float()) << r.text;
  }
  EXPECT_TRUE(std::isnan(yaml_scalar(".nan").get<double>()));
  EXPECT_EQ(yaml_scalar("-.inf").get<double>(), -INFINITY);
  EXPECT_EQ(yaml_scalar("1e999").get<double>(), INFINITY);
}

TEST(ConfigSet, OverridesAnyValue) {
  const Config c = parse_config(kGood, "r.yaml",
                                {"train.epochs=5", "tasks.0.loss_weight=0.5", "model.moe.gate=shared",
                                 "train.init=", "model.image_size=[64, 64]", "train.epochs=6", "data.root=\"2024\""});
  EXPECT_EQ(c.train.epochs, 6) << "the last one wins";
  EXPECT_EQ(c.tasks[0].loss_weight, 0.5);
  EXPECT_EQ(c.model.moe->gate, Gate::kShared);
  EXPECT_EQ(c.model.height(), 64);
  EXPECT_EQ(c.data.root, "2024");
}

TEST(ConfigSet, ReplacesAWholeNode) {
  EXPECT_FALSE(parse_config(kGood, "r", {"model.moe=null"}).model.moe);
  EXPECT_EQ(parse_config(kGood, "r", {"model.moe=null", "model.moe.top_k=2"}).model.moe->top_k, 2);
  EXPECT_EQ(parse_config(kGood, "r", {"tasks=[{name: sal}]"}).tasks.size(), 1U);
}

TEST(ConfigSet, ErrorsNameTheOption) {
  EXPECT_EQ(error_of(kGood, {"train.epochs=five"}),
            "--set train.epochs: train.epochs: want an integer, found \"five\"");
  EXPECT_EQ(
      error_of(kGood, {"trian.epochs=5"}),
      "--set trian.epochs: trian: want one of the keys protocol, model, tasks, data, train, eval, found an unknown key "
      "(did you mean 'train'?)");
  EXPECT_EQ(error_of(kGood, {"model.embed_dim=97"}),
            "--set model.embed_dim: model.embed_dim: want a multiple of num_heads (3), found 97");
  EXPECT_EQ(error_of(kGood, {"epochs"}), "--set: want KEY=VALUE, for example train.epochs=5, found \"epochs\"");
  EXPECT_EQ(error_of(kGood, {"=5"}), "--set: want KEY=VALUE, for example train.epochs=5, found \"=5\"");
  EXPECT_EQ(error_of(kGood, {"train..epochs=5"}),
            "--set train..epochs: want keys joined by single dots, found train..epochs");
  EXPECT_EQ(error_of(kGood, {"tasks.2.outputs=5"}), "--set tasks.2.outputs: tasks: want an index 0 … 1, found 2");
  EXPECT_EQ(error_of(kGood, {"tasks.depth.outputs=5"}),
            "--set tasks.depth.outputs: tasks: want an index 0 … 1, found depth");
  EXPECT_EQ(error_of(kGood, {"model.preset.x=5"}), "--set model.preset.x: model.preset: want a map, found \"micro\"");
  EXPECT_THAT(error_of(kGood, {"train.epochs=[1"}), HasSubstr("--set train.epochs:1:"));
}

TEST(ConfigSet, DoesNotMoveTheBlameForOtherKeys) {
  EXPECT_EQ(error_of("tasks: [{name: depth}]\ntrain: {lr: no, epochs: 1}\n", {"train.epochs=5"}),
            "r.yaml:2:9: train.lr: want a number, found \"no\"");
}

TEST(ConfigExtends, MergesMapsAndReplacesTheRest) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "base");
  dir.write("base/deep.yaml", "train: {epochs: 7, lr: 0.5}\nmodel: {preset: micro, moe: {top_k: 1}}\n");
  dir.write("base/mid.yaml", "extends: deep.yaml\ntasks: [{name: depth}, {name: sal}]\ntrain: {lr: 0.25}\n");
  const auto top = dir.write("top.yaml", "extends: base/mid.yaml\nmodel: {moe: null}\ntasks: [{name: edge}]\n");
  const Config c = load_config(top, {"train.momentum=0.5"});
  EXPECT_EQ(c.train.epochs, 7);
  EXPECT_EQ(c.train.lr, 0.25);
  EXPECT_EQ(c.train.momentum, 0.5);
  EXPECT_EQ(c.model.embed_dim, 96);
  EXPECT_FALSE(c.model.moe);
  ASSERT_EQ(c.tasks.size(), 1U);
  EXPECT_EQ(c.tasks[0].name, "edge");
}

TEST(ConfigExtends, ErrorsNameTheFileThatWroteTheValue) {
  const TempDir dir;
  const auto base = dir.write("base.yaml", "tasks: [{name: depth}]\ntrain:\n  epochs: many\n  lr: 1\n");
  const auto top = dir.write("top.yaml", "extends: base.yaml\ntrain: {lr: 2}\n");
  EXPECT_EQ(error_text([&] { load_config(top); }),
            base.string() + ":3:3: train.epochs: want an integer, found \"many\"");
  const auto worse = dir.write("worse.yaml", "extends: base.yaml\ntrain:\n  epochs: 1\n  lr: no\n");
  EXPECT_EQ(error_text([&] { load_config(worse); }), worse.string() + ":4:3: train.lr: want a number, found \"no\"");
}

TEST(ConfigExtends, ReplacedSubtreesForgetTheirOldPlaces) {
  const TempDir dir;
  dir.write("base.yaml", "tasks: [{name: depth, outputs: 1}]\nmodel: {moe: {top_k: 2}}\n");
  const auto top = dir.write("top.yaml", "extends: base.yaml\n\ntasks:\n  - name: nothing\n");
  EXPECT_THAT(error_text([&] { load_config(top); }), HasSubstr(top.string() + ":4:5: tasks.0.name"));
}

TEST(ConfigExtends, ACycleIsAnError) {
  const TempDir dir;
  const auto a = dir.write("a.yaml", "extends: b.yaml\n");
  const auto b = dir.write("b.yaml", "\nextends: ./a.yaml\n");
  EXPECT_EQ(error_text([&] { load_config(a); }),
            b.string() + ":2:1: extends: want a chain of files that ends, found a.yaml → b.yaml → a.yaml");
}

TEST(ConfigExtends, AMissingBaseNamesWhoAskedForIt) {
  const TempDir dir;
  const auto a = dir.write("a.yaml", "extends: nowhere.yaml\n");
  EXPECT_EQ(error_text([&] { load_config(a); }),
            a.string() + ":1:1: want a readable YAML file, found no '" + (dir / "nowhere.yaml").string() + "'");
  const auto b = dir.write("b.yaml", "extends: 5\n");
  EXPECT_EQ(error_text([&] { load_config(b); }), b.string() + ":1:1: extends: want the path of a YAML file, found 5");
  EXPECT_THAT(error_text([&] { load_config(dir.path()); }), HasSubstr("want a YAML file, found the directory"));
}

TEST(ConfigYaml, EveryRecipeOfTheProjectIsValid) {
  const std::filesystem::path folder = std::filesystem::path(M3VIT_SOURCE_DIR) / "configs";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    // configs/reproduce holds tables of recipes, with a reader and tests of their own.
    if (entry.path().extension() != ".yaml" || entry.path().parent_path().filename() == "reproduce") continue;
    const Config c = load_config(entry.path());
    EXPECT_EQ(to_json(parse_config(to_yaml(c), "again")), to_json(c)) << entry.path();
  }
}

TEST(EveryRecipe, Loads) {
  int recipes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(M3VIT_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml" || entry.path().parent_path().filename() == "reproduce") continue;
    ++recipes;
    SCOPED_TRACE(entry.path().string());
    const Config config = load_config(entry.path());
    EXPECT_FALSE(config.tasks.empty());
    // A recipe for a published archive says its classes, so that it can be inspected without the data.
    for (const TaskConfig& t : config.tasks) EXPECT_TRUE(config.data.dataset == "rooms" || t.outputs > 0) << t.name;
    const std::string folder = entry.path().parent_path().filename().string();
    EXPECT_EQ(config.data.dataset, folder == "pascal" ? "pascal_context" : folder);
    const std::string stem = entry.path().stem().string();
    if (stem.starts_with("small_") || stem.starts_with("tiny_")) {
      EXPECT_EQ(config.model.embed_dim, stem.starts_with("small_") ? 384 : 192);
      EXPECT_EQ(config.model.moe.has_value(), stem.find("_m3vit") != std::string::npos);
    }
  }
  EXPECT_GE(recipes, 30);
}

TEST(ProtocolKeys, ThatAProtocolDoesNotUseAreRefused) {
  EXPECT_EQ(error_of("protocol: A\ntasks: [{name: depth}]\ndata: {augment: {scale: [0.5, 2.0]}}\n"), "(no error)");
  EXPECT_THAT(error_of("protocol: A\ntasks: [{name: depth}]\ndata: {augment: {rotate: 20}}\n"),
              HasSubstr("r.yaml:3:18: data.augment.rotate: want 0 under protocol A"));
  EXPECT_THAT(error_of("protocol: A\ntasks: [{name: depth}]\ndata: {augment: {scales: [1.0, 1.5]}}\n"),
              HasSubstr("data.augment.scales: want [] (scale is a range) under protocol A"));
  EXPECT_EQ(error_of("protocol: MTAN\ntasks: [{name: depth}]\ndata: {augment: {scales: [1.0, 1.5]}}\n"), "(no error)");
  EXPECT_THAT(error_of("protocol: MTAN\ntasks: [{name: depth}]\ndata: {augment: {scales: [0.5]}}\n"),
              HasSubstr("data.augment.scales.0: want 1.0 … 100.0, found 0.5"));
  EXPECT_THAT(error_of("tasks: [{name: edge}]\neval: {edge_setting: survey, edge_nms: true}\n"),
              HasSubstr("eval.edge_setting: want custom beside edge_max_dist, edge_thresholds or edge_nms"));
}

}  // namespace
}  // namespace m3vit
