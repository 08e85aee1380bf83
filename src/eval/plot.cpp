#include "eval/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/markup.h"

namespace m3vit {
namespace {

// Okabe and Ito's colours, told apart by colour-blind readers too; black and yellow left out.
constexpr std::array<std::string_view, 7> kColors{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                  "#56b4e9", "#e69f00", "#7f7f7f"};
constexpr double kLegendLine = 18;
constexpr double kLetterWidth = 7.0;  // of the 12 px labels, on average

struct Tick {
  double at;
  std::string text;
};

struct Axis {
  double low = 0, high = 1;
  bool log = false;
  std::vector<Tick> ticks;

  bool shows(double v) const { return std::isfinite(v) && (!log || v > 0); }
  /// 0 … 1 along the axis.
  double place(double v) const {
    return log ? (std::log10(v) - std::log10(low)) / (std::log10(high) - std::log10(low)) : (v - low) / (high - low);
  }
};

std::string tick_text(double value, double step) {
  if (std::abs(value) < step * 1e-6) return "0";
  if (std::abs(value) >= 1e6 || step < 1e-4) return fmt::format("{:.4g}", value);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return fmt::format("{:.{}f}", value, decimals);
}

/// Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them; the axis ends on ticks.
void lay_linear(Axis& axis, int wanted, bool end_on_ticks) {
  if (axis.low == axis.high) {
    const double half = axis.low == 0 ? 1 : std::abs(axis.low) * 0.1;
    axis.low -= half;
    axis.high += half;
  }
  const double rough = (axis.high - axis.low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double share = rough / power;
  const double step = (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10) * power;
  double first = std::ceil(axis.low / step - 1e-9);
  double last = std::floor(axis.high / step + 1e-9);
  if (end_on_ticks) {
    first = std::floor(axis.low / step + 1e-9);
    last = std::ceil(axis.high / step - 1e-9);
    axis.low = first * step;
    axis.high = last * step;
  }
  for (double k = first; k <= last; ++k) axis.ticks.push_back({k * step, tick_text(k * step, step)});
}

void lay_log(Axis& axis) {
  if (axis.low == axis.high) {
    axis.low /= 2;
    axis.high *= 2;
  }
  const double first = std::floor(std::log10(axis.low) + 1e-9);
  const double last = std::ceil(std::log10(axis.high) - 1e-9);
  const double span = std::log10(axis.high) - std::log10(axis.low);
  const int every = std::max(1, static_cast<int>((last - first) / 8));
  std::vector<double> factors{1};
  if (span < 1) {
    factors = {1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9};
  } else if (span < 3) {
    factors = {1, 2, 5};
  }
  axis.low = std::pow(10, std::log10(axis.low) - 0.03 * span);
  axis.high = std::pow(10, std::log10(axis.high) + 0.03 * span);
  for (double decade = first - 1; decade <= last; decade += every) {
    for (const double f : factors) {
      const double at = f * std::pow(10, decade);
      if (at >= axis.low && at <= axis.high) axis.ticks.push_back({at, fmt::format("{:.3g}", at)});
    }
  }
}

struct Frame {
  double left, top, width, height;
  double x(const Axis& axis, double v) const { return left + width * axis.place(v); }
  double y(const Axis& axis, double v) const { return top + height * (1 - axis.place(v)); }
};

struct Point {
  double x, y;
};

/// Keeps the first, lowest, highest and last point of every pixel column, in order.
std::vector<Point> thinned(const std::vector<Point>& line) {
  std::vector<Point> out;
  for (std::size_t i = 0; i < line.size();) {
    std::size_t end = i + 1;
    std::size_t low = i;
    std::size_t high = i;
    for (; end < line.size() && std::floor(line[end].x) == std::floor(line[i].x); ++end) {
      if (line[end].y < line[low].y) low = end;
      if (line[end].y > line[high].y) high = end;
    }
    std::array<std::size_t, 4> keep{i, low, high, end - 1};
    std::sort(keep.begin(), keep.end());
    for (std::size_t k = 0; k < keep.size(); ++k) {
      if (k == 0 || keep[k] != keep[k - 1]) out.push_back(line[keep[k]]);
    }
    i = end;
  }
  return out;
}

std::string draw_line(const std::vector<Point>& line, std::string_view color) {
  if (line.empty()) return "";
  if (line.size() == 1) {
    return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", line[0].x, line[0].y, color);
  }
  std::string out = "<polyline fill=\"none\" stroke=\"" + std::string(color) +
                    "\" stroke-width=\"1.8\" stroke-linejoin=\"round\" points=\"";
  for (const Point& p : thinned(line)) out += fmt::format("{:.1f},{:.1f} ", p.x, p.y);
  out.back() = '"';
  return out + "/>\n";
}

std::string draw_series(const Series& series, const Axis& x, const Axis& y, const Frame& frame,
                        std::string_view color) {
  std::string out;
  std::vector<Point> line;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (x.shows(series.x[i]) && y.shows(series.y[i])) {
      line.push_back({frame.x(x, series.x[i]), frame.y(y, series.y[i])});
      continue;
    }
    out += draw_line(line, color);
    line.clear();
  }
  return out + draw_line(line, color);
}

void cover(Axis& axis, bool& any, double v) {
  axis.low = any ? std::min(axis.low, v) : v;
  axis.high = any ? std::max(axis.high, v) : v;
  any = true;
}

std::string text(double x, double y, std::string_view attributes, std::string_view words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, attributes, markup_escaped(words));
}

}  // namespace

