// The JSON contracts of docs/formats.md, on models with random weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "cli/program.h"
#include "core/image_io.h"
#include "core/npy.h"
#include "core/rng.h"
#include "reference/random_model.h"

namespace m3vit::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> kAll{"semseg", "depth", "normals", "edge", "sal", "human_parts"};

/// A model as .safetensors and .m3v and two pictures, made once.
class WithModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = new Scratch;
    write_model(file("model.safetensors"), tiny_config());
    const Outcome o = run({"export", file("model.safetensors"), "-o", file("model.m3v"), "--json"});
    ASSERT_EQ(o.exit_code, 0) << o.err;
    exported_ = o.json();
    for (const std::string name : {"one", "two"}) {
      ImageU8 image(32, 48, 3);
      Rng rng(name.size() + static_cast<std::uint64_t>(name[0]));
      for (std::uint8_t& v : image.data) v = static_cast<std::uint8_t>(rng.below(256));
      write_png(file(name + ".png"), image);
    }
  }
  static void TearDownTestSuite() { delete scratch_; }
  static std::string file(const std::string& name) { return *scratch_ / name; }

  static Scratch* scratch_;
  static json exported_;
};
Scratch* WithModel::scratch_ = nullptr;
json WithModel::exported_;

TEST_F(WithModel, ExportReportsTheFileItWrote) {
  EXPECT_EQ(exported_["output"], file("model.m3v"));
  EXPECT_EQ(exported_["tasks"], json(kAll));
  EXPECT_EQ(exported_["dtype"], "f32");
  EXPECT_EQ(exported_["bytes"], fs::file_size(file("model.m3v")));
}

