#pragma once
/// Private to core: PNG and JPEG through libpng and libjpeg-turbo, in memory. Used directly, not through OpenCV,
/// because OpenCV expands palettes (label maps need the indices) and lets both libraries write their complaints to
/// stderr.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/image.h"
#include "core/image_io.h"

namespace m3vit {

inline constexpr std::int64_t kMostPixels = std::int64_t{1} << 28U;
inline constexpr std::int64_t kMostSide = std::int64_t{1} << 16U;

/// How samples are wanted: three 8-bit channels, or the stored values.
enum class Wanted { kRgb8, kStored };

/// One of the two images is filled, by bits.
struct Decoded {
  int bits = 8;
  ImageU8 u8;
  ImageU16 u16;
};

bool is_png(std::span<const std::uint8_t> file);
bool is_jpeg(std::span<const std::uint8_t> file);

/// All throw Error{.where = where}: damaged, truncated, or more than kMostPixels.
ImageSize png_size(std::span<const std::uint8_t> file, const std::string& where);
ImageSize jpeg_size(std::span<const std::uint8_t> file, const std::string& where);
Decoded decode_png(std::span<const std::uint8_t> file, Wanted wanted, const std::string& where);
Decoded decode_jpeg(std::span<const std::uint8_t> file, Wanted wanted, const std::string& where);

/// 1 or 3 channels; `bits` 8 or 16, samples in native byte order.
std::vector<std::uint8_t> encode_png(const void* samples, int height, int width, int channels, int bits);

}  // namespace m3vit
