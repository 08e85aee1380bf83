#pragma once
/// JPEG and PNG in and out (OpenCV imgcodecs), and the one resize the network's input contract needs.
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/image.h"

namespace m3vit {

struct ImageSize {
  int height = 0, width = 0, channels = 0, bits = 0;
};

/// RGB, 3 channels, 8 bit; grey files are spread to RGB; EXIF orientation ignored (labels would not match).
/// Throws Error (missing, undecodable, larger than 2^28 pixels).
ImageU8 read_rgb(const std::filesystem::path& path);
/// 1 or 3 channels, 8 or 16 bit, values as stored (palette PNGs give their indices).
ImageU16 read_map(const std::filesystem::path& path, int* bits = nullptr);
/// From the header alone where the format allows; used by dataset checks.
ImageSize read_image_size(const std::filesystem::path& path);

/// Atomic. 1 or 3 channels.
void write_png(const std::filesystem::path& path, const ImageU8& image);
void write_png(const std::filesystem::path& path, const ImageU16& image);

/// Bilinear with antialias when shrinking (triangle filter of support 1/scale, pixel centres at +0.5; as
/// torchvision's `antialias=True`); untouched when the size already fits. See docs/formats.md, "Network input".
ImageU8 resize_rgb(const ImageU8& image, int height, int width);

inline constexpr float kImageMean[3] = {0.485F, 0.456F, 0.406F};
inline constexpr float kImageStd[3] = {0.229F, 0.224F, 0.225F};

/// Network input: RGB [H, W, 3] → normalised float planes [3, H, W] written to `out` (3·H·W values).
void normalise_rgb(const ImageU8& image, std::span<float> out);
/// The inverse, rounded and clamped: for contact sheets.
ImageU8 denormalise_rgb(std::span<const float> planes, int height, int width);

}  // namespace m3vit
