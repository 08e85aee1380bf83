/// Colours and saved values of every task's output.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "data/dataset.h"
#include "data/sample.h"
#include "eval/contact_sheet.h"
#include "eval/metrics/metrics.h"

namespace m3vit {
namespace {

using Rgb = std::array<std::uint8_t, 3>;

std::size_t pixel_count(int height, int width) {
  return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
}

std::size_t index_of(int y, int x, int width) { return pixel_count(y, width) + static_cast<std::size_t>(x); }

std::uint8_t byte_of(double value) { return static_cast<std::uint8_t>(std::clamp(std::lround(value), 0L, 255L)); }

Rgb hatch(int y, int x) {
  const std::uint8_t grey = (x + y) % 8 < 2 ? 96 : 64;
  return {grey, grey, grey};
}

/// Linear in depth; near is bright. Unknown pixels (not positive, not finite) are hatched when `hatch_unknown`.
ImageU8 color_depth(std::span<const float> metres, int height, int width, const ColorOptions& options,
                    bool hatch_unknown) {
  float low = options.depth_min;
  float high = options.depth_max;
  if (low == high) {
    std::vector<float> known;
    std::copy_if(metres.begin(), metres.end(), std::back_inserter(known),
                 [](float d) { return d > 0 && std::isfinite(d); });
    const auto percentile = [&](double share) {
      if (known.empty()) return 0.0F;
      const auto k = static_cast<std::ptrdiff_t>(share * static_cast<double>(known.size() - 1));
      std::nth_element(known.begin(), known.begin() + k, known.end());
      return known[static_cast<std::size_t>(k)];
    };
    low = percentile(0.02);
    high = percentile(0.98);
  }
  cv::Mat grey(height, width, CV_8U);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const float d = metres[index_of(y, x, width)];
      const double near = high > low && std::isfinite(d) ? (high - d) / (high - low) : 0.5;
      grey.at<std::uint8_t>(y, x) = byte_of(near * 255);
    }
  }
  cv::Mat bgr;
  cv::applyColorMap(grey, bgr, cv::COLORMAP_INFERNO);
  ImageU8 out(height, width, 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const float d = metres[index_of(y, x, width)];
      const auto& c = bgr.at<cv::Vec3b>(y, x);
      Rgb rgb{c[2], c[1], c[0]};
      if (hatch_unknown && !(d > 0 && std::isfinite(d))) rgb = hatch(y, x);
      std::copy(rgb.begin(), rgb.end(), &out.at(y, x));
    }
  }
  return out;
}

std::array<double, 3> unit(double x, double y, double z) {
  const double norm = std::sqrt(x * x + y * y + z * z);
  if (!(norm > 0)) return {0, 0, 0};
  return {x / norm, y / norm, z / norm};
}

std::array<double, 3> predicted_normal(std::span<const float> raw, std::size_t pixels, std::size_t i) {
  return unit(raw[i], raw[pixels + i], raw[2 * pixels + i]);
}

std::size_t argmax(std::span<const float> raw, std::size_t channels, std::size_t pixels, std::size_t i) {
  std::size_t best = 0;
  for (std::size_t c = 1; c < channels; ++c) {
    if (raw[c * pixels + i] > raw[best * pixels + i]) best = c;
  }
  return best;
}

}  // namespace

ImageU8 color_prediction(TaskId task, std::span<const float> raw, int channels, int height, int width,
                         const ColorOptions& options) {
  const std::size_t pixels = pixel_count(height, width);
  assert(raw.size() == pixels * static_cast<std::size_t>(channels));
  const LabelKind kind = task_spec(task).label;
  if (kind == LabelKind::kDepth) return color_depth(raw, height, width, options, false);
  const std::vector<Rgb> palette = options.palette.empty() ? default_palette() : options.palette;
  ImageU8 out(height, width, 3);
  for (std::size_t i = 0; i < pixels; ++i) {
    Rgb rgb{};
    if (kind == LabelKind::kClassIndex) {
      rgb = palette[argmax(raw, static_cast<std::size_t>(channels), pixels, i) % palette.size()];
    } else if (kind == LabelKind::kNormals) {
      const auto n = predicted_normal(raw, pixels, i);
      for (std::size_t c = 0; c < 3; ++c) rgb[c] = byte_of((n[c] + 1) * 127.5);
    } else {
      rgb.fill(byte_of(sigmoid(raw[i]) * 255));
    }
    std::copy(rgb.begin(), rgb.end(), &out.data[i * 3]);
  }
  return out;
}

