#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace m3vit {
namespace {

constexpr std::size_t kDepthCells = 10000;  // of 1 cm

nlohmann::json number(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); }

void count_classes(const ImageF32& map, TaskStatistics* t) {
  std::vector<bool> seen(t->classes.size(), false);
  for (const float v : map.data) {
    if (v == kIgnore) continue;
    ++t->labelled;
    const auto c = static_cast<std::size_t>(v);
    if (c >= t->classes.size()) {  // a data set without class list
      t->classes.resize(c + 1);
      seen.resize(c + 1, false);
    }
    ++t->classes[c].pixels;
    seen[c] = true;
  }
  for (std::size_t c = 0; c < seen.size(); ++c) t->classes[c].frames += seen[c] ? 1 : 0;
}

void count_binary(const ImageF32& map, TaskStatistics* t) {
  const auto channels = static_cast<std::size_t>(map.channels);
  for (std::size_t i = 0; i < map.data.size(); i += channels) {
    bool known = false;
    bool positive = false;
    for (std::size_t c = 0; c < channels; ++c) {
      known = known || map.data[i + c] != kIgnore;
      positive = positive || map.data[i + c] == 1.0F;
    }
    t->labelled += known ? 1 : 0;
    t->positive += positive ? 1 : 0;
  }
}

}  // namespace

Statistics::Statistics(DatasetInfo info) : info_(std::move(info)), depth_cells_(kDepthCells, 0) {
  for (std::size_t t = 0; t < kNumTaskIds; ++t) tasks_[t].classes.resize(info_.classes[t].size());
}

void Statistics::add(const Sample& sample) {
  const ImageU8& image = sample.image;
  const std::array<int, 2> size{image.height, image.width};
  smallest_ = frames_ == 0 ? size : std::min(smallest_, size);
  largest_ = std::max(largest_, size);
  ++frames_;
  for (std::size_t i = 0; i < image.data.size(); ++i) {
    const double v = image.data[i] / 255.0;
    sum_[i % 3] += v;
    square_[i % 3] += v * v;
  }
  pixels_ += static_cast<std::int64_t>(image.data.size() / 3);

  for (const TaskSpec& spec : kTasks) {
    const ImageF32& map = sample.label(spec.id);
    if (map.empty()) continue;
    TaskStatistics& t = tasks_[static_cast<std::size_t>(spec.id)];
    ++t.frames;
    t.pixels += static_cast<std::int64_t>(map.height) * map.width;
    switch (spec.label) {
      case LabelKind::kClassIndex:
        count_classes(map, &t);
        break;
      case LabelKind::kBinary:
        count_binary(map, &t);
        break;
      case LabelKind::kDepth:
        for (const float z : map.data) {
          if (!(z > 0)) continue;
          ++t.labelled;
          depth_min_ = std::min(depth_min_, z);
          depth_max_ = std::max(depth_max_, z);
          ++depth_cells_[static_cast<std::size_t>(std::min(z * 100.0F, static_cast<float>(kDepthCells - 1)))];
        }
        break;
      case LabelKind::kNormals:
        for (std::size_t i = 0; i < map.data.size(); i += 3) {
          t.labelled += map.data[i] != 0 || map.data[i + 1] != 0 || map.data[i + 2] != 0 ? 1 : 0;
        }
        break;
    }
  }
}

double Statistics::mean(int channel) const {
  return sum_[static_cast<std::size_t>(channel)] / static_cast<double>(pixels_);
}

double Statistics::deviation(int channel) const {
  const double m = mean(channel);
  return std::sqrt(std::max(0.0, square_[static_cast<std::size_t>(channel)] / static_cast<double>(pixels_) - m * m));
}

double Statistics::depth_min() const { return task(TaskId::kDepth).labelled > 0 ? depth_min_ : std::nan(""); }
double Statistics::depth_max() const { return task(TaskId::kDepth).labelled > 0 ? depth_max_ : std::nan(""); }

double Statistics::depth_quantile(double q) const {
  const double wanted = q * static_cast<double>(task(TaskId::kDepth).labelled);
  if (task(TaskId::kDepth).labelled == 0) return std::nan("");
  double below = 0;
  for (std::size_t i = 0; i < depth_cells_.size(); ++i) {
    below += static_cast<double>(depth_cells_[i]);
    if (below >= wanted) return (static_cast<double>(i) + 0.5) / 100.0;
  }
  return depth_max_;
}

nlohmann::json Statistics::to_json() const {
  nlohmann::json out{{"frames", frames_}, {"tasks", nlohmann::json::object()}};
  if (frames_ == 0) return out;
  out["image"] = {{"smallest", smallest_},
                  {"largest", largest_},
                  {"mean", {mean(0), mean(1), mean(2)}},
                  {"std", {deviation(0), deviation(1), deviation(2)}}};
  for (const TaskSpec& spec : kTasks) {
    const TaskStatistics& t = task(spec.id);
    if (t.frames == 0) continue;
    nlohmann::json j{{"frames", t.frames},
                     {"labelled", static_cast<double>(t.labelled) / static_cast<double>(t.pixels)}};
    if (spec.label == LabelKind::kBinary) {
      j["positive"] = static_cast<double>(t.positive) / static_cast<double>(std::max<std::int64_t>(t.labelled, 1));
    }
    if (spec.label == LabelKind::kClassIndex) {
      j["classes"] = nlohmann::json::array();
      const auto& names = info_.classes[static_cast<std::size_t>(spec.id)];
      for (std::size_t c = 0; c < t.classes.size(); ++c) {
        j["classes"].push_back({{"name", c < names.size() ? names[c] : std::to_string(c)},
                                {"pixels", t.classes[c].pixels},
                                {"frames", t.classes[c].frames}});
      }
    }
    if (spec.label == LabelKind::kDepth) {
      j["metres"] = {{"min", number(depth_min())},
                     {"p5", number(depth_quantile(0.05))},
                     {"median", number(depth_quantile(0.5))},
                     {"p95", number(depth_quantile(0.95))},
                     {"max", number(depth_max())}};
    }
    out["tasks"][std::string(spec.name)] = j;
  }
  return out;
}

}  // namespace m3vit
