#include "eval/metric.h"

#include <array>

#include "core/error.h"
#include "eval/metrics/metrics.h"

namespace m3vit {

std::unique_ptr<Metric> make_metric(TaskId task, int classes, const EvalConfig& config) {
  switch (task) {
    case TaskId::kSemseg:
      return make_segmentation_metric(classes, /*skip_background=*/false);
    case TaskId::kHumanParts:
      return make_segmentation_metric(classes, /*skip_background=*/true);
    case TaskId::kDepth:
      return make_depth_metric();
    case TaskId::kNormals:
      return make_normals_metric();
    case TaskId::kEdge:
      return make_edge_metric(config);
    case TaskId::kSal:
      return make_saliency_metric();
  }
  throw Error({.where = "eval", .field = "task", .wanted = task_names()});
}

Better metric_direction(std::string_view name) {
  constexpr std::array<std::string_view, 6> kErrors{"rmse", "log_rmse", "abs_rel", "sq_rel", "mean", "median"};
  for (const std::string_view error : kErrors) {
    if (name == error) return Better::kLower;
  }
  return Better::kHigher;
}

bool check_frame(const char* metric, std::span<const float> raw, int channels, int wanted_channels,
                 const ImageF32& label, int min_label_channels) {
  if (label.empty()) return false;
  if (channels != wanted_channels) {
    throw Error({.where = metric,
                 .field = "prediction channels",
                 .wanted = std::to_string(wanted_channels),
                 .found = std::to_string(channels)});
  }
  if (label.channels < min_label_channels) {
    throw Error({.where = metric,
                 .field = "label channels",
                 .wanted = std::to_string(min_label_channels),
                 .found = std::to_string(label.channels)});
  }
  const std::size_t wanted = static_cast<std::size_t>(channels) * static_cast<std::size_t>(label.height) *
                             static_cast<std::size_t>(label.width);
  if (raw.size() != wanted) {
    throw Error({.where = metric,
                 .field = "prediction size",
                 .wanted = std::to_string(wanted) + " values [C, H, W] at the label's size",
                 .found = std::to_string(raw.size())});
  }
  return true;
}

}  // namespace m3vit
