#include "core/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <utility>

namespace m3vit {
namespace {

std::atomic<bool> g_quiet{false};

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// `width` cells filled to `share`, in eighths.
std::string bar(double share, int width) {
  constexpr std::array<const char*, 8> kPart{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::clamp(share, 0.0, 1.0) * width * 8);
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) out += "█";
  int cells = eighths / 8;
  if (eighths % 8 != 0) {
    out += kPart[static_cast<std::size_t>(eighths % 8)];
    ++cells;
  }
  out.append(static_cast<std::size_t>(width - cells), ' ');
  return out;
}

/// The first `columns` code points: what is drawn here takes one cell each.
std::string clip(const std::string& text, int columns) {
  int seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U && ++seen > columns) return text.substr(0, i);
  }
  return text;
}

std::string format_rate(double rate) {
  if (rate >= 100) return fmt::format("{:.0f}", rate);
  if (rate >= 1) return fmt::format("{:.1f}", rate);
  return fmt::format("{:.2g}", rate);
}

}  // namespace

void Progress::set_quiet(bool quiet) { g_quiet = quiet; }

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e9) return "?";
  const auto s = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0)));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

Progress::Progress(std::string label, std::int64_t total, std::string unit, Style style)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      style_(style),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {
  if (style_ == Style::kAuto) {
    style_ = g_quiet ? Style::kQuiet : ::isatty(STDERR_FILENO) != 0 ? Style::kBar : Style::kLines;
  }
}

Progress::~Progress() { finish(); }

std::string Progress::line(std::int64_t done, double seconds, const std::string& metrics, int columns) const {
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0.0;
  std::string text = label_;
  if (total_ > 0) {
    const double share = static_cast<double>(done) / static_cast<double>(total_);
    text += fmt::format("  {:3.0f} % {}  {}/{} {}", std::floor(100 * std::clamp(share, 0.0, 1.0)), bar(share, 20), done,
                        total_, unit_);
  } else {
    text += fmt::format("  {} {}", done, unit_);
  }
  if (rate > 0) text += fmt::format("  {} {}/s", format_rate(rate), unit_);
  if (total_ > 0 && rate > 0) {
    text += done < total_ ? "  ETA " + format_duration(static_cast<double>(total_ - done) / rate)
                          : "  in " + format_duration(seconds);
  }
  if (!metrics.empty()) text += "  " + metrics;
  return columns > 0 ? clip(text, columns) : text;
}

void Progress::update(std::int64_t done, const std::string& metrics) {
  done_ = done;
  metrics_ = metrics;
  if (style_ == Style::kQuiet || finished_) return;
  const auto now = std::chrono::steady_clock::now();
  const auto pause = style_ == Style::kBar ? std::chrono::milliseconds(100) : std::chrono::milliseconds(30'000);
  if (now - last_ < pause) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (style_ == Style::kBar) {
    std::fprintf(stderr, "\r%s\033[K", line(done_, seconds, metrics_, terminal_columns() - 1).c_str());
  } else {
    std::fprintf(stderr, "%s\n", line(done_, seconds, metrics_, 0).c_str());
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (style_ == Style::kQuiet) return;
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (style_ == Style::kBar) {
    std::fprintf(stderr, "\r%s\033[K\n", line(done_, seconds, metrics_, terminal_columns() - 1).c_str());
  } else {
    std::fprintf(stderr, "%s\n", line(done_, seconds, metrics_, 0).c_str());
  }
  std::fflush(stderr);
}

}  // namespace m3vit
