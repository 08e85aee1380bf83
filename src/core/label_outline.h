#pragma once
/// Region borders of a label map: what boundary benchmarks score where the ground truth is a segmentation.
#include <cstdint>

#include "core/bitmap.h"
#include "core/image.h"

namespace m3vit {

/// BSDS's seg2bmap at equal size: a pixel is border when it differs from its right, lower or lower-right neighbour; in
/// the last row only the right one counts, in the last column only the lower one, and the corner is never border.
/// `labels` has one channel.
Bitmap label_outline(const Image<std::int32_t>& labels);

}  // namespace m3vit
