#pragma once
/// NYUD-v2 (Silberman et al. 2012) in the four layouts in which multi-task work passes it on; docs/datasets.md shows
/// their trees. Values follow each layout's own loader; metres, 40 classes (13 in MTAN's), void is unlabelled.
#include <optional>
#include <string_view>

#include "data/archives/archive.h"

namespace m3vit {

enum class NyudLayout {
  kSurvey,  ///< NYUD_MT of the survey and M³ViT: 480×640, depth, normals and edges as .npy
  kAtrc,    ///< ATRC as InvPT uses it: 425×560, images, normals and edges as PNG, depth as .npy
  kAstmt,   ///< ASTMT: segmentation and depth as .mat, normals as JPEG, edges as PNG
  kMtan,    ///< MTAN and LibMTL: 288×384, all .npy, 13 classes, no edges
};

std::string_view layout_name(NyudLayout layout);  ///< survey, atrc, astmt, mtan

/// By the folders and the endings of the files in them; nullopt when it is none of the four.
std::optional<NyudLayout> find_nyud_layout(const std::filesystem::path& root);

class Nyud final : public Archive {
 public:
  /// Throws one Error with every problem.
  explicit Nyud(const ArchiveOptions& options);
  NyudLayout layout() const { return layout_; }

 private:
  void find_named_frames();
  void find_numbered_frames();
  ImageU8 read_image(const Frame& frame) const override;
  ImageF32 read_label(const Frame& frame, TaskId task) const override;

  NyudLayout layout_ = NyudLayout::kSurvey;
};

}  // namespace m3vit
