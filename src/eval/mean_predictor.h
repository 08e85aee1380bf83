#pragma once
/// The answer that ignores the image: at each pixel what is most likely there in the training set. A model that is not
/// clearly above it has learned the camera's habits, not to see.
#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "core/config.h"
#include "data/dataset.h"
#include "eval/evaluate.h"

namespace m3vit {

class MeanPredictor {
 public:
  /// Statistics of the first `frames` (0: all of one epoch) training frames at model.image_size, without augmentation.
  MeanPredictor(const Dataset& train, const Config& config, std::int64_t frames);

  /// Raw outputs [B, C, H, W], the same for every frame: log frequency of each class (so its argmax is the majority),
  /// mean depth, mean normal, log-odds of edge and sal over the whole set's odds (a constant's best answer under the
  /// balanced losses).
  std::vector<float> operator()(const Batch& batch, const TaskConfig& task) const;

 private:
  std::array<std::vector<float>, kNumTaskIds> raw_;  ///< [C, H, W] by task
};

}  // namespace m3vit
