#pragma once
/// Bilinear resize to channel-first planes, `align_corners = false`, edges clamped, no antialias: what the head ends
/// with, and how a raw output is brought back to the picture's size.
#include <cstddef>
#include <span>
#include <vector>

namespace m3vit {

/// Sources of each output position along one axis.
struct ResampleAxis {
  struct Tap {
    int lower, upper;
    float fraction;  ///< weight of `upper`
  };
  int in = 0;
  std::vector<Tap> taps;
  ResampleAxis() = default;
  ResampleAxis(int in_size, int out_size);
  int out() const { return static_cast<int>(taps.size()); }
};

/// Where sample (channel, y, x) lies: data[channel · plane + (y · width + x) · pixel].
struct MapView {
  const float* data = nullptr;
  std::size_t plane = 0, pixel = 0;
};

/// One line of one channel: out[x.out()]. `line` is scratch of x.in floats.
void resample_line(const MapView& map, std::size_t channel, const ResampleAxis& y, const ResampleAxis& x, int out_y,
                   float* line, float* out);

/// Planes [channels, in_h, in_w] → lines [begin, end) of [channels, out_h, out_w], as [channels, end − begin, out_w].
std::vector<float> resize_plane_lines(std::span<const float> planes, int channels, int in_h, int in_w, int out_h,
                                      int out_w, int begin, int end);
/// All lines.
std::vector<float> resize_planes(std::span<const float> planes, int channels, int in_h, int in_w, int out_h, int out_w);

}  // namespace m3vit
