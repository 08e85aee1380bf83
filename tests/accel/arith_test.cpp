/// The accelerator's arithmetic against the same in long double or 128-bit integers, at halves, borders and at random.
#include "accel/golden/arith.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "accel/golden/golden.h"
#include "accel/golden/quantise.h"
#include "core/rng.h"

namespace m3vit::accel {
namespace {

__extension__ using Wide = __int128;

TEST(Requantise, RoundsHalvesUp) {
  const Param half{0, 1, 1};
  EXPECT_EQ(requantise(3, half), 2);
  EXPECT_EQ(requantise(-3, half), -1);
  EXPECT_EQ(requantise(1, half), 1);
  EXPECT_EQ(requantise(-1, half), 0);
  EXPECT_EQ(requantise(-7, {0, 1, 0}), -7);
}

TEST(Requantise, EqualsFloorOfTheExactQuotientPlusHalf) {
  Rng rng(1);
  for (int i = 0; i < 100000; ++i) {
    const auto acc = static_cast<std::int32_t>(rng.next());
    const Param p{static_cast<std::int32_t>(rng.next()), static_cast<std::uint16_t>(rng.next()),
                  static_cast<std::uint8_t>(rng.below(48))};
    const Wide twice = ((Wide{acc} + p.bias) * p.mul * 2) + (Wide{1} << p.shift);  // (x / 2^s + 1/2) · 2^(s + 1)
    const Wide denominator = Wide{1} << (p.shift + 1);
    Wide floor = twice / denominator;
    if (twice % denominator < 0) --floor;
    ASSERT_EQ(Wide{requantise(acc, p)}, floor) << acc << ' ' << p.bias << ' ' << p.mul << ' ' << int{p.shift};
  }
}

TEST(EncodeGain, KeepsSixteenBits) {
  for (double gain = 1e-9; gain < 2.0; gain *= 1.37) {
    const Param p = encode_gain(gain);
    EXPECT_NEAR(std::ldexp(double(p.mul), -p.shift) / gain, 1.0, gain < 1e-7 ? 1e-2 : 0x1p-16) << gain;
  }
  EXPECT_EQ(encode_gain(0.0).mul, 0);
}

TEST(Residual, AddsTheGatedValueAndCountsClamps) {
  std::uint64_t clamped = 0;
  EXPECT_EQ(gated(1234, kGateOne), 1234);
  EXPECT_EQ(gated(-1234, kGateOne), -1234);
  EXPECT_EQ(gated(3, kGateOne / 2), 2);    // 1.5
  EXPECT_EQ(gated(-3, kGateOne / 2), -1);  // −1.5
  EXPECT_EQ(gated(1 << 20, kGateOne), 32767);
  EXPECT_EQ(add_residual(32000, 767, clamped), 32767);
  EXPECT_EQ(clamped, 0U);
  EXPECT_EQ(add_residual(32000, 768, clamped), 32767);
  EXPECT_EQ(add_residual(-32000, -768, clamped), -32767);
  EXPECT_EQ(clamped, 2U);
}

TEST(Isqrt, IsTheFloorOfTheRoot) {
  Rng rng(2);
  for (int i = 0; i < 200000; ++i) {
    const std::uint64_t v = rng.next() >> (8 + rng.below(56));
    const std::uint64_t r = isqrt(v);
    ASSERT_LE(r * r, v);
    ASSERT_GT((r + 1) * (r + 1), v);
  }
}

TEST(InverseSqrt, IsWithinItsLastBit) {
  Rng rng(3);
  for (int i = 0; i < 100000; ++i) {
    const std::uint64_t v = std::max<std::uint64_t>(1, rng.next() >> (8 + rng.below(56)));
    const InverseSqrt s = inverse_sqrt(v);
    const double got = std::ldexp(double(s.r), s.m - 43) * std::sqrt(static_cast<double>(v));
    ASSERT_NEAR(got, 1.0, 0x1p-14) << v;
  }
}

TEST(Reciprocal, IsWithinItsLastBit) {
  Rng rng(4);
  for (int i = 0; i < 100000; ++i) {
    const auto s = static_cast<std::uint32_t>(1 + rng.below((1U << 26U) - 1));
    const auto gain = static_cast<std::uint32_t>((1U << 14U) + rng.below(1U << 14U));
    const Reciprocal r = reciprocal(s, gain);
    ASSERT_NEAR(std::ldexp(double(r.r), r.n - 26) * double(s) / gain, 1.0, 0x1p-13);
  }
}

TEST(Softmax, FollowsPowersOfTwo) {
  Rng rng(5);
  std::vector<std::int16_t> scores(300);
  std::vector<std::uint8_t> p(scores.size());
  for (std::int16_t& s : scores) s = static_cast<std::int16_t>(rng.normal() * 60.0);
  const std::int16_t most = *std::max_element(scores.begin(), scores.end());
  std::uint32_t total = 0;
  const std::uint32_t sum = softmax_row(scores, p);
  for (std::size_t j = 0; j < scores.size(); ++j) {
    EXPECT_NEAR(double(p[j]), 127.0 * std::exp2((scores[j] - most) / 32.0), 1.0);
    total += p[j];
  }
  EXPECT_EQ(sum, total);
  EXPECT_EQ(softmax_weight(0), 127);
  EXPECT_EQ(softmax_weight(255), 1);
  EXPECT_EQ(softmax_weight(256), 0);
  EXPECT_EQ(softmax_weight(65534), 0);
}

TEST(Route, TakesTheLowerIndexOfEqualLogits) {
  const QRouter router{{}, 0, encode_gain(1.0), 0};
  const std::vector<std::int32_t> logits{5, 9, 9, 9, -3};
  const Entries chosen = route(logits, 2, router, gate_table(), 7);
  ASSERT_EQ(chosen.size(), 2U);
  EXPECT_EQ(chosen[0].expert, 1);
  EXPECT_EQ(chosen[1].expert, 2);
  EXPECT_EQ(chosen[0].token, 7);
  EXPECT_EQ(chosen[0].gate, chosen[1].gate);
}

TEST(Route, GatesAreTheSoftmaxOfAllLogits) {
  Rng rng(6);
  for (const int experts : {1, 2, 16, 1024}) {
    const double step = 0.001;  // of a logit
    const QRouter router{{}, 0, encode_gain(step * std::log2(std::exp(1.0)) * 256.0), 0};
    std::vector<std::int32_t> logits(static_cast<std::size_t>(experts));
    for (std::int32_t& l : logits) l = static_cast<std::int32_t>(rng.normal() * 2000.0);
    double sum = 0.0;
    for (const std::int32_t l : logits) sum += std::exp(l * step);
    for (const Entry& e : route(logits, std::min(experts, 4), router, gate_table(), 0)) {
      const double want = std::exp(logits[static_cast<std::size_t>(e.expert)] * step) / sum;
      EXPECT_NEAR(e.gate / 32768.0, want, 0.004 * want + 0x1p-15) << experts;
    }
  }
}

TEST(Route, OneExpertHasGateOneAndPruningDropsEntries) {
  QRouter router{{}, 3, encode_gain(1.0), 0};
  const std::vector<std::int32_t> one{-17};
  EXPECT_EQ(route(one, 1, router, gate_table(), 0), (Entries{{0, 3, kGateOne}}));
  router.prune = 20000;
  const std::vector<std::int32_t> two{0, 0};
  EXPECT_TRUE(route(two, 2, router, gate_table(), 0).empty());
}

TEST(Norm, IsWithinOneStepOfTheRealOne) {
  Rng rng(7);
  for (const int channels : {1, 3, 96, 192, 384, 4096}) {
    std::vector<std::int16_t> x(static_cast<std::size_t>(channels));
    for (std::int16_t& v : x) v = sat16(std::lround(rng.normal() * 900.0 + 200.0));
    RowStats s;
    double mean = 0.0;
    double variance = 0.0;
    for (const std::int16_t v : x) {
      s.sum += v;
      s.squares += std::int64_t{v} * v;
      mean += double(v) / channels;
    }
    for (const std::int16_t v : x) variance += (v - mean) * (v - mean) / channels;
    const std::uint32_t eps = 12345;
    const InverseSqrt scale = norm_scale(s, channels, eps);
    const double deviation = std::sqrt(variance + double{eps} / channels / channels);
    for (const std::int16_t v : x) {
      const double z = (v - mean) / deviation;
      const std::int16_t got = normalise(v, s, channels, scale);
      ASSERT_NEAR(got / 1024.0, std::clamp(z, -32.0, 32.0), 0.002) << channels;
      const Param p{-4000, static_cast<std::uint16_t>(std::int16_t{-3000}), 0};
      ASSERT_NEAR(double(norm_affine(got, p, 16)), std::clamp((got * -3000.0 - 4000.0) / 65536.0, -127.0, 127.0), 0.5);
    }
  }
}

TEST(Norm, ExtremeRowsStayInRange) {
  for (const int channels : {1, 384, 4096}) {
    for (const int value : {-32767, 0, 32767}) {
      const RowStats s{std::int64_t{channels} * value, std::int64_t{channels} * value * value};
      EXPECT_EQ(normalise(static_cast<std::int16_t>(value), s, channels, norm_scale(s, channels, 1)), 0);
    }
  }
  const RowStats alternating{0, std::int64_t{4096} * 32767 * 32767};
  EXPECT_NEAR(normalise(32767, alternating, 4096, norm_scale(alternating, 4096, 1)), 1024, 1);
}

TEST(Upsample, IsTheRealBilinearOneRoundedHalfUp) {
  Rng rng(8);
  for (int i = 0; i < 10000; ++i) {
    int v[4];
    for (int& x : v) x = static_cast<int>(rng.below(255)) - 127;
    const double want = 0.75 * (0.75 * v[0] + 0.25 * v[1]) + 0.25 * (0.75 * v[2] + 0.25 * v[3]);
    ASSERT_EQ(upsample(v[0], v[1], v[2], v[3]), std::floor(want + 0.5));
  }
}

}  // namespace
}  // namespace m3vit::accel
