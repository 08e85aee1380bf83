#pragma once
/// Stored label maps of a `folder` data set ↔ label maps of a Sample (docs/formats.md): one rule per LabelKind.
#include <array>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/image.h"
#include "core/image_io.h"
#include "core/tasks.h"

namespace m3vit {

/// What the numbers in the files mean beyond their kind.
struct LabelRules {
  std::array<int, kNumTaskIds> classes{};  ///< of class-index tasks
  double depth_scale = 0.001;
};

/// What is wrong with a label file's channels, bits or size, from its header alone.
std::optional<Error::Parts> wrong_label_format(TaskId task, const ImageSize& label, const ImageSize& image,
                                               const std::string& where);

/// Throws Error naming file and pixel when a class index is neither a class nor 255. Normals are renormalised; vectors
/// shorter than 0.1 (mid grey) have no direction and become unknown.
ImageF32 decode_label(TaskId task, const ImageU16& stored, int bits, const LabelRules& rules, const std::string& where);

/// One stored map from one label (of one annotator); 16 bits for depth and normals, else 8 bits in 16-bit values.
/// Throws Error for a value that the format cannot hold: depth beyond 65535 units, unknown pixels in edge or sal.
ImageU16 encode_label(TaskId task, const ImageF32& label, const LabelRules& rules, const std::string& where);

/// Bits of encode_label's files.
constexpr int encoded_bits(TaskId task) {
  const LabelKind kind = task_spec(task).label;
  return kind == LabelKind::kDepth || kind == LabelKind::kNormals ? 16 : 8;
}

}  // namespace m3vit