TEST_F(WithModel, ExportKeepsOnlyTheTasksAskedFor) {
  const Outcome o = run({"export", file("model.safetensors"), "-o", file("depth.m3v"), "--tasks", "depth", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_EQ(o.json()["tasks"], json({"depth"}));
  EXPECT_LT(fs::file_size(file("depth.m3v")), fs::file_size(file("model.m3v")));
  EXPECT_EQ(run({"run", file("depth.m3v"), "--task", "depth", file("one.png"), "--raw", file("d.npy")}).exit_code, 0);
  const Outcome other = run({"run", file("depth.m3v"), "--task", "sal", file("one.png"), "--raw", file("s.npy")});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("depth"));
}

TEST_F(WithModel, ExportWritesEveryPrecisionAndEvalComparesThem) {
  for (const std::string dtype : {"bf16", "int8"}) {
    const std::string packed = file(dtype + ".m3v");
    const Outcome o = run({"export", file("model.safetensors"), "-o", packed, "--dtype", dtype, "--json"});
    ASSERT_EQ(o.exit_code, 0) << o.err;
    EXPECT_EQ(o.json()["dtype"], dtype);
    EXPECT_LT(fs::file_size(packed), fs::file_size(file("model.m3v")));
    const Outcome e =
        run({"eval", packed, "--frames", "2", "--tasks", "depth", "--against", file("model.m3v"), "--json"});
    ASSERT_EQ(e.exit_code, 0) << e.err;
    const json document = e.json();
    EXPECT_TRUE(document["against"]["change"]["depth"].contains("rmse"));
    EXPECT_LE(document["against"]["routed_differently"]["depth"].get<double>(), 0.2);
    EXPECT_EQ(document["routing"]["blocks"][0]["tasks"]["depth"]["load"].size(), 4U);
  }
  EXPECT_THAT(run({"export", file("model.safetensors"), "-o", file("x.m3v"), "--dtype", "fp8"}).err,
              HasSubstr("f32, bf16 or int8"));
}

TEST_F(WithModel, ExportKeepsLayersThatLoseTooMuchInBf16) {
  const std::vector<std::string> command{
      "export", file("model.safetensors"), "-o", file("mixed.m3v"), "--dtype", "int8", "--tasks",
      "depth",  "--calibration-frames",    "2",  "--json"};
  std::vector<std::string> free = command;
  free.insert(free.end(), {"--calibrate", "rooms"});
  const Outcome loose = run(free);
  ASSERT_EQ(loose.exit_code, 0) << loose.err;
  const json measured = loose.json()["calibration"];
  const double loss = measured["loss"]["depth"].get<double>();
  EXPECT_GT(loss, 0.0);
  EXPECT_GT(measured["layers"]["blocks.0.mlp"]["depth"].get<double>(), 0.0);
  EXPECT_EQ(loose.json()["layers"], json({{"embed", "bf16"}}));

  std::vector<std::string> bounded = command;
  bounded.insert(bounded.end(), {"--max-loss", std::to_string(0.7 * loss)});
  const Outcome tight = run(bounded);
  ASSERT_EQ(tight.exit_code, 0) << tight.err;
  EXPECT_LE(tight.json()["calibration"]["loss"]["depth"].get<double>(), 0.7 * loss);
  EXPECT_GT(tight.json()["layers"].size(), 1U);
  EXPECT_EQ(run({"run", file("mixed.m3v"), "--task", "depth", file("one.png"), "--raw", file("d.npy")}).exit_code, 0);

  std::vector<std::string> impossible = command;
  impossible.insert(impossible.end(), {"--max-loss", "1e-9"});
  const Outcome refused = run(impossible);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--max-loss"));
}

TEST_F(WithModel, ExportLeavesOutExpertsThatNoKeptTaskChose) {
  const auto stats = [](const std::vector<double>& depth) {
    json block{{"block", 1}};
    block["tasks"]["depth"]["load"] = depth;
    block["tasks"]["sal"]["load"] = {0.25, 0.25, 0.25, 0.25};
    return json{{"epoch", 1}, {"blocks", {block}}}.dump();
  };
  write_text(file("routing.json"), stats({0.5, 0.0, 0.5, 0.0}));
  const auto pruned = [&](const std::string& tasks, const std::string& from) {
    return run({"export", file("model.safetensors"), "-o", file("pruned.m3v"), "--tasks", tasks, "--prune-unused",
                file(from), "--json"});
  };
  const Outcome one = pruned("depth", "routing.json");
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(one.json()["pruned"], json({{"1", {1, 3}}}));
  EXPECT_EQ(run({"run", file("pruned.m3v"), "--task", "depth", file("one.png"), "--raw", file("d.npy")}).exit_code, 0);
  EXPECT_EQ(pruned("depth,sal", "routing.json").json()["pruned"], json::object());
  EXPECT_THAT(pruned("edge", "routing.json").err, HasSubstr("edge"));

  write_text(file("few.json"), stats({1.0, 0.0, 0.0, 0.0}));  // top_k is 2: one of the unused stays
  EXPECT_EQ(pruned("depth", "few.json").json()["pruned"], json({{"1", {2, 3}}}));
  write_text(file("short.json"), stats({1.0}));
  EXPECT_THAT(pruned("depth", "short.json").err, HasSubstr("4 shares"));
  write_text(file("none.json"), "{}");
  EXPECT_THAT(pruned("depth", "none.json").err, HasSubstr("blocks"));
}

TEST_F(WithModel, InspectSaysTheSameOfEveryForm) {
  write_text(file("recipe.yaml"),
             "model: {image_size: [32, 48], embed_dim: 12, depth: 3, num_heads: 2, mlp_ratio: 2,\n"
             "        moe: {num_experts: 4, top_k: 2}, head: {channels: 8}}\n"
             "tasks: [{name: semseg}, {name: depth}, {name: normals}, {name: edge}, {name: sal},\n"
             "        {name: human_parts}]\n");
  const json recipe = run({"inspect", "--config", file("recipe.yaml"), "--json"}).json();
  for (const std::string& task : kAll) {
    const json& macs = recipe["macs"][task];
    std::int64_t sum = 0;
    for (const char* kind : {"patch_embed", "attention", "linear", "router", "experts", "head"}) {
      sum += macs[kind].get<std::int64_t>();
    }
    EXPECT_EQ(macs["total"], sum);
    EXPECT_GT(recipe["params"]["total"], recipe["params"]["active_per_task"][task]);
  }
  for (const char* form : {"model.safetensors", "model.m3v"}) {
    const json found = run({"inspect", file(form), "--json"}).json();
    EXPECT_EQ(found["params"], recipe["params"]) << form;
    EXPECT_EQ(found["macs"], recipe["macs"]) << form;
    EXPECT_TRUE(found["memory"].is_object());
  }
  const json one = run({"inspect", file("model.m3v"), "--task", "sal", "--json"}).json();
  EXPECT_EQ(one["macs"].size(), 1U);
  EXPECT_EQ(one["macs"]["sal"], recipe["macs"]["sal"]);
}

TEST(Inspect, SmallAt512WithOneTaskHasThePublishedMacs) {
  const Scratch scratch;
  write_text(scratch / "small.yaml",
             "model: {preset: small, image_size: [512, 512]}\ntasks: [{name: semseg, outputs: 40}]\n");
  const Outcome o = run({"inspect", "--config", scratch / "small.yaml", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const json macs = o.json()["macs"]["semseg"];
  EXPECT_NEAR(macs["total"].get<double>() * 1e-9, 84.06, 0.05);
  // The published count has no routers (0.04 G here).
  EXPECT_NEAR((macs["total"].get<double>() - macs["router"].get<double>()) * 1e-9, 84.06, 0.005);
}

class EveryTask : public WithModel, public testing::WithParamInterface<std::string> {};

TEST_P(EveryTask, RunGivesTheNaiveReferencesOutput) {
  const std::string task = GetParam();
  const Config config = tiny_config();
  const std::vector<double> image = naive::random_image(config, 3);
  const std::vector<float> planes(image.begin(), image.end());
  write_npy(file(task + "_in.npy"), std::vector<std::int64_t>{3, 32, 48}, planes);
  const Outcome o = run({"run", file("model.m3v"), "--task", task, file(task + "_in.npy"), "--raw", file(task + ".npy"),
                         "--routing", file(task + ".json"), "--threads", "1", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const json document = o.json();
  EXPECT_EQ(document["task"], task);
  EXPECT_EQ(document["dtype"], "f32");
  EXPECT_EQ(document["threads"], 1);
  EXPECT_FALSE(document["isa"].get<std::string>().empty());
  EXPECT_GT(document["peak_bytes"]["planned"], 0);
  ASSERT_EQ(document["frames"].size(), 1U);
  EXPECT_EQ(document["frames"][0]["input"], file(task + "_in.npy"));
  EXPECT_GE(document["frames"][0]["ms"], 0.0);
  EXPECT_EQ(document["frames"][0]["outputs"], json({file(task + ".npy"), file(task + ".json")}));

  const int index = *config.task_index(task);
  const naive::Result want = naive::forward(config, naive::random_weights(config, 1), image, index);
  ASSERT_GT(want.margin, 1e-5) << "choose another seed: this input sits on a routing border";
  const NpyArray raw = read_npy(file(task + ".npy"));
  EXPECT_EQ(raw.shape, (std::vector<std::int64_t>{want.channels, 32, 48}));
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < want.raw.size(); ++i) {
    largest = std::max(largest, std::abs(want.raw[i]));
    difference = std::max(difference, std::abs(want.raw[i] - static_cast<double>(raw.data[i])));
  }
  EXPECT_LE(difference, 1e-4 * largest);

  const json routing = json::parse(read_text(file(task + ".json")));
  ASSERT_EQ(routing.size(), want.routing.size());
  EXPECT_EQ(routing[0]["block"], want.routing[0].block);
  EXPECT_EQ(routing[0]["task"], task);
  EXPECT_EQ(routing[0]["experts"], json(want.routing[0].experts));
  EXPECT_NEAR(routing[0]["weights"][5][0], want.routing[0].weights[5][0], 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Cli, EveryTask, testing::ValuesIn(kAll), [](const auto& test) { return test.param; });

TEST_F(WithModel, EveryScheduleAndIsaGivesTheSame) {
  const auto raw_of = [](std::vector<std::string> more) {
    std::vector<std::string> arguments{"run",           file("model.m3v"), "--task",        "semseg",
                                       file("one.png"), "--raw",           file("same.npy")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 0) << o.err;
    return read_npy(file("same.npy")).data;
  };
  const std::vector<float> expert = raw_of({});
  EXPECT_EQ(raw_of({"--schedule", "token_order"}), expert);
  EXPECT_EQ(raw_of({"--schedule", "dense"}), expert);
  const std::vector<float> scalar = raw_of({"--isa", "scalar"});
  ASSERT_EQ(scalar.size(), expert.size());
  for (std::size_t i = 0; i < scalar.size(); ++i) ASSERT_NEAR(scalar[i], expert[i], 1e-4);
}

TEST_F(WithModel, RunWritesPicturesForAFolderAndAllTasks) {
  fs::create_directories(file("photos"));
  ImageU8 photo(60, 100, 3, 90);
  write_png(file("photos/a.png"), photo);
  write_png(file("photos/b.png"), photo);
  const Outcome o =
      run({"run", file("model.m3v"), "--task", "all", file("photos"), "--out", file("pictures"), "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const json document = o.json();
  EXPECT_EQ(document["frames"].size(), 12U);
  for (const std::string& task : kAll) {
    for (const char* start : {"pictures/a_", "pictures/b_"}) {
      const ImageU8 picture = read_rgb(file(start + task + ".png"));
      EXPECT_EQ(picture.height, 60);
      EXPECT_EQ(picture.width, 100);
    }
  }
}

TEST_F(WithModel, EvalReportsEveryTasksMetrics) {
  const Outcome o = run({"eval", file("model.m3v"), "--frames", "2", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const json document = o.json();
  EXPECT_EQ(document["frames"], 2);
  EXPECT_TRUE(document["config"]["model"].is_object());
  for (const std::string& task : kAll) EXPECT_FALSE(document["metrics"][task].empty()) << task;
  EXPECT_GE(document["metrics"]["depth"]["rmse"], 0.0);
  write_text(file("a.json"), document.dump());
  const Outcome table = run({"compare", file("a.json"), file("a.json"), "--json"});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_FALSE(table.json().empty());
}

TEST(Data, MakeIsSeededAndReadable) {
  const Scratch scratch;
  for (const char* name : {"a", "b"}) {
    const Outcome o = run({"data", "make", "--out", scratch / name, "--frames", "2", "--test-frames", "1", "--size",
                           "64x48", "--seed", "5", "--json"});
    ASSERT_EQ(o.exit_code, 0) << o.err;
    EXPECT_EQ(o.json()["train"], 2);
  }
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(scratch / "a")) {
    if (!entry.is_regular_file()) continue;
    const fs::path relative = fs::relative(entry.path(), scratch / "a");
    EXPECT_EQ(read_text(entry.path()), read_text(fs::path(scratch / "b") / relative)) << relative;
    ++files;
  }
  EXPECT_GE(files, 3U * 7U + 3U);
  EXPECT_TRUE(run({"data", "check", scratch / "a", "--json"}).json()["ok"]);
  EXPECT_EQ(run({"data", "stats", scratch / "a", "--json"}).json()["splits"].size(), 2U);
  const Outcome show =
      run({"data", "show", scratch / "a", "--out", scratch / "sheet.png", "--tiles", scratch / "tiles", "--json"});
  ASSERT_EQ(show.exit_code, 0) << show.err;
  EXPECT_GT(read_image_size(scratch / "sheet.png").width, 7 * 64);
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch / "tiles"), fs::directory_iterator{}), 6);
}

// timeout(1) signals its child and then the child's group: the program sees two SIGTERM at once.
TEST(Data, AStopRequestThatArrivesTwiceStillCleansUp) {
  const Scratch scratch;
  const std::string command = "timeout 3 '" M3VIT_PROGRAM "' -q data make --frames 1000000 --out '" +
                              (scratch / "rooms") + "' >/dev/null 2>'" + (scratch / "err") + "'";
  EXPECT_NE(std::system(command.c_str()), 0);
  EXPECT_THAT(read_text(scratch / "err"), HasSubstr("stopped"));
  EXPECT_FALSE(fs::exists(scratch / "rooms"));
}

}  // namespace
}  // namespace m3vit::cli_test
