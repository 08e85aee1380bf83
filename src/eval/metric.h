#pragma once
/// Streaming metrics, one class per task kind. Each takes the network's raw output and the label of one frame at the
/// same size; they merge across workers. Definitions: docs/metrics.md (protocol S of the survey unless said).
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/image.h"

namespace m3vit {

struct MetricValue {
  std::string name;  ///< "mIoU", "rmse", "odsF", …
  double value = 0;  ///< shares in 0 … 1 (never percent), angles in degrees, depth errors in metres; NaN: nothing seen
};

class Metric {
 public:
  virtual ~Metric() = default;
  /// `raw` [C, H, W]: logits, metres, or unnormalised normals, as the head puts out. `label` as in data/sample.h, same
  /// H, W. Frames whose label is empty are skipped. Throws Error when sizes or channels do not fit.
  virtual void update(std::span<const float> raw, int channels, const ImageF32& label) = 0;
  /// The same for a prediction that is finished (eval/native_prediction.h): [H, W, C] in the label's own terms.
  virtual void score(const ImageF32& prediction, const ImageF32& label) = 0;
  virtual void merge(const Metric& other) = 0;  ///< same concrete type and options
  /// Primary metric first. NaN where nothing valid was seen.
  virtual std::vector<MetricValue> compute() const = 0;
  /// semseg, human_parts: IoU by class, NaN where a class is neither in labels nor in predictions. Others: empty.
  virtual std::vector<double> per_class() const { return {}; }
};

/// `classes` = head outputs. Throws Error for impossible options.
std::unique_ptr<Metric> make_metric(TaskId task, int classes, const EvalConfig& config,
                                    Protocol protocol = Protocol::kSurvey);

/// Direction of a metric by its name: errors and angles are better when lower, everything else when higher.
Better metric_direction(std::string_view name);

}  // namespace m3vit
