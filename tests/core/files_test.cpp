#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/json_text.h"
#include "core/mapped_file.h"
#include "core/version.h"
#include "error_text.h"
#include "temp_dir.h"

namespace m3vit {
namespace {

using testing::HasSubstr;

TEST(AtomicFile, TheNameAppearsOnlyAtCommit) {
  const TempDir dir;
  const auto path = dir / "x.txt";
  AtomicFile file(path);
  file.stream() << "new";
  file.stream().flush();
  EXPECT_FALSE(std::filesystem::exists(path));
  file.commit();
  EXPECT_EQ(read_all(path), "new");
  EXPECT_FALSE(std::filesystem::exists(file.temporary()));
}

TEST(AtomicFile, WithoutCommitTheOldContentStaysAndNothingIsLeft) {
  const TempDir dir;
  const auto path = dir.write("x.txt", "old");
  {
    AtomicFile file(path);
    file.stream() << "half of the ne";
  }
  EXPECT_EQ(read_all(path), "old");
  EXPECT_EQ(files_in(dir.path()), 1U);
}

TEST(AtomicFile, AFailedWriteIsAnErrorAtCommitAndKeepsTheOldContent) {
  const TempDir dir;
  const auto path = dir.write("x.txt", "old");
  {
    AtomicFile file(path);
    file.stream().setstate(std::ios::badbit);
    EXPECT_THAT(error_text([&] { file.commit(); }), HasSubstr(path.string() + ": want a writable file"));
  }
  EXPECT_EQ(read_all(path), "old");
  EXPECT_EQ(files_in(dir.path()), 1U);
}

TEST(AtomicFile, AMissingFolderAndADirectoryInPlaceOfTheFileAreErrors) {
  const TempDir dir;
  EXPECT_EQ(error_text([&] { write_text_file(dir / "no/x.txt", "x"); }),
            (dir / "no/x.txt").string() + ": want a writable file, found no folder '" + (dir / "no").string() + "'");
  EXPECT_THAT(error_text([&] { write_text_file(dir.path(), "x"); }), HasSubstr("found a directory"));
}

TEST(AtomicFile, ReplacesALongerFileWhole) {
  const TempDir dir;
  const auto path = dir.write("x.txt", std::string(100'000, 'o'));
  write_text_file(path, "short");
  EXPECT_EQ(read_all(path), "short");
}

TEST(MappedFile, GivesTheBytesAlsoOfAnEmptyFile) {
  const TempDir dir;
  const MappedFile file(dir.write("x", std::string("ab\0c", 4)));
  ASSERT_EQ(file.bytes().size(), 4U);
  EXPECT_EQ(file.bytes()[3], std::byte{'c'});
  EXPECT_TRUE(MappedFile(dir.write("e", "")).bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoRegularFileWithoutWaiting) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_text([&] { MappedFile(dir / "pipe"); }), HasSubstr("found not a regular file"));
  EXPECT_THAT(error_text([&] { MappedFile(dir.path()); }), HasSubstr("found a directory"));
  EXPECT_THAT(error_text([&] { MappedFile(dir / "none"); }), HasSubstr("found No such file"));
}

TEST(NearestName, FindsTyposAndNothingElse) {
  const std::vector<std::string> names{"num_experts", "top_k", "gate", "every"};
  EXPECT_EQ(nearest_name("num_expert", names), "num_experts");
  EXPECT_EQ(nearest_name("topk", names), "top_k");
  EXPECT_EQ(nearest_name("gates", names), "gate");
  EXPECT_EQ(nearest_name("learning_rate", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name(std::string(100'000, 'x'), names), "");
}

TEST(Shown, CutsLongValuesBetweenCodePoints) {
  const std::string text = shown(nlohmann::json(std::string(200, 'x') + "end"));
  EXPECT_LT(text.size(), 90U);
  EXPECT_THAT(text, HasSubstr("…"));
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "ä";
  const std::string cut = shown(nlohmann::json(accents));
  EXPECT_NO_THROW(nlohmann::json(cut).dump()) << "still UTF-8";
  EXPECT_EQ(shown(nlohmann::json("\xFF")), "\"\xEF\xBF\xBD\"");
}

TEST(Version, EqualsTheProjects) { EXPECT_EQ(kVersion, M3VIT_PROJECT_VERSION); }

}  // namespace
}  // namespace m3vit
