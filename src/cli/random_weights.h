#pragma once
/// Weights for a configuration without a trained model: for benches, where only sizes matter.
#include <cstdint>

#include "core/config.h"
#include "runtime/pack.h"

namespace m3vit::cli {

/// Every tensor a model of `config` has, by name: matrices uniform with variance 1 / fan-in, so that activations stay
/// of order one, and routers twice as wide, so that tokens spread over the experts. The same seed gives the same values
/// on every machine. Throws std::out_of_range for an unknown name (a program bug).
TensorSource random_weights(const Config& config, std::uint64_t seed);

}  // namespace m3vit::cli
