#include "data/transforms.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "core/image_io.h"

namespace m3vit {
namespace {

cv::Mat as_mat(const ImageU8& image) {
  return {image.height, image.width, CV_8UC(image.channels), const_cast<std::uint8_t*>(image.data.data())};
}

cv::Mat as_mat(const ImageF32& map) {
  return {map.height, map.width, CV_32FC(map.channels), const_cast<float*>(map.data.data())};
}

cv::Scalar mean_colour() { return {kImageMean[0] * 255.0, kImageMean[1] * 255.0, kImageMean[2] * 255.0}; }

float length(const float* n) { return std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]); }

/// Unknown normals are zero vectors: they add nothing to the cubic sum, so what is left after renormalising is the
/// mean direction of the valid neighbours alone. Whether a pixel is known is decided by its nearest source pixel.
void renormalise(ImageF32& cubic, const ImageF32& nearest) {
  constexpr float kTooShort = 1e-3F;  // the neighbours cancel out: keep the nearest one
  for (std::size_t i = 0; i < cubic.data.size(); i += 3) {
    float* n = &cubic.data[i];
    const float* near = &nearest.data[i];
    const bool known = near[0] != 0 || near[1] != 0 || near[2] != 0;
    const float norm = length(n);
    for (int c = 0; c < 3; ++c) n[c] = !known ? 0.0F : norm < kTooShort ? near[c] : n[c] / norm;
  }
}

/// `apply(from, to, cubic, fill)` resamples one map; the two label interpolations of protocol S on top of it.
template <class Apply>
void resample_labels(Sample& sample, int height, int width, const Apply& apply) {
  for (const TaskSpec& task : kTasks) {
    ImageF32& map = sample.label(task.id);
    if (map.empty()) continue;
    assert(task.label != LabelKind::kNormals || map.channels == 3);
    const float unknown = unknown_value(task.id);
    ImageF32 nearest(height, width, map.channels, unknown);
    apply(as_mat(map), as_mat(nearest), /*cubic=*/false, cv::Scalar::all(unknown));
    if (task.label == LabelKind::kNormals) {
      ImageF32 cubic(height, width, map.channels);
      apply(as_mat(map), as_mat(cubic), /*cubic=*/true, cv::Scalar::all(0));
      renormalise(cubic, nearest);
      map = std::move(cubic);
    } else {
      map = std::move(nearest);
    }
  }
}

template <class T>
void mirror_rows(Image<T>& image) {
  const auto channels = static_cast<std::size_t>(image.channels);
  for (int y = 0; y < image.height; ++y) {
    for (int left = 0, right = image.width - 1; left < right; ++left, --right) {
      std::swap_ranges(&image.data[image.index(y, left)], &image.data[image.index(y, left)] + channels,
                       &image.data[image.index(y, right)]);
    }
  }
}

void scale_brightness(ImageU8& image, double factor) {
  for (std::uint8_t& v : image.data) v = static_cast<std::uint8_t>(std::clamp(std::lround(v * factor), 0L, 255L));
}

}  // namespace

void flip_horizontal(Sample& sample) {
  mirror_rows(sample.image);
  for (ImageF32& map : sample.labels) mirror_rows(map);
  ImageF32& normals = sample.label(TaskId::kNormals);
  for (std::size_t i = 0; i < normals.data.size(); i += 3) normals.data[i] = 0.0F - normals.data[i];  // no −0
}

void rotate_scale(Sample& sample, double degrees, double scale, bool divide_depth, bool normals_y_down) {
  assert(scale > 0);
  if (degrees == 0 && scale == 1) return;
  const int height = sample.image.height;
  const int width = sample.image.width;
  // Pixel centres lie at integers, so the middle of the picture is (W−1)/2. OpenCV: a positive angle turns the picture
  // counter-clockwise as seen.
  const cv::Point2f centre(static_cast<float>(width - 1) / 2, static_cast<float>(height - 1) / 2);
  const cv::Mat affine = cv::getRotationMatrix2D(centre, degrees, scale);

  ImageU8 turned(height, width, sample.image.channels);
  cv::Mat turned_mat = as_mat(turned);
  cv::warpAffine(as_mat(sample.image), turned_mat, affine, turned_mat.size(), cv::INTER_CUBIC, cv::BORDER_CONSTANT,
                 mean_colour());
  sample.image = std::move(turned);
  resample_labels(sample, height, width, [&](const cv::Mat& from, cv::Mat to, bool cubic, const cv::Scalar& fill) {
    cv::warpAffine(from, to, affine, to.size(), cubic ? cv::INTER_CUBIC : cv::INTER_NEAREST, cv::BORDER_CONSTANT, fill);
  });

  // x right and y up: the camera frame is right-handed as seen, so a counter-clockwise turn has the usual matrix.
  const double angle = (normals_y_down ? -degrees : degrees) * CV_PI / 180;
  const auto c = static_cast<float>(std::cos(angle));
  const auto s = static_cast<float>(std::sin(angle));
  ImageF32& normals = sample.label(TaskId::kNormals);
  for (std::size_t i = 0; i < normals.data.size(); i += 3) {
    const float x = normals.data[i];
    const float y = normals.data[i + 1];
    normals.data[i] = c * x - s * y;
    normals.data[i + 1] = s * x + c * y;
  }
  if (divide_depth) {
    for (float& d : sample.label(TaskId::kDepth).data) d /= static_cast<float>(scale);
  }
}

void resize(Sample& sample, int height, int width, bool antialias) {
  assert(height > 0 && width > 0);
  if (sample.image.height == height && sample.image.width == width) return;
  if (antialias) {
    sample.image = resize_rgb(sample.image, height, width);
  } else {
    ImageU8 sized(height, width, sample.image.channels);
    cv::Mat to = as_mat(sized);
    cv::resize(as_mat(sample.image), to, to.size(), 0, 0, cv::INTER_CUBIC);
    sample.image = std::move(sized);
  }
  resample_labels(sample, height, width, [](const cv::Mat& from, cv::Mat to, bool cubic, const cv::Scalar&) {
    // INTER_NEAREST would take the pixel up-left of the centre and shift the labels against the image.
    cv::resize(from, to, to.size(), 0, 0, cubic ? cv::INTER_CUBIC : cv::INTER_NEAREST_EXACT);
  });
}

void augment(Sample& sample, const AugmentConfig& config, Rng& rng, bool normals_y_down) {
  // Every draw is made whatever the configuration, so that switching one off leaves the others' values alone.
  const bool flip = rng.coin(config.flip);
  const double degrees = rng.uniform(-config.rotate, config.rotate);
  const double share = rng.uniform();
  const double brightness = rng.uniform(1 - config.brightness, 1 + config.brightness);

  double scale = 1;
  if (!config.scales.empty()) {
    const auto count = config.scales.size();
    scale = config.scales[std::min(static_cast<std::size_t>(share * static_cast<double>(count)), count - 1)];
  } else if (config.scale.size() == 2) {
    scale = config.scale[0] + (config.scale[1] - config.scale[0]) * share;
  }
  if (flip) flip_horizontal(sample);
  rotate_scale(sample, config.rotate == 0 ? 0 : degrees, scale, config.divide_depth, normals_y_down);
  if (config.brightness != 0) scale_brightness(sample.image, brightness);
}

}  // namespace m3vit
