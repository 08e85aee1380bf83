#include "reproduce/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/model_cost.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kRecipe = R"(
model: {preset: micro}
tasks: [{name: semseg, outputs: 5, loss_weight: 2}, {name: depth}]
)";
constexpr const char* kTable = R"(
title: Two rows
recipe: recipe.yaml
seeds: 2
scales:
  smoke: [train.epochs=1]
  full: []
macs_against: one
rows:
  - {name: one, label: "One a task", single_task: true, set: [model.moe=null]}
  - {name: all, against: one}
published:
  - {row: all, what: Δm, value: "1 %", source: nowhere}
)";

class TableFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("m3vit_table_test_" + std::to_string(getpid()));
    fs::create_directories(folder_);
    write("recipe.yaml", kRecipe);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  Table table(const std::string& text = kTable) { return read_table(write("table.yaml", text)); }
  /// What reading kTable with `from` replaced by `to` complains of.
  std::string complaint(const std::string& from, const std::string& to) {
    std::string text = kTable;
    text.replace(text.find(from), from.size(), to);
    try {
      table(text);
    } catch (const Error& e) {
      return e.what();
    }
    return "nothing";
  }
  fs::path folder_;
};

TEST_F(TableFile, PlansOneRunARowAndSeedAndOneATaskWhereEachHasItsOwnNetwork) {
  const std::vector<Job> jobs = plan(table(), {.scale = "smoke"});
  std::vector<std::string> folders;
  for (const Job& job : jobs) folders.push_back(job.folder);
  EXPECT_THAT(folders, ElementsAre("one/seed_1/semseg", "one/seed_1/depth", "one/seed_2/semseg", "one/seed_2/depth",
                                   "all/seed_1", "all/seed_2"));
  EXPECT_EQ(jobs[0].config.train.epochs, 1);
  EXPECT_EQ(jobs[0].config.tasks.size(), 1U);
  EXPECT_EQ(jobs[0].config.tasks[0].outputs, 5);
  EXPECT_EQ(jobs[0].config.tasks[0].loss_weight, 2);
  EXPECT_FALSE(jobs[0].config.model.moe);
  EXPECT_EQ(jobs[3].config.train.seed, 2);
  EXPECT_TRUE(jobs[4].config.model.moe);
  EXPECT_EQ(jobs[4].config.tasks.size(), 2U);
  EXPECT_EQ(plan(table(), {.scale = "full"})[0].config.train.epochs, 100);
}

TEST_F(TableFile, AChosenRowBringsTheRowOfItsDelta) {
  const std::vector<Job> jobs = plan(table(), {.scale = "smoke", .seeds = 1, .rows = {"all"}, .overrides = {}});
  EXPECT_EQ(jobs.size(), 3U);
}

TEST_F(TableFile, OverridesOfTheCallComeBeforeTheRowsOwn) {
  const std::vector<Job> jobs = plan(
      table(), {.scale = "smoke", .seeds = 1, .rows = {}, .overrides = {"train.epochs=7", "model.moe.num_experts=3"}});
  EXPECT_EQ(jobs[0].config.train.epochs, 7);
  EXPECT_FALSE(jobs[0].config.model.moe);
  EXPECT_EQ(jobs[2].config.model.moe->num_experts, 3);
}

TEST_F(TableFile, ARowsOwnOverridesOfAScaleComeLast) {
  std::string text = kTable;
  const std::string row = "{name: all, against: one";
  text.replace(text.find(row), row.size(), row + ", set: [train.epochs=3], at: {smoke: [train.epochs=4]}");
  EXPECT_EQ(plan(table(text), {.scale = "smoke"}).back().config.train.epochs, 4);
  EXPECT_EQ(plan(table(text), {.scale = "full"}).back().config.train.epochs, 3);
  EXPECT_THAT(complaint("against: one}", "against: one, at: {tiny: []}}"), HasSubstr("rows/1/at/tiny"));
}

TEST_F(TableFile, MistakesNameFileLineAndKey) {
  EXPECT_THAT(complaint("all, against", "all, againts"),
              AllOf(HasSubstr("table.yaml:11"), HasSubstr("againts"), HasSubstr("against")));
  EXPECT_THAT(complaint("all, against: one", "all, against: two"),
              AllOf(HasSubstr("rows/1/against"), HasSubstr("two")));
  EXPECT_THAT(complaint("name: all", "name: one"), HasSubstr("each row once"));
  EXPECT_THAT(complaint("name: all", "name: ../all"), HasSubstr("letters"));
  EXPECT_THAT(complaint("seeds: 2", "seeds: 0"), HasSubstr("1 … 1000"));
  EXPECT_THAT(complaint("macs_against: one", "macs_against: none"), HasSubstr("macs_against"));
  EXPECT_THAT(complaint("full: []", "full: 3"), HasSubstr("scales/full"));
}

TEST_F(TableFile, UnknownScalesAndRowsSayWhatThereIs) {
  const Table t = table();
  try {
    plan(t, {.scale = "huge"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("full, smoke"), HasSubstr("huge")));
  }
  EXPECT_THROW(plan(t, {.scale = "smoke", .seeds = 0, .rows = {"none"}, .overrides = {}}), Error);
}

TEST(ShippedTables, EveryRowOfEveryScaleIsAValidRecipeAndNoTwoRowsAreTheSame) {
  int tables = 0;
  for (const auto& entry : fs::directory_iterator(M3VIT_SOURCE_DIR "/configs/reproduce")) {
    const Table table = read_table(entry.path());
    ++tables;
    for (const auto& [scale, overrides] : table.scales) {
      std::set<std::string> seen;
      for (const Job& job : plan(table, {.scale = scale, .seeds = 1, .rows = {}, .overrides = {}})) {
        EXPECT_TRUE(seen.insert(to_json(job.config).dump()).second) << entry.path() << " " << job.folder;
      }
    }
  }
  EXPECT_GE(tables, 7);
}

TEST(ShippedTables, TheDenseTwinsAreAsLargeAsTheySay) {
  const Table table = read_table(M3VIT_SOURCE_DIR "/configs/reproduce/rooms.yaml");
  std::map<std::string, ModelCost> costs;
  for (Job& job : plan(table, {.scale = "full", .seeds = 1, .rows = {}, .overrides = {}})) {
    if (!job.task.empty()) continue;
    job.config.tasks.front().outputs = 18;  // semseg: rooms' classes
    costs[table.rows[job.row].name] = model_cost(job.config);
  }
  const auto params = [&](const char* row) { return static_cast<double>(costs.at(row).params); };
  const auto macs = [&](const char* row) {
    const TaskCost& t = costs.at(row).tasks.front();
    return static_cast<double>(t.total - t.router);
  };
  EXPECT_NEAR(params("mvit_wide") / params("m3vit"), 1, 0.005);
  EXPECT_NEAR(macs("mvit") / macs("m3vit"), 1, 1e-9);
}

}  // namespace
}  // namespace m3vit
