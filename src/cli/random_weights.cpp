#include "cli/random_weights.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "core/model_cost.h"
#include "core/rng.h"

namespace m3vit::cli {
namespace {

std::vector<float> values_of(const TensorSpec& spec, std::uint64_t seed) {
  std::size_t numel = 1;
  for (const std::int64_t n : spec.shape) numel *= static_cast<std::size_t>(n);
  // A stream of its own for each tensor, so that who asks for what in which order does not matter.
  std::uint64_t name = 0;
  for (const char c : spec.name) name = name * 31 + static_cast<unsigned char>(c);
  Rng rng({seed, name});
  double low = -0.02;
  double high = 0.02;  // biases, class token, positions
  const bool norm = spec.name.find("norm") != std::string::npos || spec.name.find("syncbn") != std::string::npos;
  if (spec.name.ends_with("running_var") || (norm && spec.name.ends_with("weight"))) {
    low = 0.8;
    high = 1.2;
  } else if (spec.shape.size() >= 2 && !spec.name.ends_with("bias") && !spec.name.ends_with("pos_embed")) {
    const bool gate = spec.name.ends_with("w_gate");  // [D, E]; every other one is [out, in …] or [E, out, in]
    const std::size_t first = gate ? 1 : spec.shape.size() == 3 ? 2 : 1;
    double fan_in = gate ? static_cast<double>(spec.shape[0]) : 1.0;
    for (std::size_t i = first; i < spec.shape.size() && !gate; ++i) fan_in *= static_cast<double>(spec.shape[i]);
    high = std::sqrt(3.0 / fan_in) * (gate ? 2.0 : 1.0);
    low = -high;
  }
  std::vector<float> values(numel);
  for (float& v : values) v = static_cast<float>(rng.uniform(low, high));
  return values;
}

}  // namespace

TensorSource random_weights(const Config& config, std::uint64_t seed) {
  auto specs = std::make_shared<std::map<std::string, TensorSpec>>();
  for (TensorSpec& spec : expected_tensors(config)) specs->emplace(spec.name, spec);
  return [specs, seed](const std::string& name) { return values_of(specs->at(name), seed); };
}

}  // namespace m3vit::cli
