#include "eval/native_prediction.h"

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "core/error.h"
#include "core/tasks.h"
#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

ImageF32 activated(TaskId task, std::span<const float> raw, int channels, int height, int width) {
  const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  const LabelKind kind = task_spec(task).label;
  ImageF32 map(height, width, kind == LabelKind::kNormals ? 3 : 1);
  for (std::size_t i = 0; i < pixels; ++i) {
    switch (kind) {
      case LabelKind::kClassIndex:
        map.data[i] = static_cast<float>(best_class(raw, static_cast<std::size_t>(channels), pixels, i));
        break;
      case LabelKind::kBinary:
        map.data[i] = static_cast<float>(sigmoid(raw[i]));
        break;
      case LabelKind::kDepth:
        map.data[i] = raw[i];
        break;
      case LabelKind::kNormals: {
        const float norm = std::hypot(raw[i], raw[pixels + i], raw[2 * pixels + i]);
        for (std::size_t c = 0; c < 3; ++c) map.data[3 * i + c] = raw[c * pixels + i] / std::max(norm, 1e-12F);
        break;
      }
    }
  }
  return map;
}

ImageF32 resized(const ImageF32& from, int height, int width, bool nearest) {
  if (from.height == height && from.width == width) return from;
  ImageF32 to(height, width, from.channels);
  const cv::Mat in(from.height, from.width, CV_32FC(from.channels), const_cast<float*>(from.data.data()));
  cv::Mat out(height, width, CV_32FC(from.channels), to.data.data());
  cv::resize(in, out, out.size(), 0, 0, nearest ? cv::INTER_NEAREST_EXACT : cv::INTER_LINEAR);
  return to;
}

ImageF32 middle(const ImageF32& from, int height, int width) {
  const int top = (from.height - height) / 2;
  const int left = (from.width - width) / 2;
  ImageF32 to(height, width, from.channels);
  for (int y = 0; y < height; ++y) {
    std::copy_n(&from.data[from.index(top + y, left)], width * from.channels, &to.data[to.index(y, 0)]);
  }
  return to;
}

}  // namespace

ImageF32 native_prediction(TaskId task, std::span<const float> raw, int channels, int in_height, int in_width,
                           int height, int width, Protocol protocol) {
  const std::size_t wanted =
      static_cast<std::size_t>(channels) * static_cast<std::size_t>(in_height) * static_cast<std::size_t>(in_width);
  const bool cut = protocol == Protocol::kAtrc;
  if (raw.size() != wanted || height < 1 || width < 1 || (cut && (height > in_height || width > in_width))) {
    throw Error({.where = "eval",
                 .field = "prediction size",
                 .wanted = std::to_string(wanted) + " values for a label of at most their size",
                 .found = std::to_string(raw.size()) + " for " + std::to_string(width) + "x" + std::to_string(height)});
  }
  const ImageF32 map = activated(task, raw, channels, in_height, in_width);
  return cut ? middle(map, height, width)
             : resized(map, height, width, task_spec(task).label == LabelKind::kClassIndex);
}

}  // namespace m3vit
