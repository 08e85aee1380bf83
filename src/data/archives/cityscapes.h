#pragma once
/// Cityscapes (Cordts et al. 2016) as MTAN passes it on: 128×256, 7 classes and inverse depth; docs/datasets.md.
#include "data/archives/archive.h"

namespace m3vit {

/// SPLIT/{image,label_7,depth}/INDEX.npy. Label −1 is unlabelled, depth 0 unknown; depth is MTAN's normalised inverse
/// depth, not metres.
class Cityscapes final : public Archive {
 public:
  /// Throws one Error with every problem.
  explicit Cityscapes(const ArchiveOptions& options);

 private:
  ImageU8 read_image(const Frame& frame) const override;
  ImageF32 read_label(const Frame& frame, TaskId task) const override;
};

}  // namespace m3vit
