#pragma once
/// The layers of a convolutional rival's encoder (model.resnet) from shapes alone: what model_cost counts and lists.
#include <string>
#include <vector>

#include "core/config.h"
#include "core/model_cost.h"

namespace m3vit {

/// A convolution with its batch normalisation, or what mixes the tasks.
struct ResnetPart {
  std::string name;  ///< "backbone.encoder.layer1.0.conv1"
  std::vector<TensorSpec> tensors;
  std::int64_t macs = 0;
  int owner = -1;  ///< the only task that needs it, or −1

  bool needed_by(int task) const { return owner < 0 || owner == task; }
  std::int64_t params() const;
};

/// In order of execution. A task's inference needs all encoders that its own is mixed with: all of Cross-Stitch and
/// NDDR-CNN but the other tasks' last mixture, one encoder and one branch of MTAN.
std::vector<ResnetPart> resnet_parts(const Config& config);

}  // namespace m3vit
