#pragma once
/// From the network's raw output to a prediction at a frame's own size, as the published scripts write it to disk.
#include <span>

#include "core/config.h"
#include "core/image.h"

namespace m3vit {

/// `raw` [channels, in_height, in_width] → [height, width, C] in the label's own terms: class index, probability of
/// edge and sal, metres, vector of normals. Activated first (argmax, sigmoid, unit length), then brought to the size:
/// protocols S and MTAN resize (class maps nearest, the rest bilinear), protocol A cuts the padding off. Throws Error
/// when sizes do not fit.
ImageF32 native_prediction(TaskId task, std::span<const float> raw, int channels, int in_height, int in_width,
                           int height, int width, Protocol protocol);

}  // namespace m3vit
