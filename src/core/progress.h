#pragma once
/// Progress on stderr: bar, rate, ETA and a line of metrics. On a terminal it redraws at most ten times a second; not
/// on a terminal it prints at most one plain line every 30 s (none when quiet).
#include <chrono>
#include <cstdint>
#include <string>

namespace m3vit {

class Progress {
 public:
  enum class Style { kAuto, kBar, kLines, kQuiet };
  /// `total` 0: unknown. `unit`: what is counted ("frames", "steps").
  Progress(std::string label, std::int64_t total, std::string unit, Style style = Style::kAuto);
  ~Progress();  ///< finishes
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::int64_t done, const std::string& metrics = "");
  void finish();
  /// "label  37 % ███▎   370/1000 frames  212 frames/s  ETA 0:03  loss 1.23": exposed for its test.
  std::string line(std::int64_t done, double seconds, const std::string& metrics, int columns) const;

  /// Process-wide default for kAuto, set once by the command line's -q.
  static void set_quiet(bool quiet);

 private:
  std::string label_, unit_, metrics_;
  std::int64_t total_ = 0, done_ = 0;
  Style style_;
  std::chrono::steady_clock::time_point start_, last_;
  bool finished_ = false;
};

/// "1:02:03" or "0:07".
std::string format_duration(double seconds);

}  // namespace m3vit
