#include "eval/contact_sheet.h"

#include <algorithm>
#include <cassert>
#include <opencv2/imgproc.hpp>

namespace m3vit {
namespace {

constexpr int kMargin = 16;  // around the sheet
constexpr int kGap = 10;     // between tiles
constexpr int kCaptionHeight = 22;
constexpr int kSupersample = 4;  // Hershey strokes are drawn large and averaged down: smooth at small size

/// Grey text on white, [kCaptionHeight, width]; shrunk to fit when too long.
cv::Mat caption_strip(const std::string& text, int width) {
  cv::Mat large(kCaptionHeight * kSupersample, width * kSupersample, CV_8UC3, cv::Scalar::all(255));
  if (!text.empty()) {
    constexpr int kFont = cv::FONT_HERSHEY_DUPLEX;
    constexpr int kThickness = 2;
    double scale = 0.45 * kSupersample;
    int baseline = 0;
    const cv::Size size = cv::getTextSize(text, kFont, scale, kThickness, &baseline);
    if (size.width > large.cols) scale *= static_cast<double>(large.cols) / size.width;
    cv::putText(large, text, {0, (kCaptionHeight - 7) * kSupersample}, kFont, scale, cv::Scalar::all(40), kThickness,
                cv::LINE_AA);
  }
  cv::Mat strip;
  cv::resize(large, strip, {width, kCaptionHeight}, 0, 0, cv::INTER_AREA);
  return strip;
}

/// Grey or RGB tile, scaled to the common size.
cv::Mat tile_pixels(const ImageU8& image, cv::Size size) {
  assert(image.channels == 1 || image.channels == 3);
  const cv::Mat view(image.height, image.width, CV_8UC(image.channels), const_cast<std::uint8_t*>(image.data.data()));
  cv::Mat rgb;
  if (image.channels == 1) {
    cv::cvtColor(view, rgb, cv::COLOR_GRAY2RGB);
  } else {
    rgb = view;
  }
  cv::Mat scaled;
  cv::resize(rgb, scaled, size, 0, 0, cv::INTER_NEAREST);
  return scaled;
}

}  // namespace

ImageU8 contact_sheet(const std::vector<std::vector<Tile>>& rows, int tile_width) {
  assert(tile_width > 0);
  std::size_t columns = 0;
  const Tile* first = nullptr;
  for (const auto& row : rows) {
    columns = std::max(columns, row.size());
    for (const Tile& tile : row) {
      if (first == nullptr && !tile.image.empty()) first = &tile;
    }
  }
  if (first == nullptr) return {};
  const cv::Size size(tile_width, std::max(1, static_cast<int>(std::lround(static_cast<double>(tile_width) *
                                                                           first->image.height / first->image.width))));
  const int row_height = kCaptionHeight + size.height + kGap;
  const int height = 2 * kMargin + static_cast<int>(rows.size()) * row_height - kGap;
  const int width = 2 * kMargin + static_cast<int>(columns) * (size.width + kGap) - kGap;
  ImageU8 sheet(height, width, 3, 255);
  cv::Mat canvas(height, width, CV_8UC3, sheet.data.data());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const int y = kMargin + static_cast<int>(r) * row_height;
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      const int x = kMargin + static_cast<int>(c) * (size.width + kGap);
      const Tile& tile = rows[r][c];
      caption_strip(tile.caption, size.width).copyTo(canvas(cv::Rect(x, y, size.width, kCaptionHeight)));
      if (tile.image.empty()) continue;
      tile_pixels(tile.image, size).copyTo(canvas(cv::Rect({x, y + kCaptionHeight}, size)));
    }
  }
  return sheet;
}

}  // namespace m3vit
