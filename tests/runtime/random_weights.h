#pragma once
/// Random weights of any size for packing, without a whole model in memory: for memory tests and benches.
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/model_cost.h"
#include "core/rng.h"
#include "runtime/pack.h"

namespace m3vit::testing {

/// Matrices uniform with variance 1 / fan_in, so that activations stay of order one; the same for the same name.
inline TensorSource random_weights_source(const Config& config) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const TensorSpec& spec : expected_tensors(config)) shapes[spec.name] = spec.shape;
  return [shapes = std::move(shapes)](const std::string& name) {
    const std::vector<std::int64_t>& shape = shapes.at(name);
    std::size_t n = 1;
    for (const std::int64_t d : shape) n *= static_cast<std::size_t>(d);
    std::size_t fan_in = n;
    if (shape.size() > 1) fan_in = n / static_cast<std::size_t>(shape[0]);
    if (name.find("experts.") != std::string::npos && shape.size() == 3) fan_in = static_cast<std::size_t>(shape[2]);
    const bool positive = name.ends_with("running_var") || (shape.size() == 1 && name.ends_with("weight"));
    const auto scale = static_cast<float>(std::sqrt(3.0 / static_cast<double>(fan_in)));
    std::uint64_t seed = 0;
    for (const char c : name) seed = seed * 31 + static_cast<unsigned char>(c);
    Rng rng(seed);
    std::vector<float> values(n);
    for (float& v : values) {
      const float u = static_cast<float>(rng.below(1U << 24U)) / static_cast<float>(1U << 23U) - 1.0F;
      v = positive ? 1.0F + 0.2F * u : shape.size() == 1 ? 0.1F * u : scale * u;
    }
    return values;
  };
}

}  // namespace m3vit::testing
