#pragma once
/// Geometric and photometric transforms of a frame with its labels (model.md "Augmentation"; protocol S of the
/// survey). Flip mirrors normals' x; rotation turns their xy; scale s divides depth by s. Regions without image get
/// each label's "unknown" value.
#include "core/config.h"
#include "core/rng.h"
#include "data/sample.h"

namespace m3vit {

void flip_horizontal(Sample& sample);
/// One affine about the centre: counter-clockwise `degrees`, zoom `scale` > 0; output keeps the size. Image cubic
/// (clipped, not wrapped as in the authors' code), labels nearest, normals cubic then renormalised (unknown ones count
/// for nothing). What lies outside the old picture: ImageNet's mean colour, unknown labels.
/// The result is exact for a camera of `scale` times the focal length; with `divide_depth` the world is `scale` times
/// smaller as well, so that a thing as large in the picture as a near one is near. Normals do not depend on either.
/// `normals_y_down`: their y points down (DatasetInfo::normals_y_down).
void rotate_scale(Sample& sample, double degrees, double scale, bool divide_depth, bool normals_y_down = false);
/// To [height, width], aspect not kept; the same interpolations (the image by resize_rgb when `antialias`). Nearest
/// means the source pixel under the new pixel's centre, so labels stay aligned with the image.
void resize(Sample& sample, int height, int width, bool antialias);
/// Draws and applies the configured augmentation: flip, one rotate_scale, brightness (clipped). Always four draws.
void augment(Sample& sample, const AugmentConfig& config, Rng& rng, bool normals_y_down = false);

}  // namespace m3vit
