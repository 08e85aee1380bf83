/// `m3vit export` and `m3vit run` from outside: what they write, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/program.h"
#include "core/image_io.h"
#include "core/npy.h"
#include "core/rng.h"
#include "runtime/packed_case.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using cli_test::Outcome;
using cli_test::Scratch;
using ::testing::HasSubstr;

/// A folder with a model of cli_test::tiny_config, packed, and two pictures of other sizes than the network's.
struct RunCommand : ::testing::Test {
  Scratch folder;
  Config config = cli_test::tiny_config();
  std::string checkpoint = folder / "model.safetensors";
  std::string model = folder / "model.m3v";

  void SetUp() override {
    cli_test::write_model(checkpoint, config);
    fs::create_directory(folder / "in");
    picture("in/a.png", 40, 61, 1);
    picture("in/b.png", 32, 48, 2);
    const Outcome packed = cli_test::run({"export", checkpoint, "-o", model, "--json"});
    ASSERT_EQ(packed.exit_code, 0) << packed.err;
    EXPECT_EQ(packed.json()["bytes"], fs::file_size(model));
    EXPECT_EQ(packed.json()["tasks"].size(), 6U);
  }
  void picture(const std::string& name, int height, int width, std::uint64_t seed) const {
    ImageU8 image(height, width, 3);
    Rng rng(seed);
    for (auto& v : image.data) v = static_cast<std::uint8_t>(rng.below(256));
    write_png(folder / name, image);
  }
  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "run");
    return cli_test::run(arguments, folder.path());
  }
};

TEST_F(RunCommand, RawOutputIsTheReferencesForAnInputOfTheNetworksSize) {
  const naive::Weights weights = naive::random_weights(config, 1);
  const ImageU8 image = read_rgb(folder / "in/b.png");
  std::vector<float> planes(3 * 32 * 48);
  normalise_rgb(image, planes);
  write_npy(folder / "b.npy", std::vector<std::int64_t>{3, 32, 48}, planes);
  for (int t = 0; t < static_cast<int>(config.tasks.size()); ++t) {
    const std::string task = config.tasks[static_cast<std::size_t>(t)].name;
    const naive::Result want = naive::forward(config, weights, {planes.begin(), planes.end()}, t);
    if (want.margin < 2e-5) continue;  // float may route otherwise
    for (const char* input : {"in/b.png", "b.npy"}) {
      const Outcome o = run({model, "--task", task, input, "--raw", "raw.npy", "--json"});
      ASSERT_EQ(o.exit_code, 0) << o.err;
      const NpyArray raw = read_npy(folder / "raw.npy");
      EXPECT_THAT(raw.shape, ::testing::ElementsAre(want.channels, 32, 48));
      EXPECT_LE(testing::relative_error(raw.data, want.raw), 1e-4) << task << ' ' << input;
    }
  }
}

