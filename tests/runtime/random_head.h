#pragma once
/// A head with random weights, alone: as the runtime holds it, as plain double-precision loops compute it, and what it
/// takes to run it by a plan. For tests and benches.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "runtime/head_run.h"
#include "runtime/kernels/panels.h"

namespace m3vit::testing {

inline std::size_t size(int n) { return static_cast<std::size_t>(n); }

/// The first multiple of 64 at or after `p`.
inline std::byte* aligned_64(std::byte* p) { return p + (64 - reinterpret_cast<std::uintptr_t>(p) % 64) % 64; }

/// A channels-last map in double.
struct Map {
  int height = 0, width = 0;
  std::size_t channels = 0;
  std::vector<double> data;
  Map(int h, int w, std::size_t c) : height(h), width(w), channels(c), data(size(h) * size(w) * c) {}
  double& at(int y, int x, std::size_t c) { return data[(size(y) * size(width) + size(x)) * channels + c]; }
  double at(int y, int x, std::size_t c) const { return data[(size(y) * size(width) + size(x)) * channels + c]; }
};

inline Map resized(const Map& map, int height, int width) {
  Map out(height, width, map.channels);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double v = std::max((y + 0.5) * map.height / height - 0.5, 0.0);
      const double u = std::max((x + 0.5) * map.width / width - 0.5, 0.0);
      const int y0 = std::min(static_cast<int>(v), map.height - 1);
      const int x0 = std::min(static_cast<int>(u), map.width - 1);
      const int y1 = std::min(y0 + 1, map.height - 1);
      const int x1 = std::min(x0 + 1, map.width - 1);
      for (std::size_t c = 0; c < map.channels; ++c) {
        const double top = (1 - (u - x0)) * map.at(y0, x0, c) + (u - x0) * map.at(y0, x1, c);
        const double bottom = (1 - (u - x0)) * map.at(y1, x0, c) + (u - x0) * map.at(y1, x1, c);
        out.at(y, x, c) = (1 - (v - y0)) * top + (v - y0) * bottom;
      }
    }
  }
  return out;
}

/// A head with random weights, as the runtime holds them and as the reference reads them.
class RandomHead {
 public:
  RandomHead(const HeadShape& of, Precision precision, std::uint64_t seed) : shape(of), precision_(precision) {
    Rng rng(seed);
    const auto random = [&](std::size_t n, double scale) {
      std::vector<float> v(n);
      for (float& x : v) x = static_cast<float>(rng.normal() * scale);
      return v;
    };
    const std::size_t pixels = size(shape.grid_h) * size(shape.grid_w);
    tokens = random(pixels * shape.dim, 1.0);
    norm_weight_ = random(shape.dim, 0.3);
    for (float& x : norm_weight_) x += 1.0F;
    norm_bias_ = random(shape.dim, 0.1);
    for (int s = 0; s < shape.stages; ++s) {
      const std::size_t in = s == 0 ? shape.dim : shape.channels;
      conv_.push_back(random(9 * in * shape.channels, std::sqrt(2.0 / (9.0 * static_cast<double>(in)))));
      bias_.push_back(random(shape.channels, 0.1));
      weights.conv.push_back(pack(9, in, shape.channels, [&, in](std::size_t k, std::size_t n) {
        return conv_.back()[(size(kTapOrder[k / in]) * in + k % in) * shape.channels + n];
      }));
      weights.conv_bias.push_back(bias_.back().data());
    }
    last_ = random(shape.channels * shape.outputs, 1.0 / std::sqrt(static_cast<double>(shape.channels)));
    last_bias_ = random(shape.outputs, 0.1);
    weights.last = pack(1, shape.channels, shape.outputs,
                        [&](std::size_t k, std::size_t n) { return last_[k * shape.outputs + n]; });
    weights.last_bias = last_bias_.data();
    weights.norm_weight = norm_weight_.data();
    weights.norm_bias = norm_bias_.data();
    weights.outputs = shape.outputs;
  }

