#pragma once
/// Transforms of the protocols that crop (docs/metrics.md): A, of ATRC and InvPT, and MTAN's.
#include "core/config.h"
#include "core/rng.h"
#include "data/sample.h"

namespace m3vit {

/// Grows the frame to at least [height, width], itself in the middle (the odd pixel right and below): mean colour
/// around the image, "unknown" around labels. A larger side stays.
void pad_centred(Sample& sample, int height, int width);

/// Protocol A's training: zoom by U(scale[0], scale[1]) (image bilinear, labels nearest, depth divided by it when
/// divide_depth), a window of [height, width] such that no class has 3/4 of its labelled pixels (10 tries, where there
/// is semseg), flip, photometric distortion, centred padding.
void augment_atrc(Sample& sample, const AugmentConfig& config, int height, int width, Rng& rng);

/// MTAN's training: a window of 1/s of each side, s one of `scales` (none: 1), stretched to the old size (image
/// bilinear with aligned corners, labels nearest, normals bilinear and renormalised, depth divided by s when
/// divide_depth), flip.
void augment_mtan(Sample& sample, const AugmentConfig& config, Rng& rng);

/// Brightness ±32, contrast and saturation × 0.5 … 1.5, hue ±18 of 180, each half of the time, contrast before or after
/// the colours; 8-bit steps as in the published code.
void distort_colours(ImageU8& image, Rng& rng);

/// What the published loaders do last: human_parts without any part are unlabelled throughout. Under protocol A pixels
/// that are unlabelled already do not count as parts; under the others any keeps the map as it is.
void ignore_empty_parts(Sample& sample, Protocol protocol);

}  // namespace m3vit
