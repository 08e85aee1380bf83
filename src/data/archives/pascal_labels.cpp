#include "data/archives/pascal_labels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "core/label_outline.h"
#include "core/thin.h"

namespace m3vit {
namespace {

constexpr std::int32_t kLastId = 459;
constexpr double kPerson = 15;
// Fields by number, as the published loader takes them.
constexpr std::size_t kObjects = 1;
constexpr std::size_t kClassIndex = 1;
constexpr std::size_t kMask = 2;
constexpr std::size_t kParts = 3;
constexpr std::size_t kPartName = 0;
constexpr std::size_t kPartMask = 1;

struct PartNames {
  int part;
  std::array<std::string_view, 9> names;
};

constexpr std::array<PartNames, 6> kPartNames{{
    {1, {"hair", "head", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth"}},
    {2, {"neck", "torso"}},
    {3, {"luarm", "ruarm"}},
    {4, {"llarm", "rlarm", "lhand", "rhand"}},
    {5, {"luleg", "ruleg"}},
    {6, {"llleg", "rlleg", "lfoot", "rfoot"}},
}};

ImageF32 as_label(const Bitmap& bits) {
  ImageF32 label(bits.height(), bits.width(), 1);
  bits.for_each([&](int y, int x) { label.at(y, x) = 1; });
  return label;
}

/// x outside 0 … n−1 by one, mirrored about the outermost pixel's centre.
int mirrored(int x, int n) {
  if (n == 1) return 0;
  return x < 0 ? 1 : x >= n ? n - 2 : x;
}

template <class Use>
void for_each_person(const MatValue& anno, const Use& use) {
  const MatValue objects = anno.field(kObjects, "objects", 0);
  if (objects.count() == 0) return;
  for (std::size_t i = 0; i < objects.count(); ++i) {
    if (objects.field(kClassIndex, "class_ind", i).number() != kPerson) continue;
    use(objects.field(kMask, "mask", i), objects.field(kParts, "parts", i));
  }
}

bool has_area(const ImageF32& mask) {
  return std::any_of(mask.data.begin(), mask.data.end(), [](float v) { return v > 0; });
}

void require_size(const MatValue& mask, int height, int width) {
  if (mask.rows() != static_cast<std::size_t>(height) || mask.columns() != static_cast<std::size_t>(width)) {
    mask.fail("its image's " + std::to_string(width) + "x" + std::to_string(height),
              std::to_string(mask.columns()) + "x" + std::to_string(mask.rows()));
  }
}

}  // namespace

Image<std::int32_t> read_label_map(const std::string& path) {
  const MatFile file(path, "LabelMap");
  const ImageF32 stored = file.root().matrix();
  Image<std::int32_t> map(stored.height, stored.width, 1);
  for (std::size_t i = 0; i < stored.data.size(); ++i) {
    const float v = stored.data[i];
    if (!(v >= 0 && v <= static_cast<float>(kLastId)) || v != std::floor(v)) {
      file.root().fail("class numbers 0 to 459", std::to_string(v));
    }
    map.data[i] = static_cast<std::int32_t>(v);
  }
  return map;
}

ImageF32 laplacian_edges(const Image<std::int32_t>& map) {
  Bitmap edges(map.height, map.width);
  for (int y = 0; y < map.height; ++y) {
    for (int x = 0; x < map.width; ++x) {
      const std::int32_t around = map.at(mirrored(y - 1, map.height), x) + map.at(mirrored(y + 1, map.height), x) +
                                  map.at(y, mirrored(x - 1, map.width)) + map.at(y, mirrored(x + 1, map.width));
      if (around != 4 * map.at(y, x)) edges.set(y, x);
    }
  }
  thin(edges);
  return as_label(edges);
}

ImageF32 outline_edges(const Image<std::int32_t>& map) { return as_label(label_outline(map)); }

int part_of_name(std::string_view name) {
  if (name == "nose") return 1;
  for (const PartNames& p : kPartNames) {
    if (!name.empty() && std::find(p.names.begin(), p.names.end(), name) != p.names.end()) return p.part;
  }
  return 0;
}

std::optional<ImageF32> paint_human_parts(const std::string& path, int height, int width) {
  const MatFile file(path, "anno");
  ImageF32 label(height, width, 1);
  bool person = false;
  for_each_person(file.root(), [&](const MatValue& mask, const MatValue& parts) {
    if (label.empty()) {
      height = static_cast<int>(mask.rows());
      width = static_cast<int>(mask.columns());
      label = ImageF32(height, width, 1);
    }
    require_size(mask, height, width);
    person = person || has_area(mask.matrix());
    if (parts.count() == 0) return;
    for (std::size_t k = 0; k < parts.count(); ++k) {
      const auto part = static_cast<float>(part_of_name(parts.field(kPartName, "part_name", k).text()));
      const MatValue part_mask = parts.field(kPartMask, "mask", k);
      require_size(part_mask, height, width);
      const ImageF32 where = part_mask.matrix();
      for (std::size_t i = 0; i < where.data.size(); ++i) {
        if (where.data[i] != 0) label.data[i] = part;
      }
    }
  });
  if (!person) return std::nullopt;
  return label;
}

bool has_person(const std::string& path) {
  const MatFile file(path, "anno");
  bool person = false;
  for_each_person(file.root(),
                  [&](const MatValue& mask, const MatValue&) { person = person || has_area(mask.matrix()); });
  return person;
}

}  // namespace m3vit