  /// Planes [outputs, height, width].
  std::vector<double> reference() const {
    Map map(shape.grid_h, shape.grid_w, shape.dim);
    for (std::size_t t = 0; t < size(shape.grid_h) * size(shape.grid_w); ++t) {
      double mean = 0.0;
      double variance = 0.0;
      const float* x = tokens.data() + t * shape.dim;
      for (std::size_t i = 0; i < shape.dim; ++i) mean += x[i] / static_cast<double>(shape.dim);
      for (std::size_t i = 0; i < shape.dim; ++i) {
        variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(shape.dim);
      }
      for (std::size_t i = 0; i < shape.dim; ++i) {
        map.data[t * shape.dim + i] =
            (x[i] - mean) / std::sqrt(variance + 1e-6) * double{norm_weight_[i]} + double{norm_bias_[i]};
      }
    }
    for (int s = 0; s < shape.stages; ++s) {
      if (s > 0) map = resized(map, 2 * map.height, 2 * map.width);
      map = convolved(map, size(s));
    }
    Map last(map.height, map.width, shape.outputs);
    for (std::size_t p = 0; p < size(map.height) * size(map.width); ++p) {
      for (std::size_t n = 0; n < shape.outputs; ++n) {
        double sum = last_bias_[n];
        for (std::size_t k = 0; k < shape.channels; ++k) {
          sum += map.data[p * shape.channels + k] * double{last_[k * shape.outputs + n]};
        }
        last.data[p * shape.outputs + n] = sum;
      }
    }
    last = resized(last, 2 * last.height, 2 * last.width);
    last = resized(last, shape.height, shape.width);
    std::vector<double> planes;
    for (std::size_t n = 0; n < shape.outputs; ++n) {
      for (int y = 0; y < shape.height; ++y) {
        for (int x = 0; x < shape.width; ++x) planes.push_back(last.at(y, x, n));
      }
    }
    return planes;
  }

  HeadShape shape;
  HeadWeights weights;
  std::vector<float> tokens;

 private:
  template <class F>
  Matrix pack(std::size_t segments, std::size_t segment_k, std::size_t n, const F& value) {
    panels_.push_back(std::make_unique<std::vector<std::byte>>(packed_bytes(segment_k, n, precision_, segments) + 64));
    scales_.emplace_back(std::make_unique<std::vector<float>>(padded_columns(n)));
    sums_.emplace_back(std::make_unique<std::vector<std::int32_t>>(segments * padded_columns(n)));
    std::byte* panels = aligned_64(panels_.back()->data());
    pack_panels(precision_, segments, segment_k, n, value, {panels, scales_.back()->data(), sums_.back()->data()});
    return {panels, scales_.back()->data(), sums_.back()->data()};
  }

  Map convolved(const Map& in, std::size_t s) const {
    Map out(in.height, in.width, shape.channels);
    for (int y = 0; y < in.height; ++y) {
      for (int x = 0; x < in.width; ++x) {
        for (std::size_t n = 0; n < shape.channels; ++n) {
          double sum = bias_[s][n];
          for (int tap = 0; tap < 9; ++tap) {
            const int v = y + tap / 3 - 1;
            const int u = x + tap % 3 - 1;
            if (v < 0 || v >= in.height || u < 0 || u >= in.width) continue;
            for (std::size_t c = 0; c < in.channels; ++c) {
              sum += in.at(v, u, c) * double{conv_[s][(size(tap) * in.channels + c) * shape.channels + n]};
            }
          }
          out.at(y, x, n) = std::max(sum, 0.0);
        }
      }
    }
    return out;
  }

  Precision precision_;
  std::vector<float> norm_weight_, norm_bias_, last_, last_bias_;
  std::vector<std::vector<float>> conv_, bias_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> panels_;
  std::vector<std::unique_ptr<std::vector<float>>> scales_;
  std::vector<std::unique_ptr<std::vector<std::int32_t>>> sums_;
};

/// A plan, its arena and a team.
struct Runner {
  Runner(const HeadShape& shape, const HeadOptions& options, int threads, std::string_view isa = "") : team(threads) {
    plan = HeadPlan(shape, options, threads, planner, 0, 0);
    planner.finish();
    // Filled with what would be seen if it were read before it is written.
    arena.assign(planner.arena_bytes() / sizeof(float) + 64, std::numeric_limits<float>::quiet_NaN());
    std::byte* base = aligned_64(reinterpret_cast<std::byte*>(arena.data()));
    run = std::make_unique<HeadRun>(plan, planner, base, *find_isa(isa).kernels, team);
  }
  std::vector<float> planes(const RandomHead& head) {
    const HeadShape& s = head.shape;
    std::vector<float> out(s.outputs * size(s.height) * size(s.width), std::numeric_limits<float>::quiet_NaN());
    run->run(head.weights, head.tokens.data(), s.dim * sizeof(float), {out.data(), nullptr});
    return out;
  }
  std::vector<std::uint8_t> classes(const RandomHead& head) {
    std::vector<std::uint8_t> out(size(head.shape.height) * size(head.shape.width), 255);
    run->run(head.weights, head.tokens.data(), head.shape.dim * sizeof(float), {nullptr, out.data()});
    return out;
  }

  Planner planner;
  HeadPlan plan;
  Team team;
  std::vector<float> arena;
  std::unique_ptr<HeadRun> run;
};

}  // namespace m3vit::testing
