#pragma once
/// What an odsF must be reported with: reader, thresholds, image set, maxDist (docs/metrics.md).
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "core/config.h"

namespace m3vit {

struct EdgeOptions {
  bool nms = false;               ///< reader: ridges of the prediction only, passing t when > t; else all, when ≥ t
  bool outline = false;           ///< truth: the outline of the label's lines, as bdet has it for NYUD
  std::vector<float> thresholds;  ///< ascending
  std::string_view threshold_rule;
  double max_dist = 0.0075;    ///< share of the image diagonal
  std::string_view image_set;  ///< the published one; "" where the configuration's split decides
};

/// Of eval.edge_setting, or of the single keys where it is custom. Throws Error for impossible keys.
EdgeOptions edge_options(const EvalConfig& config);

/// {"setting", "reader", "thresholds", "count", "max_dist", "truth", "image_set"}.
nlohmann::json edge_options_json(const EvalConfig& config);

}  // namespace m3vit
