#pragma once
/// The network as eval's predictor.
#include <memory>

#include "eval/evaluate.h"
#include "model/network.h"

namespace m3vit {

/// Predicts with `network` (put in eval mode at each call) on `device`. The shared prefix of a batch is computed once
/// and kept for the batch's other tasks. `network` must outlive the predictor.
Predictor make_predictor(NetworkImpl& network, const Config& config, torch::Device device);

}  // namespace m3vit
