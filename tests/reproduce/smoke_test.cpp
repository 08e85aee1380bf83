// `m3vit reproduce` whole, on each table of configs/reproduce at the scale smoke.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace m3vit {
namespace {

namespace fs = std::filesystem;

class Smoke : public testing::TestWithParam<std::string> {};

TEST_P(Smoke, TrainsEveryRowAndWritesTheTable) {
  const fs::path out = fs::temp_directory_path() / ("m3vit_reproduce_" + GetParam() + std::to_string(getpid()));
  const std::string command =
      std::string(M3VIT_PROGRAM " -q --json reproduce " M3VIT_SOURCE_DIR "/configs/reproduce/") + GetParam() +
      ".yaml --scale smoke --seeds 2 --set train.threads=1 --out " + out.string() + " > " + out.string() + ".json";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const auto table = nlohmann::json::parse(std::ifstream(out / "table.json"));
  EXPECT_EQ(table, nlohmann::json::parse(std::ifstream(out.string() + ".json")));
  EXPECT_GE(table["rows"].size(), 10U);
  for (const auto& row : table["rows"]) {
    if (row["against"].get<std::string>().empty()) continue;
    EXPECT_EQ(row["delta_m"]["seeds"], 2) << row["row"];
  }
  for (const char* name : {"table.md", "scores.svg"}) EXPECT_GT(fs::file_size(out / name), 100U) << name;
  fs::remove_all(out);
  fs::remove(out.string() + ".json");
}

INSTANTIATE_TEST_SUITE_P(Tables, Smoke, testing::Values("rooms", "weighting"));

}  // namespace
}  // namespace m3vit
