// m3vit accel report and explore, on a recipe of a small size.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace m3vit::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string recipe(const Scratch& scratch) {
  write_text(scratch / "little.yaml",
             "model: {preset: tiny, image_size: [64, 64], depth: 2}\ntasks: [{name: depth}, {name: edge}]\n");
  return scratch / "little.yaml";
}

TEST(Accel, ReportGivesOneDocumentAndAPageWithItsPlots) {
  const Scratch scratch;
  const Outcome o = run({"accel", "report", "--config", recipe(scratch), "--out", scratch / "out", "--json", "-q"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  const nlohmann::json tables = o.json()["tables"];
  EXPECT_EQ(tables["little_orders"]["rows"].size(), 5U);
  EXPECT_EQ(tables["little_switch"]["rows"][1]["task"], "edge");
  const std::string page = read_text(scratch / "out/report.html");
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("little: order of experts"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_TRUE(fs::exists(scratch / "out/report_experts.svg"));
  EXPECT_EQ(nlohmann::json::parse(read_text(scratch / "out/report.json")), o.json());
}

TEST(Accel, ReportNamesWhatItCannotTake) {
  const Scratch scratch;
  const Outcome both = run({"accel", "report", "m.safetensors", "--config", recipe(scratch)});
  EXPECT_EQ(both.exit_code, 2);
  const Outcome large =
      run({"accel", "report", "--config", recipe(scratch), "--set", "model.image_size=[1024,1024]", "-q"});
  EXPECT_EQ(large.exit_code, 2);
  EXPECT_THAT(large.err, HasSubstr("memory"));
  EXPECT_THAT(large.out, IsEmpty());
}

TEST(Accel, ExplorePrintsTheFront) {
  const Scratch scratch;
  const Outcome o = run({"accel", "explore", "--config", recipe(scratch), "--json", "-q"});
  ASSERT_EQ(o.exit_code, 0) << o.err;
  EXPECT_GE(o.json()["tables"]["front"]["rows"].size(), 3U);
}

}  // namespace
}  // namespace m3vit::cli_test
