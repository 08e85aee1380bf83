#pragma once
#include "core/bitmap.h"

namespace m3vit {

/// Morphological thinning to convergence: parallel, two sub-iterations (Guo and Hall 1989, algorithm A1), the same
/// conditions as MATLAB's bwmorph(…, 'thin', Inf) and scikit-image's `thin`. Pixels outside the image are 0.
void thin(Bitmap& image);

}  // namespace m3vit
