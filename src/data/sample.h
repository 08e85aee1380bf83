#pragma once
/// One frame with its labels, and a batch of them: plain arrays, no library types.
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/image.h"
#include "core/tasks.h"

namespace m3vit {

inline constexpr float kIgnore = 255.0F;  ///< "unlabelled" in semseg, human_parts, edge, sal

/// Label maps are float [H, W, C]; an empty map means that the frame has no label for the task.
/// semseg, human_parts: class index, 255 unlabelled. depth: metres along the optical axis, 0 unknown.
/// normals: unit vector in the camera frame (x right, y up, z to the viewer), (0,0,0) unknown.
/// edge: 0 | 1 | 255, one channel per annotator. sal: 0 | 1 | 255.
struct Sample {
  std::string id;
  ImageU8 image;  ///< RGB
  std::array<ImageF32, kNumTaskIds> labels;

  ImageF32& label(TaskId t) { return labels[static_cast<std::size_t>(t)]; }
  const ImageF32& label(TaskId t) const { return labels[static_cast<std::size_t>(t)]; }
};

/// All samples at one size. `images` [B, 3, H, W] normalised (core/image_io.h). `labels[t]` [B, C, H, W] with
/// C = label_channels(t) of core/tasks.h (edge: any annotator); a sample without the label holds the "unknown" value.
/// Empty where the data set lacks the task.
struct Batch {
  int size = 0, height = 0, width = 0;
  std::vector<std::string> ids;
  std::vector<float> images;
  std::array<std::vector<float>, kNumTaskIds> labels;
  std::vector<Sample> samples;  ///< kept only when LoaderOptions::keep_samples (evaluation): resized, not normalised
};

/// The value that means "no label here": 255, or 0 for depth and normals.
constexpr float unknown_value(TaskId t) { return t == TaskId::kDepth || t == TaskId::kNormals ? 0.0F : kIgnore; }

}  // namespace m3vit