TEST_F(RunCommand, WritesPicturesAtTheInputsSizeAndSaysSo) {
  const Outcome o = run({model, "--task", "semseg", "in", "--out", "out", "--json", "--threads", "1"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json j = o.json();
  EXPECT_EQ(j["task"], "semseg");
  EXPECT_EQ(j["dtype"], "f32");
  EXPECT_EQ(j["threads"], 1);
  EXPECT_FALSE(j["isa"].get<std::string>().empty());
  EXPECT_GT(j["peak_bytes"]["planned"], fs::file_size(model));
  EXPECT_GT(j["peak_bytes"]["measured"], 0);
  ASSERT_EQ(j["frames"].size(), 2U);
  EXPECT_EQ(j["frames"][0]["input"], "in/a.png");
  EXPECT_GT(j["frames"][0]["ms"], 0.0);
  EXPECT_THAT(j["frames"][0]["outputs"], ::testing::ElementsAre("out/a_semseg.png", "out/a_semseg_map.png"));
  const ImageU8 colors = read_rgb(folder / "out/a_semseg.png");
  EXPECT_EQ(colors.height, 40);
  EXPECT_EQ(colors.width, 61);
  const ImageU16 classes = read_map(folder / "out/a_semseg_map.png");
  EXPECT_EQ(classes.channels, 1);
  EXPECT_THAT(classes.data, ::testing::Each(::testing::Lt(14)));

  ASSERT_EQ(run({model, "--task", "semseg", "in/a.png", "--out", "net", "--size", "network"}).exit_code, 0);
  EXPECT_EQ(read_rgb(folder / "net/a_semseg.png").height, 32);
}

TEST_F(RunCommand, SeveralTasksInputsAndFilesGetTheirOwnNames) {
  const Outcome o = run({model, "-t", "depth,edge", "in", "--raw", "raw.npy", "--routing", "r.json", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_EQ(o.json()["frames"].size(), 4U);
  for (const char* name : {"raw_a_depth.npy", "raw_a_edge.npy", "raw_b_depth.npy", "r_a_depth.json", "r_b_edge.json"}) {
    EXPECT_TRUE(fs::exists(folder / name)) << name;
  }
  const auto routing = nlohmann::json::parse(cli_test::read_text(folder / "r_b_edge.json"));
  ASSERT_EQ(routing.size(), 1U);
  EXPECT_EQ(routing[0]["block"], 1);
  EXPECT_EQ(routing[0]["task"], "edge");
  ASSERT_EQ(routing[0]["experts"].size(), static_cast<std::size_t>(config.model.tokens()));
  ASSERT_EQ(routing[0]["weights"].size(), routing[0]["experts"].size());
  for (const auto& token : routing[0]["experts"]) {
    ASSERT_EQ(token.size(), 2U);
    EXPECT_NE(token[0], token[1]);
    EXPECT_LT(token[0], 4);
  }
}

TEST_F(RunCommand, CheckpointRunsAsItsPackedFileAndSchedulesAgree) {
  std::vector<std::string> all;
  for (const std::vector<std::string>& how : {std::vector<std::string>{model},
                                              {checkpoint},
                                              {model, "--schedule", "token_order"},
                                              {model, "--schedule", "dense"},
                                              {model, "--threads", "3"}}) {
    std::vector<std::string> arguments = how;
    arguments.insert(arguments.end(), {"--task", "normals", "in/a.png", "--raw", "raw.npy"});
    const Outcome o = run(arguments);
    ASSERT_EQ(o.exit_code, 0) << o.err;
    all.push_back(cli_test::read_text(folder / "raw.npy"));
  }
  EXPECT_THAT(all, ::testing::Each(all[0]));
}

TEST_F(RunCommand, RoutingPictureAndEveryTask) {
  const Outcome o = run({model, "--task", "all", "in/b.png", "--out", "out", "--routing-png", "-q"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_EQ(o.err, "");
  for (const TaskConfig& task : config.tasks) {
    for (const char* kind : {".png", "_map.png", "_routing.png"}) {
      EXPECT_TRUE(fs::exists(folder / ("out/b_" + task.name + kind))) << task.name << kind;
    }
  }
}

TEST_F(RunCommand, NothingIsWrittenWhenAnInputIsUnreadable) {
  cli_test::write_text(folder / "text.png", "not a picture");
  write_npy(folder / "small.npy", std::vector<std::int64_t>{3, 2, 2}, std::vector<float>(12));
  for (const char* bad : {"missing.png", "text.png", "small.npy"}) {
    const Outcome o = run({model, "--task", "depth", "in/a.png", bad, "--out", "out"});
    EXPECT_EQ(o.exit_code, 2);
    EXPECT_THAT(o.err, HasSubstr(bad));
    EXPECT_FALSE(fs::exists(folder / "out"));
  }
}

TEST_F(RunCommand, RefusalsSayWhatWouldDo) {
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& said) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 2);
    EXPECT_THAT(o.err, HasSubstr(said));
    EXPECT_EQ(o.out, "");
  };
  refused({model, "--task", "smell", "in/a.png", "--out", "out"}, "semseg, depth");
  refused({model, "--task", "depth", "in/a.png"}, "--out");
  refused({model, "--task", "depth", "in/a.png", "--out", "out", "--isa", "abacus"}, "scalar");
  refused({model, "--task", "depth", "in/a.png", "--out", "out", "--schedule", "random"}, "schedule");
  refused({model, "--task-schedule", "depth,edge", "in", "--out", "out", "--batch", "2"}, "--task");
  refused({model, "--task", "depth", "in", "--out", "out", "--batch", "2", "--routing-png"}, "routing");
  refused({model, "--task", "depth", "in", "--out", "out", "--batch", "0"}, "batch");
  const Outcome fits = run({model, "--task", "depth", "in", "--out", "out", "--json"});
  ASSERT_EQ(fits.exit_code, 0) << fits.err;
  refused({model, "--task", "depth", "in", "--out", "more", "--batch", "64", "--memory",
           fits.json()["memory"]["smallest"].dump()},
          "memory budget");
  fs::create_directory(folder / "empty");
  refused({model, "--task", "depth", "empty", "--out", "out"}, "empty");
  fs::resize_file(model, fs::file_size(model) - 1);
  refused({model, "--task", "depth", "in/a.png", "--out", "out"}, "section 'head.human_parts'");
}

TEST_F(RunCommand, ExportRefusesAndLeavesNoFile) {
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& said) {
    const Outcome o = cli_test::run(arguments, folder.path());
    EXPECT_EQ(o.exit_code, 2);
    EXPECT_THAT(o.err, HasSubstr(said));
    EXPECT_FALSE(fs::exists(folder / "new.m3v"));
  };
  refused({"export", checkpoint, "-o", "new.m3v", "--dtype", "f16"}, "bf16");
  refused({"export", checkpoint, "-o", "new.m3v", "--tasks", "smell"}, "human_parts");
  refused({"export", model, "-o", "new.m3v"}, model);
  const naive::Weights weights = naive::random_weights(config, 1);
  cli_test::write_model(folder / "other.safetensors", config);
  std::string text = cli_test::read_text(folder / "other.safetensors");
  const std::string::size_type at = text.find("\\\"channels\\\":8");
  ASSERT_NE(at, std::string::npos);
  text[at + 13] = '9';
  cli_test::write_text(folder / "other.safetensors", text);
  refused({"export", "other.safetensors", "-o", "new.m3v"},
          "decoders.edge.conv_0.weight: want [9, 12, 3, 3], found [8");
}

}  // namespace
}  // namespace m3vit
