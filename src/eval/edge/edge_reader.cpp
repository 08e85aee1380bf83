#include "eval/edge/edge_reader.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <opencv2/imgproc.hpp>

namespace m3vit {
namespace {

constexpr int kSmoothRadius = 4;
constexpr int kBorder = 5;
constexpr float kTolerance = 1.01F;

cv::Mat smooth(const cv::Mat& map) {
  cv::Mat kernel(1, 2 * kSmoothRadius + 1, CV_32F);
  for (int i = -kSmoothRadius; i <= kSmoothRadius; ++i) {
    kernel.at<float>(0, i + kSmoothRadius) =
        static_cast<float>(kSmoothRadius + 1 - std::abs(i)) / ((kSmoothRadius + 1) * (kSmoothRadius + 1));
  }
  cv::Mat out;
  cv::sepFilter2D(map, out, CV_32F, kernel, kernel, cv::Point(-1, -1), 0, cv::BORDER_REFLECT);
  return out;
}

/// Central difference, one-sided at the border: MATLAB's `gradient`.
cv::Mat derivative(const cv::Mat& map, bool along_x) {
  cv::Mat out(map.size(), CV_32F);
  for (int y = 0; y < map.rows; ++y) {
    for (int x = 0; x < map.cols; ++x) {
      const int low = std::max((along_x ? x : y) - 1, 0);
      const int high = std::min((along_x ? x : y) + 1, (along_x ? map.cols : map.rows) - 1);
      const float rise =
          along_x ? map.at<float>(y, high) - map.at<float>(y, low) : map.at<float>(high, x) - map.at<float>(low, x);
      out.at<float>(y, x) = high > low ? rise / static_cast<float>(high - low) : 0.0F;
    }
  }
  return out;
}

float bilinear(const cv::Mat& map, float y, float x) {
  y = std::clamp(y, 0.0F, static_cast<float>(map.rows - 1));
  x = std::clamp(x, 0.0F, static_cast<float>(map.cols - 1));
  const int y0 = static_cast<int>(y);
  const int x0 = static_cast<int>(x);
  const int y1 = std::min(y0 + 1, map.rows - 1);
  const int x1 = std::min(x0 + 1, map.cols - 1);
  const float fy = y - static_cast<float>(y0);
  const float fx = x - static_cast<float>(x0);
  return (map.at<float>(y0, x0) * (1 - fx) + map.at<float>(y0, x1) * fx) * (1 - fy) +
         (map.at<float>(y1, x0) * (1 - fx) + map.at<float>(y1, x1) * fx) * fy;
}

}  // namespace

std::vector<std::uint16_t> read_edge_plain(std::span<const float> map, std::span<const float> thresholds) {
  std::vector<std::uint16_t> levels(map.size());
  std::transform(map.begin(), map.end(), levels.begin(), [&](float p) {
    return static_cast<std::uint16_t>(std::upper_bound(thresholds.begin(), thresholds.end(), p) - thresholds.begin());
  });
  return levels;
}

std::vector<float> suppress_non_maxima(std::vector<float> values, int height, int width) {
  const cv::Mat map(height, width, CV_32F, values.data());
  const cv::Mat smoothed = smooth(map);
  const cv::Mat dx = derivative(smoothed, true);
  const cv::Mat dxx = derivative(dx, true);
  const cv::Mat dxy = derivative(dx, false);
  const cv::Mat dyy = derivative(derivative(smoothed, false), false);
  std::vector<float> out(values.size());
  const int border = std::min({kBorder, height / 2, width / 2});
  const auto fade = [border](int at, int size) {
    const int inside = std::min(at, size - 1 - at);
    return inside < border ? static_cast<float>(inside) / static_cast<float>(border) : 1.0F;
  };
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const float value = map.at<float>(y, x);
      if (value == 0) continue;
      // Direction across the contour, up to its sign, which the symmetric test below does not need.
      const float sign = dxy.at<float>(y, x) < 0 ? 1.0F : dxy.at<float>(y, x) > 0 ? -1.0F : 0.0F;
      const float angle = std::atan(dyy.at<float>(y, x) * sign / (dxx.at<float>(y, x) + 1e-5F));
      const float step_x = std::cos(angle);
      const float step_y = std::sin(angle);
      const auto fx = static_cast<float>(x);
      const auto fy = static_cast<float>(y);
      const float across = std::max(bilinear(map, fy + step_y, fx + step_x), bilinear(map, fy - step_y, fx - step_x));
      if (value * kTolerance < across) continue;
      out[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)] =
          value * fade(y, height) * fade(x, width);
    }
  }
  return out;
}

std::vector<std::uint16_t> read_edge_nms(std::vector<float> map, int height, int width,
                                         std::span<const float> thresholds) {
  map = suppress_non_maxima(std::move(map), height, width);
  std::vector<std::uint16_t> levels(map.size());
  std::transform(map.begin(), map.end(), levels.begin(), [&](float p) {
    return static_cast<std::uint16_t>(std::lower_bound(thresholds.begin(), thresholds.end(), p) - thresholds.begin());
  });
  return levels;
}

}  // namespace m3vit
