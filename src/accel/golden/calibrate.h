#pragma once
/// Ranges of every activation on some frames: what static int8 scales are chosen from. The runtime's int8 scales its
/// rows on the fly and its calibration only judges layers, so the two share the frames and the folded model, no more.
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "accel/golden/float_model.h"

namespace m3vit::accel {

/// Values of one tensor: each channel's largest magnitude over everything seen, and some whole rows.
struct Samples {
  int channels = 0;
  std::vector<float> absmax;  ///< [channels]
  std::vector<float> rows;    ///< [n][channels]

  void add(std::span<const float> values, int row_channels);
  int count() const { return channels == 0 ? 0 : static_cast<int>(rows.size()) / channels; }
};

/// By probe and index (block; for a head's probes: task · 16 + stage).
struct Ranges {
  std::map<std::pair<Probe, int>, Samples> samples;
  const Samples& at(Probe probe, int index) const;
  static int head_index(int task, int stage) { return task * 16 + stage; }
};

/// Runs every task of the model on every frame ([3, H, W], normalised). `done()` is called after each pass.
Ranges calibrate(const FloatModel& model, std::span<const std::vector<float>> frames,
                 const std::function<void()>& done = {});

}  // namespace m3vit::accel
