#include "reproduce/sharing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

/// Two seeds of one row, one layer in each of two blocks.
JobResult seed(double low, double high) {
  JobResult r;
  const auto layer = [](const char* name, double share, double cosine) {
    const json values{{"conflicting", share}, {"mean_cosine", cosine}};
    json l = values;
    l["layer"] = name;
    l["pairs"] = {{"depth,semseg", values}};
    return l;
  };
  r.conflict = {{"measurements", 4},
                {"conflicting", (low + high) / 2},
                {"mean_cosine", 0.1},
                {"layers", {layer("backbone.blocks.0.attn", low, -0.5), layer("backbone.blocks.1.mlp", high, 0.3)}}};
  r.routing = {{"blocks",
                {{{"block", 1},
                  {"tasks", {{"semseg", {{"load", {0.75, 0.25}}}}, {"depth", {{"load", {low, 1 - low}}}}}},
                  {"overlap", {{"semseg,depth", low}}}}}}};
  return r;
}

TEST(Sharing, IsAveragedOverSeedsBlocksAndPairs) {
  Table table;
  table.title = "A <table>";
  table.rows = {{"none", "No experts", "", false, {}}, {"moe", "Experts", "", false, {}}};
  const std::vector<Job> jobs{{0, 1, "", "", {}}, {1, 1, "", "", {}}, {1, 2, "", "", {}}};
  const json report = sharing_report(table, jobs, {JobResult{}, seed(0.2, 0.6), seed(0.4, 0.8)});
  ASSERT_EQ(report["rows"].size(), 1U);
  const json& row = report["rows"][0];
  EXPECT_EQ(row["row"], "moe");
  EXPECT_NEAR(row["conflicting"]["mean"], 0.5, 1e-12);
  EXPECT_NEAR(row["conflicting"]["standard_error"], 0.1, 1e-12);
  ASSERT_EQ(row["blocks"].size(), 2U);
  EXPECT_NEAR(row["blocks"][0]["conflicting"], 0.3, 1e-12);
  EXPECT_NEAR(row["blocks"][1]["mean_cosine"], 0.3, 1e-12);
  EXPECT_NEAR(row["pairs"]["depth,semseg"]["mean_cosine"], -0.1, 1e-12);
  EXPECT_NEAR(row["experts"][0]["overlap"]["semseg,depth"], 0.3, 1e-12);
  EXPECT_EQ(row["experts"][0]["load"]["depth"], json({0.2, 0.8}));

  const fs::path out = fs::temp_directory_path() / ("m3vit_sharing_test_" + std::to_string(getpid()));
  fs::create_directories(out);
  write_sharing(out, table, report);
  std::ifstream in(out / "sharing.html");
  const std::string page{std::istreambuf_iterator<char>(in), {}};
  EXPECT_THAT(page, HasSubstr("A &lt;table&gt;"));
  EXPECT_THAT(page, HasSubstr("0.500 ± 0.100"));
  EXPECT_THAT(page, HasSubstr("conflict.svg"));
  EXPECT_EQ(json::parse(std::ifstream(out / "sharing.json")), report);
  EXPECT_TRUE(fs::exists(out / "conflict.svg"));
  fs::remove_all(out);
}

}  // namespace
}  // namespace m3vit
