#include "eval/edge/edge_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "eval/edge/edge_options.h"
#include "eval/metrics/metrics.h"
#include "eval_testing.h"

namespace m3vit {
namespace {

/// A logit whose 8-bit probability is `v` for certain (the middle of the byte).
float logit_of_byte(int v) { return logit((v + 0.5) / 255.5); }

std::vector<float> thresholds(int n) {
  EvalConfig config;
  config.edge_thresholds = n;
  return edge_options(config).thresholds;
}

/// What a file holds of a logit.
std::vector<float> stored(std::vector<float> logits) {
  for (float& v : logits) v = static_cast<float>(sigmoid_level(v)) / 255.0F;
  return logits;
}

TEST(PlainReader, PassesAThresholdWhenTheTruncatedByteOver255IsAtLeastIt) {
  std::vector<float> logits;
  for (int v = 0; v < 255; ++v) logits.push_back(logit_of_byte(v));
  logits.push_back(100.0F);
  for (const int n : {1, 4, 99, 254, 1000}) {
    const std::vector<std::uint16_t> levels = read_edge_plain(stored(logits), thresholds(n));
    for (int v = 0; v < 256; ++v) {
      int passed = 0;
      for (int k = 1; k <= n; ++k) passed += v * (n + 1) >= 255 * k;  // v/255 ≥ k/(n+1)
      ASSERT_EQ(levels[static_cast<std::size_t>(v)], passed) << "byte " << v << " of " << n << " thresholds";
    }
  }
}

TEST(PlainReader, TruncatesToBytesAndTakesNanForZero) {
  // 0.5 · 255 = 127.5 is stored as 127, which misses t = 0.5
  EXPECT_EQ(read_edge_plain(stored({0.0F}), thresholds(1))[0], 0);
  EXPECT_EQ(read_edge_plain(stored({logit(0.503)}), thresholds(1))[0], 1);
  EXPECT_EQ(read_edge_plain(stored({NAN}), thresholds(99))[0], 0);
}

/// The published suppression in plain loops, double precision.
std::vector<double> naive_suppress(const std::vector<double>& map, int h, int w) {
  const auto idx = [w](int y, int x) {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(w) + static_cast<std::size_t>(x);
  };
  const auto mirror = [](int i, int n) { return i < 0 ? -1 - i : i >= n ? 2 * n - 1 - i : i; };
  std::vector<double> s(map.size());
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      for (int dy = -4; dy <= 4; ++dy) {
        for (int dx = -4; dx <= 4; ++dx) {
          s[idx(y, x)] +=
              map[idx(mirror(y + dy, h), mirror(x + dx, w))] * (5 - std::abs(dy)) * (5 - std::abs(dx)) / 625.0;
        }
      }
    }
  }
  const auto grad = [&](const std::vector<double>& f, bool along_x) {
    std::vector<double> g(f.size());
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        if (along_x) {
          g[idx(y, x)] = x == 0       ? f[idx(y, 1)] - f[idx(y, 0)]
                         : x == w - 1 ? f[idx(y, x)] - f[idx(y, x - 1)]
                                      : (f[idx(y, x + 1)] - f[idx(y, x - 1)]) / 2;
        } else {
          g[idx(y, x)] = y == 0       ? f[idx(1, x)] - f[idx(0, x)]
                         : y == h - 1 ? f[idx(y, x)] - f[idx(y - 1, x)]
                                      : (f[idx(y + 1, x)] - f[idx(y - 1, x)]) / 2;
        }
      }
    }
    return g;
  };
  const auto ox = grad(s, true);
  const auto oxx = grad(ox, true), oxy = grad(ox, false), oyy = grad(grad(s, false), false);
  std::vector<double> out = map;
  const auto interp = [&](double y, double x) {
    y = std::clamp(y, 0.0, h - 1.001);
    x = std::clamp(x, 0.0, w - 1.001);
    const int y0 = static_cast<int>(y), x0 = static_cast<int>(x);
    const double fy = y - y0, fx = x - x0;
    return map[idx(y0, x0)] * (1 - fy) * (1 - fx) + map[idx(y0, x0 + 1)] * (1 - fy) * fx +
           map[idx(y0 + 1, x0)] * fy * (1 - fx) + map[idx(y0 + 1, x0 + 1)] * fy * fx;
  };
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const double sign = oxy[idx(y, x)] < 0 ? 1 : oxy[idx(y, x)] > 0 ? -1 : 0;
      double o = std::atan(oyy[idx(y, x)] * sign / (oxx[idx(y, x)] + 1e-5));
      if (o < 0) o += std::numbers::pi;
      for (const int d : {-1, 1}) {
        if (map[idx(y, x)] * 1.01 < interp(y + d * std::sin(o), x + d * std::cos(o))) out[idx(y, x)] = 0;
      }
      const int edge_y = std::min(y, h - 1 - y), edge_x = std::min(x, w - 1 - x);
      if (edge_y < 5) out[idx(y, x)] *= edge_y / 5.0;
      if (edge_x < 5) out[idx(y, x)] *= edge_x / 5.0;
    }
  }
  return out;
}

