#include "core/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace m3vit {
namespace {

using testing::HasSubstr;
using testing::Not;

std::size_t code_points(const std::string& text) {
  std::size_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return n;
}

TEST(Progress, LineShowsShareBarCountRateAndRemainingTime) {
  const Progress p("train", 1000, "frames", Progress::Style::kQuiet);
  EXPECT_EQ(p.line(370, 1.85, "loss 1.23", 0),
            "train   37 % ███████▍              370/1000 frames  200 frames/s  ETA 0:03  loss 1.23");
  EXPECT_EQ(p.line(1000, 5, "", 0), "train  100 % ████████████████████  1000/1000 frames  200 frames/s  in 0:05");
}

TEST(Progress, BeforeTheFirstStepThereIsNoRate) {
  const Progress p("train", 10, "steps", Progress::Style::kQuiet);
  EXPECT_EQ(p.line(0, 0, "", 0), "train    0 %                       0/10 steps");
}

TEST(Progress, WithoutATotalItCounts) {
  const Progress p("read", 0, "files", Progress::Style::kQuiet);
  EXPECT_EQ(p.line(42, 4, "", 0), "read  42 files  10.5 files/s");
  EXPECT_EQ(p.line(1, 8, "", 0), "read  1 files  0.12 files/s");
}

TEST(Progress, FitsTheTerminal) {
  const Progress p("train", 1000, "frames", Progress::Style::kQuiet);
  for (const int columns : {1, 10, 20, 40, 79}) {
    EXPECT_EQ(code_points(p.line(370, 1.85, std::string(200, 'm'), columns)), static_cast<std::size_t>(columns));
  }
}

TEST(Progress, NeverClaimsTheEndBeforeItNorLessThanNothing) {
  const Progress p("x", 1000, "y", Progress::Style::kQuiet);
  EXPECT_THAT(p.line(999, 1, "", 0), HasSubstr(" 99 %"));
  EXPECT_THAT(p.line(2000, 1, "", 0), HasSubstr("100 %"));
  EXPECT_THAT(p.line(2000, 1, "", 0), Not(HasSubstr("ETA")));
}

TEST(Progress, QuietPrintsNothingAndLinesEndWithTheLast) {
  testing::internal::CaptureStderr();
  {
    Progress quiet("a", 10, "b", Progress::Style::kQuiet);
    quiet.update(5);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  testing::internal::CaptureStderr();
  {
    Progress lines("a", 10, "b", Progress::Style::kLines);
    for (int i = 1; i <= 10; ++i) lines.update(i, "loss " + std::to_string(i));
    lines.finish();
    lines.finish();
  }
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_THAT(printed, HasSubstr("10/10 b"));
  EXPECT_THAT(printed, HasSubstr("loss 10\n"));
  EXPECT_EQ(std::count(printed.begin(), printed.end(), '\n'), 1) << "one line, at the end";
  EXPECT_THAT(printed, Not(HasSubstr("\r")));
}

TEST(Progress, AutoIsPlainWhenStderrIsNoTerminalAndQuietWhenAsked) {
  testing::internal::CaptureStderr();  // stderr is a file now
  { Progress p("a", 2, "b"); }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::EndsWith("0/2 b\n"));
  Progress::set_quiet(true);
  testing::internal::CaptureStderr();
  { Progress p("a", 2, "b"); }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  Progress::set_quiet(false);
}

TEST(FormatDuration, MinutesAndHours) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(7.4), "0:07");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(3599), "59:59");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(-5), "0:00");
  EXPECT_EQ(format_duration(INFINITY), "?");
  EXPECT_EQ(format_duration(NAN), "?");
}

}  // namespace
}  // namespace m3vit
