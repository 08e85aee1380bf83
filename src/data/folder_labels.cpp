#include "data/folder_labels.h"

#include <algorithm>
#include <cmath>

#include "data/sample.h"

namespace m3vit {
namespace {

constexpr unsigned kTrueFrom = 128;
constexpr float kNoDirection = 0.1F;
constexpr std::uint16_t kUnlabelled = 255;

std::string size_text(const ImageSize& s) { return std::to_string(s.width) + "x" + std::to_string(s.height); }

std::string format_text(int channels, const std::string& bits) {
  return std::to_string(channels) + (channels == 1 ? " channel of " : " channels of ") + bits + " bits";
}

std::string pixel_text(std::size_t pixel, int width) {
  const auto w = static_cast<std::size_t>(width);
  return " at x " + std::to_string(pixel % w) + ", y " + std::to_string(pixel / w);
}

void decode_classes(const ImageU16& stored, int classes, const std::string& where, ImageF32& out) {
  for (std::size_t i = 0; i < stored.data.size(); ++i) {
    const std::uint16_t v = stored.data[i];
    if (v >= classes && v != kUnlabelled) {
      throw Error{{.where = where,
                   .field = "class index",
                   .wanted = "0 to " + std::to_string(classes - 1) + ", or 255 for unlabelled",
                   .found = std::to_string(v) + pixel_text(i, stored.width)}};
    }
    out.data[i] = v;
  }
}

void decode_normals(const ImageU16& stored, int bits, ImageF32& out) {
  const float full = bits == 16 ? 65535.0F : 255.0F;
  for (std::size_t i = 0; i < stored.data.size(); i += 3) {
    const std::uint16_t* v = &stored.data[i];
    float* n = &out.data[i];  // zeroed
    if (v[0] == 0 && v[1] == 0 && v[2] == 0) continue;
    std::array<float, 3> direction{};
    for (std::size_t c = 0; c < 3; ++c) direction[c] = 2.0F * static_cast<float>(v[c]) / full - 1.0F;
    const float norm = std::hypot(direction[0], direction[1], direction[2]);
    if (norm < kNoDirection) continue;
    for (std::size_t c = 0; c < 3; ++c) n[c] = direction[c] / norm;
  }
}

std::uint16_t encode_depth(float metres, double scale, const std::string& where) {
  if (!std::isfinite(metres) || metres <= 0) return 0;
  const double units = std::round(static_cast<double>(metres) / scale);
  if (units > 65535) {
    throw Error{{.where = where,
                 .field = "depth",
                 .wanted = "at most " + std::to_string(65535 * scale) + " m",
                 .found = std::to_string(metres) + " m"}};
  }
  return static_cast<std::uint16_t>(std::max(units, 1.0));  // known but tiny must not become "unknown"
}

std::uint16_t encode_byte(TaskId task, float value, const std::string& where) {
  const bool binary = task_spec(task).label == LabelKind::kBinary;
  const bool good = binary ? value == 0 || value == 1 : value >= 0 && value <= 255 && value == std::floor(value);
  if (!good) {
    throw Error{{.where = where,
                 .field = std::string(task_spec(task).name),
                 .wanted = binary ? "0 or 1 (the format has no unknown pixels here)" : "a class index, or 255",
                 .found = std::to_string(value)}};
  }
  return static_cast<std::uint16_t>(binary ? value * 255 : value);
}

}  // namespace

std::optional<Error::Parts> wrong_label_format(TaskId task, const ImageSize& label, const ImageSize& image,
                                               const std::string& where) {
  const LabelKind kind = task_spec(task).label;
  const bool wide = kind == LabelKind::kDepth || kind == LabelKind::kNormals;
  const int channels = kind == LabelKind::kNormals ? 3 : 1;
  if (label.channels != channels || !(label.bits == 8 || (wide && label.bits == 16))) {
    return Error::Parts{.where = where,
                        .field = std::string(task_spec(task).name),
                        .wanted = format_text(channels, wide ? "8 or 16" : "8"),
                        .found = format_text(label.channels, std::to_string(label.bits))};
  }
  if (label.height != image.height || label.width != image.width) {
    return Error::Parts{
        .where = where, .field = "size", .wanted = "its image's " + size_text(image), .found = size_text(label)};
  }
  return std::nullopt;
}

ImageF32 decode_label(TaskId task, const ImageU16& stored, int bits, const LabelRules& rules,
                      const std::string& where) {
  ImageF32 out(stored.height, stored.width, stored.channels);
  switch (task_spec(task).label) {
    case LabelKind::kClassIndex:
      decode_classes(stored, rules.classes[static_cast<std::size_t>(task)], where, out);
      break;
    case LabelKind::kDepth:
      std::transform(stored.data.begin(), stored.data.end(), out.data.begin(),
                     [&](std::uint16_t v) { return static_cast<float>(v * rules.depth_scale); });
      break;
    case LabelKind::kNormals:
      decode_normals(stored, bits, out);
      break;
    case LabelKind::kBinary:
      std::transform(stored.data.begin(), stored.data.end(), out.data.begin(),
                     [](std::uint16_t v) { return v >= kTrueFrom ? 1.0F : 0.0F; });
      break;
  }
  return out;
}

ImageU16 encode_label(TaskId task, const ImageF32& label, const LabelRules& rules, const std::string& where) {
  ImageU16 out(label.height, label.width, label.channels);
  const LabelKind kind = task_spec(task).label;
  std::transform(label.data.begin(), label.data.end(), out.data.begin(), [&](float v) {
    if (kind == LabelKind::kDepth) return encode_depth(v, rules.depth_scale, where);
    if (kind != LabelKind::kNormals) return encode_byte(task, v, where);
    return static_cast<std::uint16_t>(std::lround((std::clamp(v, -1.0F, 1.0F) + 1.0F) / 2.0F * 65535.0F));
  });
  if (kind == LabelKind::kNormals) {
    for (std::size_t i = 0; i < label.data.size(); i += 3) {
      if (label.data[i] == 0 && label.data[i + 1] == 0 && label.data[i + 2] == 0) {
        std::fill_n(&out.data[i], 3, std::uint16_t{0});
      }
    }
  }
  return out;
}

}  // namespace m3vit
