#include "eval/metric.h"

#include <array>

#include "core/error.h"
#include "eval/metrics/metrics.h"

namespace m3vit {

std::unique_ptr<Metric> make_metric(TaskId task, int classes, const EvalConfig& config, Protocol protocol) {
  switch (task) {
    case TaskId::kSemseg:
      return make_segmentation_metric(classes, /*skip_background=*/false, protocol);
    case TaskId::kHumanParts:
      return make_segmentation_metric(classes, /*skip_background=*/true, protocol);
    case TaskId::kDepth:
      return make_depth_metric(config, protocol);
    case TaskId::kNormals:
      return make_normals_metric(config, protocol);
    case TaskId::kEdge:
      return make_edge_metric(config);
    case TaskId::kSal:
      return make_saliency_metric(config);
  }
  throw Error({.where = "eval", .field = "task", .wanted = task_names()});
}

Better metric_direction(std::string_view name) {
  constexpr std::array<std::string_view, 9> kErrors{"rmse",   "log_rmse",   "abs_rel", "sq_rel", "mean",
                                                    "median", "rmse_astmt", "abs_err", "rel_err"};
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

bool check_finished(const char* metric, const ImageF32& prediction, int channels, const ImageF32& label) {
  if (label.empty()) return false;
  if (prediction.height != label.height || prediction.width != label.width || prediction.channels != channels ||
      label.channels < channels) {
    const auto text = [](const ImageF32& m) {
      return std::to_string(m.height) + " × " + std::to_string(m.width) + " × " + std::to_string(m.channels);
    };
    throw Error({.where = metric, .field = "prediction size", .wanted = text(label), .found = text(prediction)});
  }
  return true;
}

std::size_t best_class(std::span<const float> raw, std::size_t classes, std::size_t pixels, std::size_t pixel) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < classes; ++c) {
    if (raw[c * pixels + pixel] > raw[best * pixels + pixel]) best = c;
  }
  return best;
}

}  // namespace m3vit
