#include "core/label_outline.h"

namespace m3vit {

Bitmap label_outline(const Image<std::int32_t>& labels) {
  assert(labels.channels == 1);
  Bitmap border(labels.height, labels.width);
  for (int y = 0; y < labels.height; ++y) {
    for (int x = 0; x < labels.width; ++x) {
      const std::int32_t here = labels.at(y, x);
      const bool right = x + 1 < labels.width;
      const bool below = y + 1 < labels.height;
      if ((right && labels.at(y, x + 1) != here) || (below && labels.at(y + 1, x) != here) ||
          (right && below && labels.at(y + 1, x + 1) != here)) {
        border.set(y, x);
      }
    }
  }
  return border;
}

}  // namespace m3vit
