#include "eval/run_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RunComparison : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("m3vit_compare_" + std::to_string(getpid()));
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
    return root_ / name;
  }
  /// A run folder whose config is a small dense semseg + depth model.
  fs::path write_run(const std::string& name, double miou, double rmse) {
    Config config;
    config.model.image_size = {32, 32};
    config.tasks = {{"semseg", 5, 1.0}, {"depth", 1, 1.0}};
    const nlohmann::json json{{"metrics", {{"semseg", {{"mIoU", miou}}}, {"depth", {{"rmse", rmse}}}}},
                              {"frames", 10},
                              {"epoch", 3},
                              {"config", to_json(config)}};
    write(fs::path(name) / "metrics.json", json.dump());
    return root_ / name;
  }

  fs::path root_;
};

TEST_F(RunComparison, ReadsAFolderWithItsCostAndAPlainJsonFile) {
  const RunResult folder = read_run(write_run("alpha", 0.5, 1.0));
  EXPECT_EQ(folder.name, "alpha");
  EXPECT_EQ(folder.epoch, 3);
  EXPECT_EQ(folder.result.frames, 10);
  ASSERT_TRUE(folder.cost.has_value());
  EXPECT_GT(folder.cost->params, 0);
  EXPECT_EQ(folder.cost->tasks.size(), 2U);
  const RunResult file = read_run(write("beta.json", R"({"semseg": {"mIoU": 0.6}})"));
  EXPECT_EQ(file.name, "beta");
  EXPECT_FALSE(file.cost.has_value());
  EXPECT_EQ(read_run(root_ / "alpha" / "").name, "alpha");
}

TEST_F(RunComparison, DeltaIsAgainstTheFirstRunOrTheSingleTaskResults) {
  const std::vector<RunResult> runs{read_run(write_run("a", 0.5, 1.0)), read_run(write_run("b", 0.55, 0.9))};
  const Comparison first = compare_runs(runs, std::nullopt);
  EXPECT_NEAR(first.delta_m[0], 0, 1e-12);
  EXPECT_NEAR(first.delta_m[1], 10, 1e-9);
  const EvalResult single = read_single_tasks(
      {write("s.json", R"({"semseg": {"mIoU": 0.5}})"), write("d.json", R"({"metrics": {"depth": {"rmse": 0.5}}})")});
  const Comparison against = compare_runs(runs, single);
  EXPECT_NEAR(against.delta_m[0], -50, 1e-9);
  EXPECT_NEAR(against.delta_m[1], (10 - 80) / 2.0, 1e-9);
}

TEST_F(RunComparison, TableMarksTheBestOfEachRowByItsDirection) {
  const std::string table =
      format_table(compare_runs({read_run(write_run("a", 0.5, 0.8)), read_run(write_run("b", 0.55, 0.9))}, {}));
  EXPECT_THAT(table, HasSubstr("0.5500*"));
  EXPECT_THAT(table, HasSubstr("0.8000*"));
  EXPECT_THAT(table, HasSubstr("0.5000 "));
  EXPECT_THAT(table, HasSubstr("params"));
  EXPECT_THAT(table, HasSubstr("Δm against a"));
}

TEST_F(RunComparison, JsonHoldsMetricsDeltaAndCosts) {
  const nlohmann::json json = to_json(compare_runs({read_run(write_run("a", 0.5, 0.8))}, {}));
  EXPECT_EQ(json["runs"][0]["metrics"]["depth"]["rmse"], 0.8);
  EXPECT_EQ(json["runs"][0]["delta_m"], 0.0);
  EXPECT_TRUE(json["runs"][0].contains("params"));
  EXPECT_TRUE(json["runs"][0].contains("macs"));
}

TEST_F(RunComparison, ReportsFoldersWithoutMetricsNonJsonAndDoubledTasks) {
  fs::create_directories(root_ / "empty");
  EXPECT_THROW(read_run(root_ / "empty"), Error);
  EXPECT_THROW(read_run(root_ / "absent"), Error);
  EXPECT_THROW(read_run(write("bad.json", "{oops")), Error);
  EXPECT_THROW(read_run(write("config.json", R"({"metrics": {}, "config": {"model": 3}})")), Error);
  const fs::path s = write("s.json", R"({"semseg": {"mIoU": 0.5}})");
  EXPECT_THROW(read_single_tasks({s, s}), Error);
  EXPECT_THROW(compare_runs({}, {}), Error);
}

}  // namespace
}  // namespace m3vit
