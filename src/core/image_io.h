#pragma once
/// JPEG and PNG in and out (libjpeg-turbo, libpng), and the one resize the network's input contract needs. The format
/// is told by the file's first bytes, not by its name. Functions are thread-safe and print nothing.
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/image.h"

namespace m3vit {

struct ImageSize {
  int height = 0, width = 0, channels = 0, bits = 0;
};

/// RGB, 3 channels, 8 bit; grey and palette files are spread to RGB, 16 bit scaled to 8, alpha dropped; EXIF
/// orientation ignored (labels would not match). Throws Error (missing, undecodable, truncated, larger than 2^28
/// pixels).
ImageU8 read_rgb(const std::filesystem::path& path);
/// 1 or 3 channels, 8 or 16 bit, values as stored: palette PNGs give their indices (VOC-style label maps), alpha is
/// dropped. Grey of 1, 2 or 4 bits is scaled to 0 … 255 as every reader does. `bits`, when given, becomes 8 or 16.
ImageU16 read_map(const std::filesystem::path& path, int* bits = nullptr);
/// From the header alone; as `read_map` would give it. Used by dataset checks.
ImageSize read_image_size(const std::filesystem::path& path);

/// The same for a file in memory; `where` names it in errors.
ImageU8 decode_rgb(std::span<const std::uint8_t> file, const std::string& where);
ImageU16 decode_map(std::span<const std::uint8_t> file, const std::string& where, int* bits = nullptr);

/// Atomic. 1 or 3 channels. `durable` as in core/atomic_file.h.
void write_png(const std::filesystem::path& path, const ImageU8& image, bool durable = true);
void write_png(const std::filesystem::path& path, const ImageU16& image, bool durable = true);

/// Bilinear with antialias when shrinking (triangle filter of support 1/scale, pixel centres at +0.5; as
/// torchvision's `antialias=True`), rounded to nearest; untouched when the size already fits. See docs/formats.md,
/// "Network input".
ImageU8 resize_rgb(const ImageU8& image, int height, int width);

inline constexpr float kImageMean[3] = {0.485F, 0.456F, 0.406F};
inline constexpr float kImageStd[3] = {0.229F, 0.224F, 0.225F};

/// Network input: RGB [H, W, 3] → normalised float planes [3, H, W] written to `out` (3·H·W values).
void normalise_rgb(const ImageU8& image, std::span<float> out);
/// The inverse, rounded and clamped: for contact sheets.
ImageU8 denormalise_rgb(std::span<const float> planes, int height, int width);

}  // namespace m3vit
