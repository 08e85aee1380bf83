#pragma once
/// Random models in the accelerator's numbers.
#include <string>
#include <vector>

#include "accel/golden/calibrate.h"
#include "accel/golden/golden.h"
#include "accel/golden/quantise.h"
#include "reference/random_model.h"
#include "runtime/m3v.h"
#include "runtime/pack.h"

namespace m3vit::accel {

struct QuantisedCase {
  QuantModel model;
  std::vector<std::int8_t> pixels;  ///< as from input_rows
};

/// `change` may alter the float model before it is quantised.
template <class F>
QuantisedCase quantised_case(const Config& config, std::uint64_t seed, const F& change) {
  const naive::Weights weights = naive::random_weights(config, seed);
  const TensorSource source = [&](const std::string& name) {
    const std::vector<double>& values = weights.get(name).data;
    return std::vector<float>(values.begin(), values.end());
  };
  const std::vector<double> normal = naive::random_image(config, seed);
  const std::vector<float> image(normal.begin(), normal.end());
  FloatModel exact = FloatModel::read(M3vFile::from_bytes(pack_model(config, source, {}, "test.m3v"), "test.m3v"));
  change(exact);
  const std::vector<std::vector<float>> frames{image};
  return {quantise(exact, calibrate(exact, frames)), input_rows(config.model, image)};
}
inline QuantisedCase quantised_case(const Config& config, std::uint64_t seed) {
  return quantised_case(config, seed, [](FloatModel&) {});
}

}  // namespace m3vit::accel
