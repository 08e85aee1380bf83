#pragma once
/// Small random models for property tests: configurations that vary every option, weights that keep activations O(1),
/// images. The same seed gives the same values on every machine (core/rng.h).
#include <cstdint>
#include <vector>

#include "reference/naive_m3vit.h"

namespace m3vit::naive {

/// A small valid configuration: non-square and odd grids, heads that end at another size than the input's, 1 … 6 tasks,
/// patch 2 … 16, all gates, expert windows, pruning, dense models (`moe` null), top_k = 1 … num_experts, one expert.
/// Every tasks[].outputs is set.
Config random_config(std::uint64_t seed);

/// Every tensor of core/model_cost.h's expected_tensors(config). Linear and convolution weights ~ N(0, 1/fan_in),
/// routers ~ N(0, 4/D) so that gate weights are far from uniform, BN running_var in [0.5, 1.5].
Weights random_weights(const Config& config, std::uint64_t seed);

/// [3, H, W], standard normal.
std::vector<double> random_image(const Config& config, std::uint64_t seed);

/// Everything for one comparison, with routing at least `margin` away from a jump for every task: draws seeds from
/// `seed` on until that holds (a few tries), so that float32 must route exactly as the reference.
struct RandomCase {
  Config config;
  Weights weights;
  std::vector<double> image;
  std::vector<Result> results;  ///< one a task
};
RandomCase random_case(std::uint64_t seed, double margin = 1e-4);
/// The same for a given configuration.
RandomCase random_case(const Config& config, std::uint64_t seed, double margin = 1e-4);

}  // namespace m3vit::naive
