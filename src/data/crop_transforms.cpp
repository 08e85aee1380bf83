#include "data/crop_transforms.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <map>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "core/image_io.h"
#include "data/transforms.h"

namespace m3vit {
namespace {

constexpr double kMostOfOneClass = 0.75;
constexpr int kTries = 10;

struct Window {
  int top = 0, left = 0, height = 0, width = 0;
};

template <class T>
Image<T> cropped(const Image<T>& from, const Window& w) {
  Image<T> to(w.height, w.width, from.channels);
  for (int y = 0; y < w.height; ++y) {
    const auto row = from.data.begin() + static_cast<std::ptrdiff_t>(from.index(w.top + y, w.left));
    std::copy_n(row, w.width * from.channels, to.data.begin() + static_cast<std::ptrdiff_t>(to.index(y, 0)));
  }
  return to;
}

void crop(Sample& sample, const Window& w) {
  sample.image = cropped(sample.image, w);
  for (ImageF32& map : sample.labels) {
    if (!map.empty()) map = cropped(map, w);
  }
}

/// `to` [height, width] filled with `fill`, `from` placed at (top, left).
template <class T>
Image<T> placed(const Image<T>& from, int height, int width, int top, int left, const std::array<T, 3>& fill) {
  Image<T> to(height, width, from.channels);
  for (std::size_t i = 0; i < to.data.size(); ++i) {
    to.data[i] = fill[i % static_cast<std::size_t>(from.channels) % fill.size()];
  }
  for (int y = 0; y < from.height; ++y) {
    const auto row = from.data.begin() + static_cast<std::ptrdiff_t>(from.index(y, 0));
    std::copy_n(row, from.width * from.channels,
                to.data.begin() + static_cast<std::ptrdiff_t>(to.index(top + y, left)));
  }
  return to;
}

void scale_depth(Sample& sample, double by, bool divide) {
  if (!divide) return;
  for (float& d : sample.label(TaskId::kDepth).data) d /= static_cast<float>(by);
}

/// The pixel under each new pixel's centre.
ImageF32 nearest(const ImageF32& from, int height, int width) {
  ImageF32 to(height, width, from.channels);
  for (int y = 0; y < height; ++y) {
    const int from_y = static_cast<int>((y + 0.5) * from.height / height);
    for (int x = 0; x < width; ++x) {
      const int from_x = static_cast<int>((x + 0.5) * from.width / width);
      for (int c = 0; c < from.channels; ++c) to.at(y, x, c) = from.at(from_y, from_x, c);
    }
  }
  return to;
}

void zoom(Sample& sample, double by) {
  const int height = std::max(1, static_cast<int>(sample.image.height * by));
  const int width = std::max(1, static_cast<int>(sample.image.width * by));
  if (height == sample.image.height && width == sample.image.width) return;
  ImageU8 image(height, width, 3);
  const cv::Mat from(sample.image.height, sample.image.width, CV_8UC3, sample.image.data.data());
  cv::Mat to(height, width, CV_8UC3, image.data.data());
  cv::resize(from, to, to.size(), 0, 0, cv::INTER_LINEAR);
  sample.image = std::move(image);
  for (ImageF32& map : sample.labels) {
    if (!map.empty()) map = nearest(map, height, width);
  }
}

bool is_balanced(const ImageF32& classes, const Window& w) {
  std::map<float, std::int64_t> counts;
  std::int64_t all = 0;
  std::int64_t most = 0;
  for (int y = 0; y < w.height; ++y) {
    for (int x = 0; x < w.width; ++x) {
      const float v = classes.at(w.top + y, w.left + x);
      if (v == kIgnore) continue;
      most = std::max(most, ++counts[v]);
      ++all;
    }
  }
  return counts.size() > 1 && static_cast<double>(most) < kMostOfOneClass * static_cast<double>(all);
}

Window random_window(const ImageU8& image, int height, int width, Rng& rng) {
  Window w{.height = std::min(height, image.height), .width = std::min(width, image.width)};
  w.top = static_cast<int>(rng.below(static_cast<std::uint64_t>(image.height - w.height + 1)));
  w.left = static_cast<int>(rng.below(static_cast<std::uint64_t>(image.width - w.width + 1)));
  return w;
}

/// v · alpha + beta in 8 bits, cut off at both ends and truncated.
std::uint8_t adjusted(std::uint8_t v, double alpha, double beta) {
  return static_cast<std::uint8_t>(std::clamp(v * alpha + beta, 0.0, 255.0));
}

/// Bilinear with the corners of `from` on those of the result (torch's align_corners = true).
template <class T>
ImageF32 stretched(const Image<T>& from, int height, int width) {
  ImageF32 to(height, width, from.channels);
  const auto step = [](int in, int out) { return out > 1 ? static_cast<double>(in - 1) / (out - 1) : 0.0; };
  for (int y = 0; y < height; ++y) {
    const double at_y = y * step(from.height, height);
    const int y0 = std::min(static_cast<int>(at_y), from.height - 1);
    const int y1 = std::min(y0 + 1, from.height - 1);
    const auto fy = static_cast<float>(at_y - y0);
    for (int x = 0; x < width; ++x) {
      const double at_x = x * step(from.width, width);
      const int x0 = std::min(static_cast<int>(at_x), from.width - 1);
      const int x1 = std::min(x0 + 1, from.width - 1);
      const auto fx = static_cast<float>(at_x - x0);
      for (int c = 0; c < from.channels; ++c) {
        const float upper =
            static_cast<float>(from.at(y0, x0, c)) * (1 - fx) + static_cast<float>(from.at(y0, x1, c)) * fx;
        const float lower =
            static_cast<float>(from.at(y1, x0, c)) * (1 - fx) + static_cast<float>(from.at(y1, x1, c)) * fx;
        to.at(y, x, c) = upper * (1 - fy) + lower * fy;
      }
    }
  }
  return to;
}

/// torch's nearest: the index is cut off, not the pixel under the centre.
ImageF32 nearest_from_corner(const ImageF32& from, int height, int width) {
  ImageF32 to(height, width, from.channels);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < from.channels; ++c) {
        to.at(y, x, c) = from.at(static_cast<int>(std::int64_t{y} * from.height / height),
                                 static_cast<int>(std::int64_t{x} * from.width / width), c);
      }
    }
  }
  return to;
}

