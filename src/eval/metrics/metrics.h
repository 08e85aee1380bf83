#pragma once
/// The concrete metrics behind make_metric, and what they share.
#include <cmath>
#include <memory>
#include <span>
#include <string>

#include "eval/metric.h"

namespace m3vit {

/// Macro IoU over `classes`; `skip_background`: frames whose label is 0 throughout do not count (human_parts).
std::unique_ptr<Metric> make_segmentation_metric(int classes, bool skip_background, Protocol protocol);
std::unique_ptr<Metric> make_depth_metric(const EvalConfig& config, Protocol protocol);
std::unique_ptr<Metric> make_normals_metric(const EvalConfig& config, Protocol protocol);
std::unique_ptr<Metric> make_saliency_metric(const EvalConfig& config);
std::unique_ptr<Metric> make_edge_metric(const EvalConfig& config);

/// True when the frame has a label to score; throws Error when `raw` is not [channels, H, W] of the label's size or
/// `channels` differs from `wanted_channels`.
bool check_frame(const char* metric, std::span<const float> raw, int channels, int wanted_channels,
                 const ImageF32& label, int min_label_channels);

/// The same for a finished prediction of `channels`.
bool check_finished(const char* metric, const ImageF32& prediction, int channels, const ImageF32& label);

/// The class with the largest of raw[c·pixels + pixel]; the lower class on a tie.
std::size_t best_class(std::span<const float> raw, std::size_t classes, std::size_t pixels, std::size_t pixel);

inline double sigmoid(float logit) { return 1.0 / (1.0 + std::exp(-static_cast<double>(logit))); }

/// Probability as published scripts store it: an 8-bit PNG of sigmoid·255, truncated. NaN becomes 0.
inline int stored_level(double p) { return p > 0 ? static_cast<int>(p * 255.0) : 0; }
inline int sigmoid_level(float logit) { return stored_level(sigmoid(logit)); }

}  // namespace m3vit
