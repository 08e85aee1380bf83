// A wrong recipe: file, line, column, key, expectation and the nearest valid key, exit code 2. One case a mistake.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace m3vit::cli_test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

struct Mistake {
  std::string name, yaml;
  std::vector<std::string> sets;
  std::vector<std::string> says;  ///< substrings of the message, in any order
};

void PrintTo(const Mistake& m, std::ostream* out) { *out << m.name; }

class WrongRecipe : public testing::TestWithParam<Mistake> {};

TEST_P(WrongRecipe, IsNamedWithPlaceAndExpectation) {
  const Scratch scratch;
  write_text(scratch / "recipe.yaml", GetParam().yaml);
  std::vector<std::string> arguments{"inspect", "--config", "recipe.yaml", "--json"};
  for (const std::string& s : GetParam().sets) {
    arguments.emplace_back("--set");
    arguments.push_back(s);
  }
  const Outcome o = run(arguments, scratch.path());
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.out, IsEmpty());
  for (const std::string& part : GetParam().says) EXPECT_THAT(o.err, HasSubstr(part));
}

const std::string kTasks = "tasks: [{name: depth}]\n";

INSTANTIATE_TEST_SUITE_P(
    Cli, WrongRecipe,
    testing::Values(
        Mistake{"UnknownKey",
                kTasks + "model:\n  moe:\n    top: 2\n",
                {},
                {"recipe.yaml:4:", "model.moe.top", "unknown key", "did you mean 'top_k'?"}},
        Mistake{"UnknownSection", kTasks + "modle: {}\n", {}, {"recipe.yaml:2:1", "modle", "did you mean 'model'?"}},
        Mistake{"WrongType",
                kTasks + "train:\n  epochs: many\n",
                {},
                {"recipe.yaml:3:", "train.epochs", "want an integer", "\"many\""}},
        Mistake{"FractionForInteger", kTasks + "train: {epochs: 2.5}\n", {}, {"train.epochs", "an integer", "2.5"}},
        Mistake{"NotAMember",
                kTasks + "model: {moe: {gate: mulit}}\n",
                {},
                {"recipe.yaml:2:", "model.moe.gate", "multi, task_conditioned, shared", "did you mean 'multi'?"}},
        Mistake{"HeadsDoNotDivide",
                kTasks + "model:\n  embed_dim: 100\n  num_heads: 6\n",
                {},
                {"recipe.yaml:3:", "model.embed_dim", "a multiple of num_heads (6)", "found 100"}},
        Mistake{"TopKOverExperts",
                kTasks + "model:\n  moe:\n    top_k: 24\n",
                {},
                {"recipe.yaml:4:", "model.moe.top_k", "1 … num_experts (16)", "found 24"}},
        Mistake{"ImageNotInPatches",
                kTasks + "model: {image_size: [100, 160]}\n",
                {},
                {"model.image_size.0", "a multiple of patch_size (16)", "found 100"}},
        Mistake{"UnknownTask", "tasks: [{name: depht}]\n", {}, {"tasks.0.name", "did you mean 'depth'?"}},
        Mistake{"TaskTwice", "tasks: [{name: depth}, {name: depth}]\n", {}, {"tasks.1.name", "each task once"}},
        Mistake{"NoTasks", "model: {}\n", {}, {"tasks", "at least one task"}},
        Mistake{"NotYaml", "tasks: [\n", {}, {"recipe.yaml:"}},
        Mistake{"KeyTwice", kTasks + "train: {lr: 1, lr: 2}\n", {}, {"recipe.yaml:2:", "lr"}},
        Mistake{"MissingParent", "extends: none.yaml\n" + kTasks, {}, {"recipe.yaml:1:", "none.yaml"}},
        Mistake{"ExtendsItself", "extends: recipe.yaml\n" + kTasks, {}, {"extends", "a chain of files that ends"}},
        Mistake{"SetUnknownKey", kTasks, {"train.epoch=5"}, {"--set train.epoch", "did you mean 'epochs'?"}},
        Mistake{"SetWrongType", kTasks, {"train.epochs=soon"}, {"--set train.epochs", "an integer"}},
        Mistake{"SetWithoutValue", kTasks, {"train.epochs"}, {"--set", "KEY=VALUE"}},
        Mistake{"SetBeyondTheList", kTasks, {"tasks.3.outputs=1"}, {"--set tasks.3.outputs", "an index 0 … 0"}}),
    [](const auto& test) { return test.param.name; });

TEST(Recipe, OverridesExtendsAndListsAreApplied) {
  const Scratch scratch;
  write_text(scratch / "base.yaml", kTasks + "model: {embed_dim: 48, num_heads: 3, depth: 2, image_size: [64, 64]}\n");
  write_text(scratch / "recipe.yaml", "extends: base.yaml\nmodel: {depth: 4}\n");
  const Outcome o = run({"inspect", "--config", "recipe.yaml", "--set", "model.num_heads=4", "--set",
                         "tasks.0.loss_weight=2.5", "--json"},
                        scratch.path());
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const auto config = o.json()["config"];
  EXPECT_EQ(config["model"]["embed_dim"], 48);
  EXPECT_EQ(config["model"]["depth"], 4);
  EXPECT_EQ(config["model"]["num_heads"], 4);
  EXPECT_EQ(config["tasks"][0]["loss_weight"], 2.5);
}

TEST(Recipe, AMissingFileIsNamed) {
  const Outcome o = run({"inspect", "--config", "/no/such/recipe.yaml"});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.err, HasSubstr("/no/such/recipe.yaml"));
}

}  // namespace
}  // namespace m3vit::cli_test
