// `m3vit bench` at sizes of milliseconds: results were compared first, and every number is there and means something.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace m3vit::cli_test {
namespace {

using testing::HasSubstr;

struct Bench : testing::Test {
  Scratch folder;
  void SetUp() override { write_model(folder / "model.safetensors", tiny_config()); }
  Outcome bench(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"bench", "--pairs", "3", "--threads", "2"});
    return run(arguments, folder.path());
  }
};

TEST_F(Bench, EveryNumberIsThereAndPositive) {
  const Outcome o = bench({"model.safetensors", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json j = o.json();
  EXPECT_EQ(j["dtype"], "f32");
  EXPECT_EQ(j["threads"], 2);
  EXPECT_EQ(j["image_size"], nlohmann::json({32, 48}));
  ASSERT_EQ(j["latency_ms"].size(), 6U);
  for (const auto& [task, ms] : j["latency_ms"].items()) {
    EXPECT_GT(ms["p10"], 0.0) << task;
    EXPECT_LE(ms["p10"], ms["median"]) << task;
    EXPECT_LE(ms["median"], ms["p90"]) << task;
  }
  double parts = 0.0;
  for (const char* part : {"embed", "attention", "dense_mlp", "router", "experts", "head"}) {
    EXPECT_GT(j["parts"][part]["ms"], 0.0) << part;
    EXPECT_GT(j["parts"][part]["macs"], 0.0) << part;
    parts += j["parts"][part]["macs"].get<double>();
  }
  const nlohmann::json inspected = run({"inspect", folder / "model.safetensors", "--json"}).json();
  EXPECT_EQ(parts, inspected["macs"]["semseg"]["total"]) << "parts cover the network";
  EXPECT_EQ(j["roofline"]["frame_macs"], inspected["macs"]["semseg"]["total"]);
  EXPECT_GT(j["roofline"]["bytes_per_s"], 1e7);
  for (const char* rival : {"token_order", "dense"}) {
    EXPECT_GT(j["ratio"][rival]["ratio"], 0.0);
    EXPECT_EQ(j["ratio"][rival]["equal"], "same bits");
  }
  EXPECT_GT(j["switch"]["first_over_steady"], 0.0);
  EXPECT_GT(j["shared_prefix"]["separate_over_shared"], 0.0);
  EXPECT_EQ(j["shared_prefix"]["tasks"].size(), 6U);
  EXPECT_GT(j["memory"]["arena"], 0);
  EXPECT_EQ(j["memory"]["planned"],
            j["memory"]["arena"].get<std::size_t>() + j["memory"]["weights"].get<std::size_t>());
}

TEST_F(Bench, TableIsForPeople) {
  const Outcome o = bench({"model.safetensors", "--tasks", "depth,edge", "--baseline", "dense"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  for (const char* said : {"median ms", "part of depth", "experts", "of peak", "dense takes", "same bits",
                           "after a task switch", "2 tasks of one frame", "MiB"}) {
    EXPECT_THAT(o.out, HasSubstr(said));
  }
  EXPECT_THAT(o.out, testing::Not(HasSubstr("token_order")));
}

TEST_F(Bench, RandomWeightsStandInForAModelInEveryPrecisionAndInstructionSet) {
  for (const char* dtype : {"f32", "bf16", "int8"}) {
    const Outcome o = bench({"--preset", "micro", "--image-size", "64x32", "--dtype", dtype, "--tasks", "depth",
                             "--baseline", "dense", "--isa", "all", "--json"});
    ASSERT_EQ(o.exit_code, 0) << o.err;
    const nlohmann::json j = o.json();
    EXPECT_EQ(j["dtype"], dtype);
    EXPECT_EQ(j["image_size"], nlohmann::json({32, 64}));
    EXPECT_EQ(j["isas"].back()["isa"], "scalar");
    for (const auto& [isa, difference] : j["isa_difference"].items()) EXPECT_LT(difference, 0.2) << dtype << ' ' << isa;
  }
}

TEST_F(Bench, StreamsInsideABudget) {
  const Outcome all = bench({"--preset", "micro", "--image-size", "64x32", "--baseline", "dense", "--json"});
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(all.json()["memory"]["streamed"], 0);
  EXPECT_EQ(all.json()["memory"]["io"], "memory");
  const Outcome o = bench({"--preset", "micro", "--image-size", "64x32", "--baseline", "dense,resident", "--memory",
                           all.json()["memory"]["smallest"].dump(), "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json j = o.json();
  EXPECT_EQ(j["ratio"]["dense"]["equal"], "same bits");
  EXPECT_EQ(j["ratio"]["resident"]["equal"], "same bits");
  EXPECT_GT(j["switch"]["first_over_steady"], 0.0);
  EXPECT_GT(j["memory"]["streamed"], 0);
  EXPECT_GT(j["memory"]["bytes_read"], 0);
  EXPECT_NEAR(j["memory"]["reading_alone_ms"].get<double>() * j["memory"]["drive_bytes_per_s"].get<double>(),
              1e3 * j["memory"]["bytes_read"].get<double>(), 1.0);
  EXPECT_LE(j["memory"]["planned"], all.json()["memory"]["smallest"]);
  EXPECT_FALSE(j.contains("shared_prefix"));
}

#ifdef M3VIT_WITH_TRAIN
TEST_F(Bench, LibtorchComputesTheSame) {
  const Outcome o = bench({"model.safetensors", "--tasks", "semseg", "--baseline", "libtorch,libtorch_bf16", "--json"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json ratio = o.json()["ratio"];
  EXPECT_LT(ratio["libtorch"]["difference"], 1e-4);
  EXPECT_GT(ratio["libtorch_bf16"]["difference"], 1e-4) << "rounds nothing";
  EXPECT_LT(ratio["libtorch_bf16"]["difference"], 0.1);
}
#endif

TEST_F(Bench, RefusalsSayWhatWouldDo) {
  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& said) {
    const Outcome o = bench(arguments);
    EXPECT_EQ(o.exit_code, 2);
    EXPECT_THAT(o.err, HasSubstr(said));
    EXPECT_EQ(o.out, "");
  };
  refused({}, "--preset NAME");
  refused({"model.safetensors", "--preset", "tiny"}, "several");
  refused({"--preset", "huge"}, "micro, tiny");
  refused({"--preset", "micro", "--image-size", "64"}, "WIDTHxHEIGHT");
  refused({"--preset", "micro", "--image-size", "63x32"}, "image_size");
  refused({"model.safetensors", "--dtype", "f16"}, "bf16");
  refused({"model.safetensors", "--tasks", "smell"}, "semseg, depth");
  refused({"model.safetensors", "--baseline", "abacus"}, "token_order");
  refused({"model.safetensors", "--isa", "abacus"}, "scalar");
}

}  // namespace
}  // namespace m3vit::cli_test
