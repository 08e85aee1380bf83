#include "eval/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.h"

namespace m3vit {
namespace {

using testing::HasSubstr;
using testing::Not;

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// All points of all polylines.
std::vector<std::pair<double, double>> points(const std::string& svg) {
  std::vector<std::pair<double, double>> out;
  const std::string start = "points=\"";
  for (std::size_t at = svg.find(start); at != std::string::npos; at = svg.find(start, at)) {
    at += start.size();
    std::istringstream list(svg.substr(at, svg.find('"', at) - at));
    double x = 0, y = 0;
    char comma = 0;
    while (list >> x >> comma >> y) out.emplace_back(x, y);
  }
  return out;
}

TEST(Plot, DrawsOneLinePerSeriesWithLegendTitleAndLabels) {
  PlotOptions options;
  options.title = "loss";
  options.x_label = "epoch";
  options.y_label = "value";
  const std::string svg = plot_svg({{"train", {0, 1, 2}, {3, 2, 1}}, {"test", {0, 1, 2}, {3, 2.5, 2}}}, options);
  EXPECT_EQ(count(svg, "<polyline"), 2);
  for (const char* word : {">loss<", ">epoch<", ">value<", ">train<", ">test<"}) EXPECT_THAT(svg, HasSubstr(word));
}

TEST(Plot, HigherValuesStandHigherAndLaterOnesFurtherRight) {
  const auto p = points(plot_svg({{"", {0, 1, 2}, {5, 7, 6}}}, {}));
  ASSERT_EQ(p.size(), 3U);
  EXPECT_LT(p[0].first, p[1].first);
  EXPECT_LT(p[1].second, p[2].second);
  EXPECT_LT(p[2].second, p[0].second);
}

TEST(Plot, NanBreaksTheLineAndALonePointIsADot) {
  const std::string svg = plot_svg({{"", {0, 1, 2, 3, 4, 5}, {1, 2, NAN, 3, NAN, 4}}}, {});
  EXPECT_EQ(count(svg, "<polyline"), 1);
  EXPECT_EQ(count(svg, "<circle"), 2);
}

TEST(Plot, LogAxisPlacesDecadesEvenlyAndBreaksAtZero) {
  PlotOptions options;
  options.log_y = true;
  const auto p = points(plot_svg({{"", {0, 1, 2, 3}, {1, 10, 100, 0}}}, options));
  ASSERT_EQ(p.size(), 3U);
  EXPECT_NEAR(p[0].second - p[1].second, p[1].second - p[2].second, 0.2);
}

TEST(Plot, EscapesTextAndHasNoControlCharacters) {
  PlotOptions options;
  options.title = "a<b & \"c\">\n\x01";
  const std::string svg = plot_svg({{"<script>", {0, 1}, {0, 1}}}, options);
  EXPECT_THAT(svg, HasSubstr("a&lt;b &amp; &quot;c&quot;&gt;"));
  EXPECT_THAT(svg, Not(HasSubstr("<script>")));
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
}

TEST(Plot, SurvivesEmptyConstantHugeAndTinyData) {
  for (const bool log : {false, true}) {
    PlotOptions options;
    options.log_y = log;
    for (const std::vector<double>& y :
         {std::vector<double>{}, {0, 0}, {5, 5}, {1e300, 2e300}, {1e-300, 2e-300}, {-1e9, 1e9}, {NAN, INFINITY}}) {
      std::vector<double> x(y.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
      const std::string svg = plot_svg({{"s", x, y}}, options);
      EXPECT_THAT(svg, HasSubstr("</svg>"));
      EXPECT_THAT(svg, Not(testing::ContainsRegex("[^a-z]nan[^a-z]"))) << (y.empty() ? 0 : y[0]);
      EXPECT_THAT(svg, Not(testing::ContainsRegex("=\"-?inf"))) << (y.empty() ? 0 : y[0]);
      EXPECT_LT(svg.size(), 20000U);
    }
  }
  EXPECT_THAT(plot_svg({}, {}), HasSubstr("no data"));
}

TEST(Plot, LongSeriesStayShortButKeepTheirExtremes) {
  std::vector<double> x(200000), y(200000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i), y[i] = std::sin(static_cast<double>(i));
  y[77777] = 50;
  const std::string svg = plot_svg({{"", x, y}}, {});
  EXPECT_LT(svg.size(), 60000U);
  const auto p = points(svg);
  const double top = std::min_element(p.begin(), p.end(), [](auto a, auto b) { return a.second < b.second; })->second;
  const auto second = std::count_if(p.begin(), p.end(), [&](auto a) { return a.second < top + 100; });
  EXPECT_EQ(second, 1);
}

TEST(Plot, TicksAreRoundNumbers) {
  const std::string svg = plot_svg({{"", {0, 10}, {0.13, 0.94}}}, {});
  EXPECT_THAT(svg, HasSubstr(">0.2<"));
  EXPECT_THAT(svg, HasSubstr(">10<"));
}

TEST(Plot, SeriesOfUnequalLengthAreAnError) { EXPECT_THROW(plot_svg({{"s", {1, 2}, {1}}}, {}), Error); }

}  // namespace
}  // namespace m3vit
