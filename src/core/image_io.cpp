#include "core/image_io.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "core/atomic_file.h"
#include "core/codecs.h"
#include "core/error.h"
#include "core/mapped_file.h"

namespace m3vit {
namespace {

std::span<const std::uint8_t> bytes_of(const MappedFile& file) {
  return {reinterpret_cast<const std::uint8_t*>(file.bytes().data()), file.bytes().size()};
}

[[noreturn]] void unknown_format(const std::string& where, bool empty) {
  throw Error{{.where = where,
               .field = {},
               .wanted = "a JPEG or PNG image",
               .found = empty ? "an empty file" : "another format",
               .hint = {}}};
}

Decoded decode(std::span<const std::uint8_t> file, Wanted wanted, const std::string& where) {
  if (is_png(file)) return decode_png(file, wanted, where);
  if (is_jpeg(file)) return decode_jpeg(file, wanted, where);
  unknown_format(where, file.empty());
}

template <class T>
void write_png_as(const std::filesystem::path& path, const Image<T>& image, bool durable) {
  const std::vector<std::uint8_t> png =
      encode_png(image.data.data(), image.height, image.width, image.channels, 8 * static_cast<int>(sizeof(T)));
  AtomicFile file(path, durable);
  file.stream().write(reinterpret_cast<const char*>(png.data()), static_cast<std::streamsize>(png.size()));
  file.commit();
}

/// One axis of the resize: each output is a weighted sum of `count` inputs from `first` on.
struct Taps {
  int first = 0, count = 0;
  std::size_t weights = 0;  ///< index of the first weight
};
struct Axis {
  std::vector<Taps> taps;
  std::vector<float> weights;
};

/// Triangle filter; its support is one input pixel when growing, one output pixel when shrinking. Weights outside the
/// image are dropped and the rest normalised, as PIL and torchvision do.
Axis make_axis(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  Axis axis;
  std::vector<double> weights;
  for (int o = 0; o < out; ++o) {
    const double centre = (o + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(std::floor(centre - support + 0.5)));
    const int last = std::min(in, static_cast<int>(std::floor(centre + support + 0.5)));
    weights.clear();
    double sum = 0;
    for (int i = first; i < last; ++i) {
      weights.push_back(std::max(0.0, 1.0 - std::abs(i + 0.5 - centre) / support));
      sum += weights.back();
    }
    axis.taps.push_back({first, last - first, axis.weights.size()});
    for (const double w : weights) axis.weights.push_back(static_cast<float>(w / sum));
  }
  return axis;
}

}  // namespace

ImageU8 decode_rgb(std::span<const std::uint8_t> file, const std::string& where) {
  return decode(file, Wanted::kRgb8, where).u8;
}

ImageU16 decode_map(std::span<const std::uint8_t> file, const std::string& where, int* bits) {
  Decoded decoded = decode(file, Wanted::kStored, where);
  if (bits != nullptr) *bits = decoded.bits;
  if (decoded.bits == 16) return std::move(decoded.u16);
  ImageU16 map;
  map.height = decoded.u8.height;
  map.width = decoded.u8.width;
  map.channels = decoded.u8.channels;
  map.data.assign(decoded.u8.data.begin(), decoded.u8.data.end());
  return map;
}

ImageU8 read_rgb(const std::filesystem::path& path) {
  const MappedFile file(path);
  return decode_rgb(bytes_of(file), path.string());
}

ImageU16 read_map(const std::filesystem::path& path, int* bits) {
  const MappedFile file(path);
  return decode_map(bytes_of(file), path.string(), bits);
}

ImageSize read_image_size(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto bytes = bytes_of(file);
  if (is_png(bytes)) return png_size(bytes, path.string());
  if (is_jpeg(bytes)) return jpeg_size(bytes, path.string());
  unknown_format(path.string(), bytes.empty());
}

void write_png(const std::filesystem::path& path, const ImageU8& image, bool durable) {
  write_png_as(path, image, durable);
}
void write_png(const std::filesystem::path& path, const ImageU16& image, bool durable) {
  write_png_as(path, image, durable);
}

ImageU8 resize_rgb(const ImageU8& image, int height, int width) {
  assert(!image.empty() && height > 0 && width > 0);
  if (image.height == height && image.width == width) return image;
  const Axis across = make_axis(image.width, width);
  const Axis down = make_axis(image.height, height);
  const int channels = image.channels;

  ImageF32 narrow(image.height, width, channels);
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* const row = image.data.data() + image.index(y, 0);
    float* to = narrow.data.data() + narrow.index(y, 0);
    for (const Taps& t : across.taps) {
      const float* const w = across.weights.data() + t.weights;
      const std::uint8_t* const from = row + static_cast<std::ptrdiff_t>(t.first) * channels;
      for (int c = 0; c < channels; ++c) {
        float sum = 0;
        for (int i = 0; i < t.count; ++i) sum += w[i] * static_cast<float>(from[i * channels + c]);
        *to++ = sum;
      }
    }
  }

  ImageU8 out(height, width, channels);
  const auto row_values = static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  std::vector<float> sums(row_values);
  for (int y = 0; y < height; ++y) {
    const Taps& t = down.taps[static_cast<std::size_t>(y)];
    std::fill(sums.begin(), sums.end(), 0.5F);  // rounds the truncation below
    for (int i = 0; i < t.count; ++i) {
      const float w = down.weights[t.weights + static_cast<std::size_t>(i)];
      const float* const from = narrow.data.data() + narrow.index(t.first + i, 0);
      for (std::size_t k = 0; k < row_values; ++k) sums[k] += w * from[k];
    }
    std::uint8_t* const to = out.data.data() + out.index(y, 0);
    for (std::size_t k = 0; k < row_values; ++k) to[k] = static_cast<std::uint8_t>(std::min(sums[k], 255.0F));
  }
  return out;
}

void normalise_rgb(const ImageU8& image, std::span<float> out) {
  const auto pixels = static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width);
  assert(image.channels == 3 && out.size() == 3 * pixels);
  for (std::size_t c = 0; c < 3; ++c) {
    float* const plane = out.data() + c * pixels;
    for (std::size_t i = 0; i < pixels; ++i) {
      plane[i] = (static_cast<float>(image.data[3 * i + c]) / 255.0F - kImageMean[c]) / kImageStd[c];
    }
  }
}

ImageU8 denormalise_rgb(std::span<const float> planes, int height, int width) {
  ImageU8 image(height, width, 3);
  const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  assert(planes.size() == 3 * pixels);
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < pixels; ++i) {
      const float value = (planes[c * pixels + i] * kImageStd[c] + kImageMean[c]) * 255.0F;
      image.data[3 * i + c] = static_cast<std::uint8_t>(std::lround(std::min(std::max(value, 0.0F), 255.0F)));
    }
  }
  return image;
}

}  // namespace m3vit
