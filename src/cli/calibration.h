#pragma once
/// What rounding a model's layers costs: each layer's and the whole model's output error against f32 on some frames,
/// and which layers must keep a higher precision for the error to stay below a bound. Activations are scaled row by row
/// at run time, so nothing of this is needed to pack a model, only to judge it.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"
#include "m3vit/m3vit.hpp"
#include "runtime/layout.h"
#include "runtime/pack.h"

namespace m3vit::cli {

/// Normalised planes [3, H, W] at the network's size. `source`: "rooms" (generated, training scenes), or a folder of
/// JPEG and PNG files in name order. At most `count`. Throws Error when there is none.
std::vector<std::vector<float>> calibration_frames(const Config& config, const std::string& source, int count);

/// By task: ‖output − f32 output‖ / ‖f32 output‖ over all frames.
using Loss = std::map<std::string, double>;

class Calibration {
 public:
  /// Runs the f32 model on every frame. `options` as for pack_model; its dtype and layers are the ones on trial.
  Calibration(const Config& config, TensorSource source, PackOptions options, std::vector<std::vector<float>> frames,
              int threads);

  /// Of the model as `layers` makes it (beside the options' dtype).
  Loss measure(const std::map<std::string, Precision>& layers);
  /// Of each layer alone in the options' dtype, everything else in f32. `done(layer)` is called after each.
  const std::map<std::string, Loss>& by_layer(const std::function<void(const std::string&)>& done);
  /// Puts layers into the next higher precision, those that cost most first, until no task loses more than `most`.
  /// Costs are taken as independent (their squares add up); the result is measured, and more layers follow while it is
  /// above. Returns the layers to be packed so. Throws Error when even all of them are not enough.
  std::map<std::string, Precision> fallback(double most);

 private:
  Loss measure(Precision dtype, const std::map<std::string, Precision>& layers);

  const Config& config_;
  TensorSource source_;
  PackOptions options_;
  std::vector<std::vector<float>> frames_;
  int threads_;
  std::vector<std::string> tasks_;
  std::vector<std::vector<std::vector<float>>> want_;  ///< by frame and task
  std::map<std::string, Loss> by_layer_;
};

}  // namespace m3vit::cli
