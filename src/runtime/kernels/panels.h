#pragma once
/// Packing a weight matrix into the panels of kernels.h, in any precision.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/kernels/kernels.h"

namespace m3vit {

/// Where a packed matrix goes. `scale` and `sums` are for int8 only.
struct PackedMatrix {
  void* panels = nullptr;        ///< packed_bytes(segment_k, n, precision, segments)
  float* scale = nullptr;        ///< padded_columns(n)
  std::int32_t* sums = nullptr;  ///< [segments][padded_columns(n)]
};

/// Packs value(k, n), k over segments · segment_k and n over columns, each asked for once (int8: twice) column by
/// column. int8: scale[n] = max_k |value| / 127, q rounded to nearest even; a column of zeros, or one whose scale is
/// not finite, has q = 0.
template <class F>
void pack_panels(Precision precision, std::size_t segments, std::size_t segment_k, std::size_t n, const F& value,
                 const PackedMatrix& to) {
  const std::size_t group = group_of(precision);
  const std::size_t lines = groups(segment_k, precision);
  const std::size_t columns = padded_columns(n);
  auto* const panels_of_w = static_cast<std::byte*>(to.panels);
  std::memset(panels_of_w, 0, packed_bytes(segment_k, n, precision, segments));
  if (precision == Precision::kInt8) {
    std::fill_n(to.scale, columns, 0.0F);
    std::fill_n(to.sums, segments * columns, 0);
  }
  for (std::size_t j = 0; j < n; ++j) {
    float scale = 0.0F;
    if (precision == Precision::kInt8) {
      for (std::size_t i = 0; i < segments * segment_k; ++i) scale = std::max(scale, std::abs(value(i, j)));
      scale /= 127.0F;
      to.scale[j] = scale;
    }
    for (std::size_t i = 0; i < segments * segment_k; ++i) {
      const std::size_t segment = i / segment_k;
      const std::size_t within = i % segment_k;
      const std::size_t line = ((j / kPanel) * segments + segment) * lines + within / group;
      std::byte* at =
          panels_of_w + line * kPanelLine + ((j % kPanel) * group + within % group) * element_bytes(precision);
      const float v = value(i, j);
      if (precision == Precision::kF32) {
        std::memcpy(at, &v, sizeof(v));
      } else if (precision == Precision::kBf16) {
        const std::uint16_t bits = to_bf16(v);
        std::memcpy(at, &bits, sizeof(bits));
      } else if (scale > 0.0F && std::isfinite(scale)) {
        const auto q = static_cast<std::int32_t>(std::clamp(std::nearbyint(v / scale), -127.0F, 127.0F));
        *at = static_cast<std::byte>(q);
        to.sums[segment * columns + j] += q;
      }
    }
  }
}

}  // namespace m3vit
