#pragma once
/// A frame with labels of all six tasks, filled from a seed: no scene, only values that the contract allows.
#include <cmath>

#include "core/rng.h"
#include "data/sample.h"

namespace m3vit {

inline constexpr int kRandomClasses = 5;

inline Sample random_sample(std::uint64_t seed, int height, int width, int annotators = 1) {
  Rng rng{seed};
  Sample s;
  s.id = "frame" + std::to_string(seed);
  s.image = ImageU8(height, width, 3);
  for (auto& v : s.image.data) v = static_cast<std::uint8_t>(rng.below(256));
  for (const TaskSpec& t : kTasks) {
    ImageF32& map = s.label(t.id);
    map = ImageF32(height, width, t.id == TaskId::kEdge ? annotators : t.label_channels);
    for (float& v : map.data) {
      switch (t.label) {
        case LabelKind::kClassIndex:
          v = rng.coin(0.1) ? kIgnore : static_cast<float>(rng.below(kRandomClasses));
          break;
        case LabelKind::kDepth:
          v = rng.coin(0.1) ? 0.0F : static_cast<float>(rng.uniform(0.3, 20));
          break;
        case LabelKind::kBinary:
          v = static_cast<float>(rng.below(2));
          break;
        case LabelKind::kNormals:
          v = static_cast<float>(rng.normal());
          break;
      }
    }
  }
  ImageF32& normals = s.label(TaskId::kNormals);
  for (std::size_t i = 0; i < normals.data.size(); i += 3) {
    float* n = &normals.data[i];
    n[2] = std::abs(n[2]);
    const float norm = rng.coin(0.1) ? INFINITY : std::hypot(n[0], n[1], n[2]);
    for (int c = 0; c < 3; ++c) n[c] /= norm;
  }
  return s;
}

}  // namespace m3vit
