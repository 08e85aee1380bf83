#pragma once
/// Bridges the naive reference's random models to the runtime.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "m3vit/m3vit.hpp"
#include "reference/naive_m3vit.h"
#include "reference/random_model.h"
#include "runtime/pack.h"

namespace m3vit::testing {

inline TensorSource source_of(const naive::Weights& weights) {
  return [&weights](const std::string& name) {
    const std::vector<double>& data = weights.get(name).data;
    return std::vector<float>(data.begin(), data.end());
  };
}

inline std::vector<std::byte> packed(const Config& config, const naive::Weights& weights, PackOptions options = {}) {
  options.producer = "test";
  return pack_model(config, source_of(weights), options, "test.m3v");
}

inline std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

inline std::vector<float> run(Session& session, const Model& model, const std::string& task,
                              std::span<const float> planes) {
  std::vector<float> out(model.output_size(task), std::numeric_limits<float>::quiet_NaN());
  session.run(task, planes, out);
  return out;
}

/// max |got − want| / max |want|, the measure of every accuracy contract of the runtime; infinity when shapes differ or
/// anything is not finite.
template <class Got, class Want>
double relative_error(const std::vector<Got>& got, const std::vector<Want>& want) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  if (got.size() != want.size() || got.empty()) return kWrong;
  double most = 0.0;
  double scale = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!std::isfinite(difference)) return kWrong;
    most = std::max(most, difference);
    scale = std::max(scale, std::abs(static_cast<double>(want[i])));
  }
  if (most == 0.0) return 0.0;
  return scale > 0.0 ? most / scale : kWrong;
}

}  // namespace m3vit::testing
