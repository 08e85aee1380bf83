#pragma once
/// From visible surfaces to the photograph and the label maps.
#include "core/image.h"
#include "data/rooms_light.h"
#include "data/sample.h"

namespace m3vit::rooms {

/// The RGB picture as the scene's sensor takes it.
ImageU8 render_image(const Scene& scene, const Tracer& tracer, const Surfaces& surfaces);

/// All six label maps; `image` decides contrast, hence `sal`. Definitions: docs/rooms.md.
void make_labels(const Scene& scene, const Surfaces& surfaces, const ImageU8& image, Sample* sample);

/// 1-pixel boundaries; exposed for its test.
ImageF32 edge_map(const Scene& scene, const Surfaces& surfaces);

}  // namespace m3vit::rooms
