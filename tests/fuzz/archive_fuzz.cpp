/// The published archives' own parsers: any bytes are a checked MATLAB layout, a person list and label maps, or an
/// Error.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/npy.h"
#include "data/archives/mat_file.h"
#include "data/archives/pascal_context.h"
#include "data/archives/stored_maps.h"

namespace {

using namespace m3vit;

template <class Do>
void tolerated(const Do& action) {
  try {
    action();
  } catch (const Error&) {
  }
}

ImageF32 image_of(const NpyArray& array, int channels) {
  ImageF32 image;
  image.height = 1;
  image.channels = channels;
  image.width = static_cast<int>(array.data.size() / static_cast<std::size_t>(channels));
  image.data.assign(array.data.begin(), array.data.begin() + static_cast<std::ptrdiff_t>(image.width) * image.channels);
  return image;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  tolerated([&] { check_mat_layout(bytes, "fuzz.mat"); });
  tolerated([&] { parse_person_ids({reinterpret_cast<const char*>(data), size}, "fuzz.txt"); });
  tolerated([&] {
    const NpyArray array = parse_npy(bytes, "fuzz.npy");
    tolerated([&] {
      const ImageF32 map = class_map(image_of(array, 1), {.first = 1, .classes = 40, .unlabelled = 0}, "f", "semseg");
      for (const float v : map.data) {
        if (v != 255 && !(v >= 0 && v < 40)) std::abort();
      }
    });
    tolerated([&] {
      const ImageF32 map = depth_map(image_of(array, 1), "f", "depth");
      for (const float v : map.data) {
        if (!(v >= 0) || !std::isfinite(v)) std::abort();
      }
    });
    tolerated([&] {
      const ImageF32 map = normals_map(image_of(array, 3), "f", "normals");
      for (std::size_t i = 0; i < map.data.size(); i += 3) {
        const float n = std::hypot(map.data[i], map.data[i + 1], map.data[i + 2]);
        if (n != 0 && !(std::abs(n - 1) < 1e-3F)) std::abort();
      }
    });
    tolerated([&] { photo_of_numbers(image_of(array, 3), "f"); });
  });
  return 0;
}