TEST(NmsReader, EqualsPlainLoopsInDoublePrecision) {
  constexpr int kH = 40, kW = 56;
  Rng rng(5);
  std::vector<float> map(kH * kW);
  // soft ridges along circles, a little noise
  for (int y = 0; y < kH; ++y) {
    for (int x = 0; x < kW; ++x) {
      double v = 0;
      for (const double r : {8.0, 19.0}) v = std::max(v, std::exp(-std::pow(std::hypot(y - 18, x - 30) - r, 2) / 5));
      map[static_cast<std::size_t>(y * kW + x)] = static_cast<float>(std::clamp(v + 0.05 * rng.uniform(), 0.0, 1.0));
    }
  }
  const std::vector<float> got = suppress_non_maxima(map, kH, kW);
  const std::vector<double> want = naive_suppress({map.begin(), map.end()}, kH, kW);
  int kept = 0, different = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    kept += want[i] > 0;
    different += std::abs(got[i] - want[i]) > 1e-4;
  }
  EXPECT_GT(kept, 100);
  EXPECT_LE(different, kept / 50);  // single precision may decide near-ties the other way
}

TEST(NmsReader, KeepsTheRidgeOfABlurredVerticalLineOnly) {
  constexpr int kH = 40, kW = 60;
  std::vector<float> map(kH * kW);
  for (int y = 0; y < kH; ++y) {
    for (int x = 0; x < kW; ++x) {
      map[static_cast<std::size_t>(y * kW + x)] = static_cast<float>(std::exp(-std::pow(x - 30, 2) / 8.0));
    }
  }
  const std::vector<float> thin = suppress_non_maxima(map, kH, kW);
  for (int y = 6; y < kH - 6; ++y) {
    for (int x = 24; x < 37; ++x) {
      EXPECT_EQ(thin[static_cast<std::size_t>(y * kW + x)] > 0, x == 30) << y << ' ' << x;
    }
  }
}

TEST(NmsReader, PassesThresholdsStrictly) {
  // a constant map has no stronger neighbour anywhere: only the byte and the border's fading count
  constexpr int kH = 20, kW = 20;
  const std::vector<float> logits(kH * kW, logit_of_byte(51));                                     // 51/255 = 0.2
  const std::vector<std::uint16_t> levels = read_edge_nms(stored(logits), kH, kW, thresholds(4));  // 0.2, 0.4 …
  EXPECT_EQ(levels[10 * kW + 10], 0);
  EXPECT_EQ(read_edge_nms(stored(std::vector<float>(kH * kW, logit_of_byte(52))), kH, kW, thresholds(4))[10 * kW + 10],
            1);
  EXPECT_EQ(read_edge_nms(stored(std::vector<float>(kH * kW, logit_of_byte(200))), kH, kW, thresholds(4))[0], 0)
      << "border fades to 0";
}

}  // namespace
}  // namespace m3vit