ImageU8 color_label(TaskId task, const ImageF32& label, const ColorOptions& options) {
  const LabelKind kind = task_spec(task).label;
  if (kind == LabelKind::kDepth) return color_depth(label.data, label.height, label.width, options, true);
  const std::vector<Rgb> palette = options.palette.empty() ? default_palette() : options.palette;
  ImageU8 out(label.height, label.width, 3);
  for (int y = 0; y < label.height; ++y) {
    for (int x = 0; x < label.width; ++x) {
      Rgb rgb = hatch(y, x);
      if (kind == LabelKind::kNormals) {
        const auto n = unit(label.at(y, x, 0), label.at(y, x, 1), label.at(y, x, 2));
        if (n != std::array<double, 3>{0, 0, 0}) {
          for (std::size_t c = 0; c < 3; ++c) rgb[c] = byte_of((n[c] + 1) * 127.5);
        }
      } else if (kind == LabelKind::kClassIndex) {
        const float value = label.at(y, x);
        if (value != kIgnore && value >= 0) rgb = palette[static_cast<std::size_t>(value) % palette.size()];
      } else {
        for (int c = 0; c < label.channels; ++c) {
          const float value = label.at(y, x, c);
          if (value == kIgnore) continue;
          if (value > 0.5F) {
            rgb.fill(255);
            break;
          }
          rgb.fill(0);
        }
      }
      std::copy(rgb.begin(), rgb.end(), &out.at(y, x));
    }
  }
  return out;
}

SavedMap prediction_map(TaskId task, std::span<const float> raw, int channels, int height, int width) {
  const std::size_t pixels = pixel_count(height, width);
  assert(raw.size() == pixels * static_cast<std::size_t>(channels));
  SavedMap map;
  switch (task_spec(task).label) {
    case LabelKind::kClassIndex:
      map.u8 = ImageU8(height, width, 1);
      for (std::size_t i = 0; i < pixels; ++i) {
        map.u8.data[i] = static_cast<std::uint8_t>(argmax(raw, static_cast<std::size_t>(channels), pixels, i));
      }
      break;
    case LabelKind::kDepth:
      map.u16 = ImageU16(height, width, 1);
      for (std::size_t i = 0; i < pixels; ++i) {
        // 0 means unknown in the format, so that the nearest prediction is 1 mm.
        const double millimetres = std::isfinite(raw[i]) ? static_cast<double>(raw[i]) * 1000 : 0;
        map.u16.data[i] = static_cast<std::uint16_t>(std::lround(std::clamp(millimetres, 1.0, 65535.0)));
      }
      break;
    case LabelKind::kNormals:
      map.u16 = ImageU16(height, width, 3);
      for (std::size_t i = 0; i < pixels; ++i) {
        const auto n = predicted_normal(raw, pixels, i);
        for (std::size_t c = 0; c < 3; ++c) {
          map.u16.data[i * 3 + c] = static_cast<std::uint16_t>(std::lround((n[c] + 1) / 2 * 65535));
        }
      }
      break;
    case LabelKind::kBinary:
      map.u8 = ImageU8(height, width, 1);
      for (std::size_t i = 0; i < pixels; ++i) map.u8.data[i] = byte_of(sigmoid(raw[i]) * 255);
      break;
  }
  return map;
}

}  // namespace m3vit
