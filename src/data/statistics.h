#pragma once
/// What a data set holds, gathered frame by frame: sizes, colours, label coverage, class histograms, depth range.
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "data/dataset.h"

namespace m3vit {

/// Pixels of one class, and frames that show it.
struct ClassCount {
  std::int64_t pixels = 0, frames = 0;
};

struct TaskStatistics {
  std::int64_t frames = 0;          ///< that have a label map
  std::int64_t pixels = 0;          ///< of those frames
  std::int64_t labelled = 0;        ///< pixels whose value is known
  std::int64_t positive = 0;        ///< edge, sal: labelled 1 (edge: by any annotator)
  std::vector<ClassCount> classes;  ///< semseg, human_parts
};

class Statistics {
 public:
  explicit Statistics(DatasetInfo info);
  void add(const Sample& sample);

  std::int64_t frames() const { return frames_; }
  const TaskStatistics& task(TaskId t) const { return tasks_[static_cast<std::size_t>(t)]; }
  /// Smallest and largest [height, width].
  std::array<int, 2> smallest() const { return smallest_; }
  std::array<int, 2> largest() const { return largest_; }
  /// Mean and standard deviation of a channel in 0 … 1.
  double mean(int channel) const;
  double deviation(int channel) const;
  /// Metres; the quantile from a histogram of 1 cm cells up to 100 m. NaN without labelled depth.
  double depth_min() const;
  double depth_max() const;
  double depth_quantile(double q) const;

  nlohmann::json to_json() const;

 private:
  DatasetInfo info_;
  std::int64_t frames_ = 0, pixels_ = 0;
  std::array<int, 2> smallest_{}, largest_{};
  std::array<double, 3> sum_{}, square_{};
  std::array<TaskStatistics, kNumTaskIds> tasks_;
  float depth_min_ = std::numeric_limits<float>::infinity(), depth_max_ = 0;
  std::vector<std::int64_t> depth_cells_;
};

}  // namespace m3vit
