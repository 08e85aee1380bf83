#pragma once
/// PASCAL-Context for multi-task learning (PASCAL_MT, ATRC's PASCALContext): 21 classes, human parts, edges, and
/// normals and saliency distilled from other networks; docs/datasets.md shows the tree.
#include <optional>
#include <string_view>
#include <vector>

#include "core/image_io.h"
#include "data/archives/archive.h"

namespace m3vit {

/// Normals count only on the classes of pascal_normals_valid. Human parts of an image without any are unlabelled
/// throughout; when human_parts is the only task, images without a person are left out, as in the published loader.
/// Edges: thinned Laplacian of the 459-class map for training, its outline for scoring.
class PascalContext final : public Archive {
 public:
  /// Throws one Error with every problem.
  explicit PascalContext(const ArchiveOptions& options);

 private:
  void find_frames();
  void keep_persons();
  ImageF32 read_label(const Frame& frame, TaskId task) const override;
  void read_labels(const Frame& frame, Sample& sample) const override;
  static std::optional<ImageSize> image_size(const Frame& frame);
  std::string label_map_path(const Frame& frame) const;
  ImageF32 normals(const Frame& frame, const Image<std::int32_t>& label_map) const;
  ImageF32 edges(const Image<std::int32_t>& label_map) const;
};

/// IDs of ImageSets/Parts/SPLIT.txt, the cache that the published loader writes: {"ID": [class of each object, −1 for
/// one without area]}; sorted, those that show a person. Throws Error.
std::vector<std::string> parse_person_ids(std::string_view text, const std::string& where);

}  // namespace m3vit
