// What every command owes whoever types it: help with examples, exit codes, errors on stderr only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"
#include "core/version.h"

namespace m3vit::cli_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

using Command = std::vector<std::string>;

class EveryCommand : public testing::TestWithParam<Command> {
 protected:
  static Command with(const std::string& argument) {
    Command words = GetParam();
    words.push_back(argument);
    return words;
  }
};

TEST_P(EveryCommand, HelpShowsExamplesAndEndsWithZero) {
  const Outcome o = run(with("--help"));
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_THAT(o.out, AllOf(HasSubstr("Example"), HasSubstr("m3vit " + GetParam()[0])));
  EXPECT_THAT(o.err, IsEmpty());
}

TEST_P(EveryCommand, UnknownOptionIsBadUsage) {
  const Outcome o = run(with("--no-such-option"));
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.out, IsEmpty());
  EXPECT_THAT(o.err, Not(IsEmpty()));
}

TEST_P(EveryCommand, WithoutItsArgumentsIsBadUsage) {
  const Outcome o = run(GetParam());
  EXPECT_EQ(o.exit_code, 2) << o.err;
  EXPECT_THAT(o.out, IsEmpty());
  EXPECT_THAT(o.err, Not(IsEmpty()));
}

std::vector<Command> commands() {
  std::vector<Command> all{{"data", "make"}, {"data", "stats"}, {"data", "show"}, {"data", "check"}, {"eval"},
                           {"compare"},      {"inspect"},       {"export"},       {"run"},           {"bench"}};
#ifdef M3VIT_WITH_ACCEL
  all.push_back({"accel", "disasm"});
#endif
#ifdef M3VIT_WITH_TRAIN
  all.insert(all.end(), {{"train"}, {"import"}});
#endif
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cli, EveryCommand, testing::ValuesIn(commands()), [](const auto& test) {
  std::string name;
  for (const std::string& word : test.param) name += word;
  return name;
});

TEST(Usage, VersionIsTheProjects) {
  const Outcome o = run({"--version"});
  EXPECT_EQ(o.exit_code, 0);
  EXPECT_EQ(o.out, "m3vit " + std::string(kVersion) + "\n");
}

TEST(Usage, NoOrUnknownCommandIsBadUsage) {
  EXPECT_EQ(run({}).exit_code, 2);
  const Outcome o = run({"fly"});
  EXPECT_EQ(o.exit_code, 2);
  EXPECT_THAT(o.out, IsEmpty());
}

}  // namespace
}  // namespace m3vit::cli_test