/// Unknown neighbours add nothing; a pixel is known when its nearest one was.
ImageF32 stretched_normals(const ImageF32& from, int height, int width) {
  ImageF32 to = stretched(from, height, width);
  const ImageF32 known = nearest_from_corner(from, height, width);
  for (std::size_t i = 0; i < to.data.size(); i += 3) {
    float* n = &to.data[i];
    const float* near = &known.data[i];
    const bool any = near[0] != 0 || near[1] != 0 || near[2] != 0;
    const float norm = std::hypot(n[0], n[1], n[2]);
    for (int c = 0; c < 3; ++c) n[c] = !any ? 0.0F : norm < 1e-3F ? near[c] : n[c] / norm;
  }
  return to;
}

}  // namespace

void pad_centred(Sample& sample, int height, int width) {
  const int to_height = std::max(height, sample.image.height);
  const int to_width = std::max(width, sample.image.width);
  if (to_height == sample.image.height && to_width == sample.image.width) return;
  const int top = (to_height - sample.image.height) / 2;
  const int left = (to_width - sample.image.width) / 2;
  std::array<std::uint8_t, 3> mean{};
  for (std::size_t c = 0; c < 3; ++c) mean[c] = static_cast<std::uint8_t>(std::lround(kImageMean[c] * 255.0F));
  sample.image = placed(sample.image, to_height, to_width, top, left, mean);
  for (const TaskSpec& t : kTasks) {
    ImageF32& map = sample.label(t.id);
    const float unknown = unknown_value(t.id);
    if (!map.empty()) map = placed(map, to_height, to_width, top, left, {unknown, unknown, unknown});
  }
}

