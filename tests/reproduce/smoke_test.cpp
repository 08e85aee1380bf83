// `m3vit reproduce` whole, on each table of configs/reproduce at the scale smoke.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/archive_files.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

struct SmokeTable {
  const char* name;
  int rows, seeds;
  std::optional<ArchiveKind> archive{};  ///< generated for it
  bool conflict = false;
};
void PrintTo(const SmokeTable& table, std::ostream* out) { *out << table.name; }

class Smoke : public testing::TestWithParam<SmokeTable> {};

TEST_P(Smoke, TrainsEveryRowAndWritesTheTable) {
  const SmokeTable& smoke = GetParam();
  const fs::path out =
      fs::temp_directory_path() / (std::string("m3vit_reproduce_") + smoke.name + std::to_string(getpid()));
  std::string command = std::string(M3VIT_PROGRAM " -q --json reproduce " M3VIT_SOURCE_DIR "/configs/reproduce/") +
                        smoke.name + ".yaml --scale smoke --jobs 2 --set train.threads=1 --out " + out.string() +
                        " --seeds " + std::to_string(smoke.seeds);
  const fs::path data = out.string() + "_data";
  if (smoke.archive) {
    write_archive(*smoke.archive, data);
    command += " --data " + data.string();
  }
  ASSERT_EQ(std::system((command + " > " + out.string() + ".json").c_str()), 0) << command;
  const auto table = nlohmann::json::parse(std::ifstream(out / "table.json"));
  EXPECT_EQ(table, nlohmann::json::parse(std::ifstream(out.string() + ".json")));
  EXPECT_EQ(table["missing_runs"], 0);
  EXPECT_EQ(table["rows"].size(), static_cast<std::size_t>(smoke.rows));
  for (const auto& row : table["rows"]) {
    if (row["against"].get<std::string>().empty()) continue;
    EXPECT_EQ(row["delta_m"]["seeds"], smoke.seeds) << row["row"];
  }
  for (const char* name : {"table.md", "scores.svg"}) EXPECT_GT(fs::file_size(out / name), 100U) << name;
  EXPECT_TRUE(fs::exists(out / "sharing.html"));
  EXPECT_EQ(fs::exists(out / "conflict.svg"), smoke.conflict);
  fs::remove_all(out);
  fs::remove_all(data);
  fs::remove(out.string() + ".json");
}

INSTANTIATE_TEST_SUITE_P(Tables, Smoke,
                         testing::Values(SmokeTable{"rooms", 13, 2}, SmokeTable{"weighting", 14, 1},
                                         SmokeTable{"gates", 13, 1}, SmokeTable{"conflict", 5, 1, {}, true},
                                         SmokeTable{"nyud", 12, 1, ArchiveKind::kSurvey},
                                         SmokeTable{"pascal", 12, 1, ArchiveKind::kPascal},
                                         SmokeTable{"cityscapes", 12, 1, ArchiveKind::kCityscapes}),
                         [](const auto& table) { return std::string(table.param.name); });

}  // namespace
}  // namespace m3vit
