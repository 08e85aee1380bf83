#include "runtime/resample.h"

#include <algorithm>
#include <cassert>

namespace m3vit {

ResampleAxis::ResampleAxis(int in_size, int out_size) : in(in_size) {
  taps.reserve(static_cast<std::size_t>(out_size));
  for (int i = 0; i < out_size; ++i) {
    const double at = std::max((i + 0.5) * in_size / out_size - 0.5, 0.0);
    const int lower = std::min(static_cast<int>(at), in_size - 1);
    taps.push_back({lower, std::min(lower + 1, in_size - 1), static_cast<float>(at - lower)});
  }
}

void resample_line(const MapView& map, std::size_t channel, const ResampleAxis& y, const ResampleAxis& x, int out_y,
                   float* line, float* out) {
  const ResampleAxis::Tap v = y.taps[static_cast<std::size_t>(out_y)];
  const auto width = static_cast<std::size_t>(x.in);
  const float* upper = map.data + channel * map.plane + static_cast<std::size_t>(v.lower) * width * map.pixel;
  const float* lower = map.data + channel * map.plane + static_cast<std::size_t>(v.upper) * width * map.pixel;
  const float a = 1 - v.fraction;
  for (std::size_t i = 0; i < width; ++i) line[i] = a * upper[i * map.pixel] + v.fraction * lower[i * map.pixel];
  for (const ResampleAxis::Tap& u : x.taps) *out++ = (1 - u.fraction) * line[u.lower] + u.fraction * line[u.upper];
}

std::vector<float> resize_plane_lines(std::span<const float> planes, int channels, int in_h, int in_w, int out_h,
                                      int out_w, int begin, int end) {
  assert(planes.size() ==
         static_cast<std::size_t>(channels) * static_cast<std::size_t>(in_h) * static_cast<std::size_t>(in_w));
  assert(0 <= begin && begin <= end && end <= out_h);
  const ResampleAxis y(in_h, out_h);
  const ResampleAxis x(in_w, out_w);
  const MapView map{planes.data(), static_cast<std::size_t>(in_h) * static_cast<std::size_t>(in_w), 1};
  std::vector<float> line(static_cast<std::size_t>(in_w));
  std::vector<float> out(static_cast<std::size_t>(channels) * static_cast<std::size_t>(end - begin) *
                         static_cast<std::size_t>(out_w));
  float* at = out.data();
  for (int c = 0; c < channels; ++c) {
    for (int i = begin; i < end; ++i, at += out_w) {
      resample_line(map, static_cast<std::size_t>(c), y, x, i, line.data(), at);
    }
  }
  return out;
}

std::vector<float> resize_planes(std::span<const float> planes, int channels, int in_h, int in_w, int out_h,
                                 int out_w) {
  return resize_plane_lines(planes, channels, in_h, in_w, out_h, out_w, 0, out_h);
}

}  // namespace m3vit
