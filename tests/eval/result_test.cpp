/// Δm, JSON and the text table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "eval/evaluate.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

EvalResult example() {
  EvalResult r;
  r.metrics["semseg"] = {{"mIoU", 0.55}, {"pixel_acc", 0.8}};
  r.metrics["depth"] = {{"rmse", 0.9}, {"delta1", NAN}};
  r.metrics["edge"] = {{"odsF", 0.7}};
  r.per_class["semseg"] = {0.5, NAN};
  r.frames = 12;
  return r;
}

TEST(DeltaM, CountsLowerAsBetterWhereTheTaskSaysSo) {
  EvalResult single;
  single.metrics["semseg"] = {{"mIoU", 0.5}};
  single.metrics["depth"] = {{"rmse", 1.0}};
  single.metrics["edge"] = {{"odsF", 0.7}};
  std::vector<std::string> missing;
  // +10 %, +10 %, 0 %
  EXPECT_NEAR(delta_m(example(), single, &missing), 20.0 / 3, 1e-9);
  EXPECT_TRUE(missing.empty());
  EXPECT_NEAR(delta_m(single, example(), nullptr), 100 * (-0.05 / 0.55 - 0.1 / 0.9) / 3, 1e-9);
}

TEST(DeltaM, ReproducesThePublishedTable) {
  // M³ViT (NeurIPS 2022), NYUD-v2, two tasks: STL-B semseg 43.9, depth 0.585 → M³ViT 49.1, 0.557: +8.32 %
  EvalResult stl, m3vit;
  stl.metrics["semseg"] = {{"mIoU", 0.439}};
  stl.metrics["depth"] = {{"rmse", 0.585}};
  m3vit.metrics["semseg"] = {{"mIoU", 0.491}};
  m3vit.metrics["depth"] = {{"rmse", 0.557}};
  EXPECT_NEAR(delta_m(m3vit, stl, nullptr), 8.32, 0.01);
}

TEST(DeltaM, LeavesOutAndNamesTasksWithoutASingleTaskValue) {
  EvalResult single;
  single.metrics["semseg"] = {{"mIoU", 0.5}};
  single.metrics["depth"] = {{"rmse", NAN}};
  std::vector<std::string> missing;
  EXPECT_NEAR(delta_m(example(), single, &missing), 10, 1e-9);
  EXPECT_THAT(missing, ElementsAre("depth", "edge"));
  EXPECT_TRUE(std::isnan(delta_m(example(), EvalResult{}, nullptr)));
}

TEST(ResultJson, RoundTripsWithNanAsNull) {
  const EvalResult r = example();
  const nlohmann::json json = to_json(r);
  EXPECT_TRUE(json["depth"]["delta1"].is_null());
  EXPECT_EQ(json["semseg"]["mIoU"], 0.55);
  const EvalResult bare = eval_result_from_json(json, "x.json");
  for (const auto& [task, values] : r.metrics) EXPECT_TRUE(same_values(values, bare.metrics.at(task), 0)) << task;

  const nlohmann::json document{{"metrics", json}, {"frames", 12}, {"per_class", per_class_to_json(r)}};
  const EvalResult whole = eval_result_from_json(document, "x.json");
  EXPECT_EQ(whole.frames, 12);
  EXPECT_EQ(whole.per_class.at("semseg")[0], 0.5);
  EXPECT_TRUE(std::isnan(whole.per_class.at("semseg")[1]));
  EXPECT_EQ(whole.primary("depth"), 0.9);
  EXPECT_TRUE(std::isnan(whole.primary("normals")));
}

TEST(ResultJson, PrimaryMetricComesFirstAfterReading) {
  const auto json = nlohmann::json::parse(R"({"depth": {"abs_rel": 1, "delta1": 2, "rmse": 3, "sq_rel": 4}})");
  EXPECT_EQ(eval_result_from_json(json, "x").metrics.at("depth").front().name, "rmse");
}

TEST(ResultJson, NamesFileAndFieldOfWhatIsWrong) {
  const auto message = [](const char* text) -> std::string {
    try {
      eval_result_from_json(nlohmann::json::parse(text), "run/metrics.json");
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message("[]"), HasSubstr("run/metrics.json"));
  EXPECT_THAT(message(R"({"metrics": 3})"), HasSubstr("metrics"));
  EXPECT_THAT(message(R"({"dept": {}})"), HasSubstr("dept"));
  EXPECT_THAT(message(R"({"depth": {"rmse": "low"}})"), HasSubstr("metrics.depth.rmse"));
  EXPECT_THAT(message(R"({"metrics": {}, "frames": "many"})"), HasSubstr("frames"));
  EXPECT_THAT(message(R"({"metrics": {}, "per_class": {"semseg": 1}})"), HasSubstr("per_class.semseg"));
}

TEST(ResultTable, HasOneAlignedRowPerMetricWithItsDirection) {
  const std::string table = format_table(example());
  EXPECT_THAT(table, HasSubstr("semseg      mIoU          ↑     0.5500\n"));
  EXPECT_THAT(table, HasSubstr("depth       rmse          ↓     0.9000\n"));
  EXPECT_THAT(table, HasSubstr("            delta1        ↑          –\n"));
}

}  // namespace
}  // namespace m3vit
