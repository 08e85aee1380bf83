/// Speed of the boundary benchmark (odsF): one 480×640 frame at 99 thresholds, and its two parts.
/// Run: build/release/bin/eval_bench
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "core/thin.h"
#include "eval/edge/boundary_match.h"
#include "eval/metric.h"

namespace m3vit {
namespace {

constexpr int kHeight = 480;
constexpr int kWidth = 640;

struct Frame {
  ImageF32 label = ImageF32(kHeight, kWidth, 1);
  std::vector<float> raw = std::vector<float>(static_cast<std::size_t>(kHeight) * kWidth);
};

/// Outlines of random circles as truth; as prediction their blurred, displaced copies, false ones and noise, so that
/// every threshold has another set of pixels.
Frame make_frame(double noise) {
  Rng rng(1);
  Frame f;
  std::vector<double> p(f.raw.size());
  for (int i = 0; i < 40; ++i) {
    const double cy = rng.uniform(0, kHeight), cx = rng.uniform(0, kWidth), r = rng.uniform(10, 160);
    const bool real = i < 28;
    const double dy = rng.uniform(-2, 2), dx = rng.uniform(-2, 2), strength = rng.uniform(0.2, 0.95);
    const double softness = rng.uniform(1, 12);
    for (int y = 0; y < kHeight; ++y) {
      for (int x = 0; x < kWidth; ++x) {
        const auto at = static_cast<std::size_t>(y * kWidth + x);
        if (real && std::abs(std::hypot(y - cy, x - cx) - r) < 0.6) f.label.data[at] = 1;
        const double d = std::hypot(y - cy - dy, x - cx - dx) - r;
        p[at] = std::max(p[at], strength * std::exp(-d * d / softness));
      }
    }
  }
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double v = std::clamp(p[i] + noise * rng.uniform(), 0.001, 0.999);
    f.raw[i] = static_cast<float>(std::log(v / (1 - v)));
  }
  return f;
}

void edge_metric(benchmark::State& state, double noise, bool nms) {
  const Frame f = make_frame(noise);
  EvalConfig config;
  config.edge_nms = nms;
  double ods = 0;
  for (auto _ : state) {
    const auto metric = make_metric(TaskId::kEdge, 1, config);
    metric->update(f.raw, 1, f.label);
    ods = metric->compute().front().value;
    benchmark::DoNotOptimize(ods);
  }
  state.counters["odsF"] = ods;
}
BENCHMARK_CAPTURE(edge_metric, smooth, 0.0, false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(edge_metric, noisy, 0.3, false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(edge_metric, noise_only_above_half, 0.95, false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(edge_metric, smooth_nms, 0.0, true)->Unit(benchmark::kMillisecond);

Bitmap threshold(const Frame& f, float logit) {
  Bitmap bits(kHeight, kWidth);
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      if (f.raw[static_cast<std::size_t>(y * kWidth + x)] >= logit) bits.set(y, x);
    }
  }
  return bits;
}

void thin_frame(benchmark::State& state) {
  const Bitmap bits = threshold(make_frame(0.0), -3);
  for (auto _ : state) {
    Bitmap copy = bits;
    thin(copy);
    benchmark::DoNotOptimize(copy);
  }
}
BENCHMARK(thin_frame)->Unit(benchmark::kMillisecond);

void match_frame(benchmark::State& state) {
  const Frame f = make_frame(0.3);
  Bitmap truth(kHeight, kWidth);
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      if (f.label.at(y, x) == 1) truth.set(y, x);
    }
  }
  Bitmap prediction = threshold(f, -1.5F);
  thin(prediction);
  BoundaryMatcher matcher(truth, 6.0);
  for (auto _ : state) benchmark::DoNotOptimize(matcher.match(prediction, /*from_scratch=*/true));
}
BENCHMARK(match_frame)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace m3vit