std::string plot_svg(const std::vector<Series>& series, const PlotOptions& options) {
  Axis x;
  Axis y;
  y.log = options.log_y;
  bool any_x = false;
  bool any_y = false;
  std::size_t longest_name = 0;
  for (const Series& s : series) {
    if (s.x.size() != s.y.size()) {
      throw Error({.where = "plot",
                   .field = s.name,
                   .wanted = std::to_string(s.x.size()) + " values of y",
                   .found = std::to_string(s.y.size())});
    }
    longest_name = std::max(longest_name, s.name.size());
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!x.shows(s.x[i]) || !y.shows(s.y[i])) continue;
      cover(x, any_x, s.x[i]);
      cover(y, any_y, s.y[i]);
    }
  }
  if (y.log && !any_y) y.low = 0.1;
  lay_linear(x, std::max(2, options.width / 100), false);
  if (y.log) {
    lay_log(y);
  } else {
    lay_linear(y, std::max(2, options.height / 70), true);
  }

  std::size_t widest_tick = 1;
  for (const Tick& t : y.ticks) widest_tick = std::max(widest_tick, t.text.size());
  const double legend = longest_name == 0 ? 0 : 34 + kLetterWidth * static_cast<double>(longest_name);
  Frame frame{};
  frame.left = 20 + kLetterWidth * static_cast<double>(widest_tick) + (options.y_label.empty() ? 0 : 20);
  frame.top = options.title.empty() ? 16 : 42;
  frame.width = std::max(10.0, options.width - frame.left - std::max(legend, 20.0));
  frame.height = std::max(10.0, options.height - frame.top - (options.x_label.empty() ? 34 : 54));
  const double bottom = frame.top + frame.height;
  const double right = frame.left + frame.width;

  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#333\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      options.width, options.height);
  if (!options.title.empty()) {
    out += text(frame.left, 26, "font-size=\"15\" font-weight=\"bold\" fill=\"#111\"", options.title);
  }
  out += "<g stroke=\"#e6e6e6\">\n";
  for (const Tick& t : y.ticks) {
    out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", frame.left,
                       frame.y(y, t.at), right, frame.y(y, t.at));
  }
  for (const Tick& t : x.ticks) {
    out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", frame.x(x, t.at), frame.top,
                       frame.x(x, t.at), bottom);
  }
  out += "</g>\n";
  for (const Tick& t : y.ticks) {
    out += text(frame.left - 8, frame.y(y, t.at) + 4, "text-anchor=\"end\" fill=\"#555\"", t.text);
  }
  for (const Tick& t : x.ticks) {
    out += text(frame.x(x, t.at), bottom + 18, "text-anchor=\"middle\" fill=\"#555\"", t.text);
  }
  out += fmt::format("<path d=\"M{0:.1f} {1:.1f}V{2:.1f}H{3:.1f}\" fill=\"none\" stroke=\"#888\"/>\n", frame.left,
                     frame.top, bottom, right);
  if (!options.x_label.empty()) {
    out += text(frame.left + frame.width / 2, bottom + 40, "text-anchor=\"middle\"", options.x_label);
  }
  if (!options.y_label.empty()) {
    const double middle = frame.top + frame.height / 2;
    out += text(16, middle, fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1f})\"", middle),
                options.y_label);
  }
  if (!any_x) {
    out += text(frame.left + frame.width / 2, frame.top + frame.height / 2, "text-anchor=\"middle\" fill=\"#888\"",
                "no data");
  }
  for (std::size_t i = 0; i < series.size(); ++i) {
    const std::string_view color = kColors[i % kColors.size()];
    out += draw_series(series[i], x, y, frame, color);
    if (series[i].name.empty()) continue;
    const double at = frame.top + 8 + kLegendLine * static_cast<double>(i);
    out += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{2:.1f}\" y2=\"{1:.1f}\" stroke=\"{3}\" "
        "stroke-width=\"3\"/>\n",
        right + 10, at, right + 26, color);
    out += text(right + 31, at + 4, "", series[i].name);
  }
  return out + "</svg>\n";
}

}  // namespace m3vit
