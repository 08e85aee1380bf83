#include "data/archives/stored_maps.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "core/image_io.h"
#include "core/npy.h"
#include "data/sample.h"

namespace m3vit {
namespace {

constexpr std::int64_t kMaxSide = std::int64_t{1} << 16U;
constexpr float kNoDirection = 0.1F;
constexpr float kRounding = 1.01F;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t d : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(d);
  return text + "]";
}

ImageF32 read_array(const std::string& path, int channels, const std::string& field) {
  NpyArray array;
  try {
    array = read_npy(path);
  } catch (const Error& e) {  // npy's own fields, under the label's name
    Error::Parts parts = e.parts();
    parts.field = parts.field.empty() ? field : field + "." + parts.field;
    throw Error{parts};
  }
  const auto& shape = array.shape;
  const std::int64_t depth = shape.size() == 3 ? shape[2] : 1;
  const bool fits = (shape.size() == 3 || (shape.size() == 2 && channels == 1)) && depth == channels && shape[0] > 0 &&
                    shape[1] > 0 && shape[0] <= kMaxSide && shape[1] <= kMaxSide;
  if (!fits) {
    throw Error{{.where = path,
                 .field = field + ".shape",
                 .wanted = channels == 1 ? "[H, W] or [H, W, 1]" : "[H, W, " + std::to_string(channels) + "]",
                 .found = shape_text(shape)}};
  }
  ImageF32 image;
  image.height = static_cast<int>(shape[0]);
  image.width = static_cast<int>(shape[1]);
  image.channels = channels;
  image.data = std::move(array.data);
  return image;
}

ImageF32 read_picture(const std::string& path, int channels, const std::string& field) {
  int bits = 0;
  ImageU16 stored;
  try {
    stored = read_map(path, &bits);
  } catch (const Error& e) {
    Error::Parts parts = e.parts();
    if (parts.field.empty()) parts.field = field;
    throw Error{parts};
  }
  if (stored.channels != channels || bits != 8) {
    throw Error{{.where = path,
                 .field = field,
                 .wanted = std::to_string(channels) + (channels == 1 ? " channel" : " channels") + " of 8 bits",
                 .found = std::to_string(stored.channels) + " of " + std::to_string(bits) + " bits"}};
  }
  ImageF32 image(stored.height, stored.width, channels);
  std::copy(stored.data.begin(), stored.data.end(), image.data.begin());
  return image;
}

/// Throws about the first value that `good` refuses.
template <class Good>
void require_values(const ImageF32& map, const std::string& path, const std::string& field, const std::string& wanted,
                    const Good& good) {
  const auto bad = std::find_if_not(map.data.begin(), map.data.end(), good);
  if (bad == map.data.end()) return;
  const auto pixel = static_cast<std::size_t>(bad - map.data.begin()) / static_cast<std::size_t>(map.channels);
  const auto width = static_cast<std::size_t>(map.width);
  throw Error{{.where = path,
               .field = field,
               .wanted = wanted,
               .found = std::to_string(*bad) + " at x " + std::to_string(pixel % width) + ", y " +
                        std::to_string(pixel / width)}};
}

}  // namespace

ImageF32 read_numbers(const std::string& path, int channels, const std::string& field) {
  return std::filesystem::path(path).extension() == ".npy" ? read_array(path, channels, field)
                                                           : read_picture(path, channels, field);
}

ImageF32 class_map(ImageF32 stored, const ClassCode& code, const std::string& path, const std::string& field) {
  const auto first = static_cast<float>(code.first);
  const auto end = static_cast<float>(code.first + code.classes);
  const auto unlabelled = static_cast<float>(code.unlabelled);
  require_values(stored, path, field,
                 std::to_string(code.first) + " to " + std::to_string(code.first + code.classes - 1) + ", or " +
                     std::to_string(code.unlabelled) + " for unlabelled",
                 [&](float v) { return v == unlabelled || (v >= first && v < end && v == std::floor(v)); });
  for (float& v : stored.data) v = v == unlabelled ? kIgnore : v - first;
  return stored;
}

ImageF32 depth_map(ImageF32 stored, const std::string& path, const std::string& field) {
  require_values(stored, path, field, "metres, 0 or more and finite",
                 [](float v) { return v >= 0 && std::isfinite(v); });
  return stored;
}

ImageF32 normals_map(ImageF32 stored, const std::string& path, const std::string& field) {
  require_values(stored, path, field, "components in -1 to 1",
                 [](float v) { return v >= -kRounding && v <= kRounding; });
  for (std::size_t i = 0; i < stored.data.size(); i += 3) {
    float* n = &stored.data[i];
    const float norm = std::hypot(n[0], n[1], n[2]);
    for (int c = 0; c < 3; ++c) n[c] = norm < kNoDirection ? 0.0F : n[c] / norm;
  }
  return stored;
}

ImageF32 normals_of_bytes(ImageF32 stored, const std::string& path, const std::string& field) {
  for (float& v : stored.data) v = 2.0F * v / 255.0F - 1.0F;
  return normals_map(std::move(stored), path, field);
}

ImageF32 binary_map(ImageF32 stored, float full, const std::string& path, const std::string& field) {
  require_values(stored, path, field, "0 to " + std::to_string(static_cast<int>(full)),
                 [&](float v) { return v >= 0 && v <= full; });
  for (float& v : stored.data) v = v / full > 0.5F ? 1.0F : 0.0F;
  return stored;
}

ImageU8 photo_of_numbers(const ImageF32& stored, const std::string& path) {
  require_values(stored, path, "image", "values in 0 to 1", [](float v) { return v >= -0.01F && v <= kRounding; });
  ImageU8 photo(stored.height, stored.width, 3);
  std::transform(stored.data.begin(), stored.data.end(), photo.data.begin(),
                 [](float v) { return static_cast<std::uint8_t>(std::lround(std::clamp(v, 0.0F, 1.0F) * 255.0F)); });
  return photo;
}

}  // namespace m3vit
