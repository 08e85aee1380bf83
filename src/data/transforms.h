#pragma once
/// Geometric and photometric transforms of a frame with its labels (model.md "Augmentation"; protocol S of the
/// survey). Flip mirrors normals' x; rotation turns their xy; scale s divides depth by s. Regions without image get
/// each label's "unknown" value.
#include "core/config.h"
#include "core/rng.h"
#include "data/sample.h"

namespace m3vit {

void flip_horizontal(Sample& sample);
/// One affine about the centre: counter-clockwise `degrees`, zoom `scale`; output keeps the size. Image cubic, labels
/// nearest, normals cubic then renormalised.
void rotate_scale(Sample& sample, double degrees, double scale, bool divide_depth);
/// To [height, width], aspect not kept; the same interpolations (the image by resize_rgb when `antialias`).
void resize(Sample& sample, int height, int width, bool antialias);
/// Draws and applies the configured augmentation.
void augment(Sample& sample, const AugmentConfig& config, Rng& rng);

}  // namespace m3vit