void distort_colours(ImageU8& image, Rng& rng) {
  const auto every = [&](double alpha, double beta) {
    for (std::uint8_t& v : image.data) v = adjusted(v, alpha, beta);
  };
  const auto contrast = [&] {
    if (rng.coin(0.5)) every(rng.uniform(0.5, 1.5), 0);
  };
  if (rng.coin(0.5)) every(1, rng.uniform(-32, 32));
  const bool contrast_first = rng.coin(0.5);
  if (contrast_first) contrast();
  const bool saturate = rng.coin(0.5);
  const double saturation = saturate ? rng.uniform(0.5, 1.5) : 1;
  const bool turn = rng.coin(0.5);
  const int hue = turn ? static_cast<int>(rng.below(36)) - 18 : 0;
  if (saturate || turn) {
    cv::Mat rgb(image.height, image.width, CV_8UC3, image.data.data());
    cv::Mat hsv;
    cv::cvtColor(rgb, hsv, cv::COLOR_RGB2HSV);
    for (auto it = hsv.begin<cv::Vec3b>(); it != hsv.end<cv::Vec3b>(); ++it) {
      if (turn) (*it)[0] = static_cast<std::uint8_t>(((*it)[0] + hue + 180) % 180);
      if (saturate) (*it)[1] = adjusted((*it)[1], saturation, 0);
    }
    cv::cvtColor(hsv, rgb, cv::COLOR_HSV2RGB);
  }
  if (!contrast_first) contrast();
}

void augment_atrc(Sample& sample, const AugmentConfig& config, int height, int width, Rng& rng) {
  assert(config.scale.size() == 2);
  const double by = rng.uniform(config.scale[0], config.scale[1]);
  zoom(sample, by);
  scale_depth(sample, by, config.divide_depth);
  Window window = random_window(sample.image, height, width, rng);
  const ImageF32& classes = sample.label(TaskId::kSemseg);
  for (int i = 0; i < kTries && !classes.empty() && !is_balanced(classes, window); ++i) {
    window = random_window(sample.image, height, width, rng);
  }
  crop(sample, window);
  if (rng.coin(config.flip)) flip_horizontal(sample);
  distort_colours(sample.image, rng);
  pad_centred(sample, height, width);
}

void augment_mtan(Sample& sample, const AugmentConfig& config, Rng& rng) {
  const double by = config.scales.empty() ? 1.0 : config.scales[rng.below(config.scales.size())];
  const int height = sample.image.height;
  const int width = sample.image.width;
  const int crop_height = std::max(1, static_cast<int>(height / by));
  const int crop_width = std::max(1, static_cast<int>(width / by));
  const Window window = random_window(sample.image, crop_height, crop_width, rng);
  if (window.height != height || window.width != width) {
    crop(sample, window);
    const ImageF32 image = stretched(sample.image, height, width);
    sample.image = ImageU8(height, width, 3);
    std::transform(image.data.begin(), image.data.end(), sample.image.data.begin(),
                   [](float v) { return static_cast<std::uint8_t>(std::lround(v)); });
    for (const TaskSpec& t : kTasks) {
      ImageF32& map = sample.label(t.id);
      if (map.empty()) continue;
      map = t.label == LabelKind::kNormals ? stretched_normals(map, height, width)
                                           : nearest_from_corner(map, height, width);
    }
  }
  scale_depth(sample, by, config.divide_depth);
  if (rng.coin(config.flip)) flip_horizontal(sample);
}

void ignore_empty_parts(Sample& sample, Protocol protocol) {
  std::vector<float>& parts = sample.label(TaskId::kHumanParts).data;
  const bool empty = std::all_of(parts.begin(), parts.end(),
                                 [&](float v) { return v == 0 || (protocol == Protocol::kAtrc && v == kIgnore); });
  if (empty) std::fill(parts.begin(), parts.end(), kIgnore);
}

}  // namespace m3vit
