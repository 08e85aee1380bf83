/// Every kernel of every instruction set against double-precision loops, over sizes on both sides of each tile edge,
/// with canaries around what is written. Bounds come from the arithmetic (Higham, γ_k).
#include "runtime/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "m3vit/m3vit.hpp"
#include "reference/naive_m3vit.h"
#include "runtime/guarded.h"
#include "runtime/resample.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

using testing::Guarded;

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBf16, Precision::kInt8};

std::vector<float> random_floats(std::size_t n, Rng& rng) {
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(rng.normal());
  return v;
}

TEST(Isas, BestFirstScalarLastUnknownRefused) {
  const auto& isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.back().name, "scalar");
  EXPECT_EQ(&find_isa(""), &isas.front());
  EXPECT_EQ(find_isa("scalar").name, "scalar");
  EXPECT_THROW(find_isa("sse9"), Error);
#if defined(__x86_64__)
  if (isas.front().name == "amx") {
    EXPECT_EQ(isas[1].name, "avx512");
  } else if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
    EXPECT_EQ(isas.front().name, "avx512");
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    EXPECT_EQ(isas.front().name, "avx2");
  }
#endif
}

TEST(Isas, WhatCannotRunHereIsRefusedWithTheReason) {
  for (const IsaStatus& status : all_isas()) {
    if (status.why_not.empty()) {
      EXPECT_EQ(find_isa(status.isa.name).kernels, status.isa.kernels);
      continue;
    }
    try {
      find_isa(status.isa.name);
      ADD_FAILURE() << status.isa.name;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(status.why_not), std::string::npos) << e.what();
    }
  }
}

class PerIsa : public ::testing::TestWithParam<Isa> {
 protected:
  const Kernels& kernels() const { return *GetParam().kernels; }
};
INSTANTIATE_TEST_SUITE_P(All, PerIsa, ::testing::ValuesIn(available_isas()),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_P(PerIsa, GeluIsExactToAMillionth) {
  std::vector<float> x;
  for (double v = -12.0; v <= 12.0; v += 1.0 / 512) x.push_back(static_cast<float>(v));
  for (const float v : {0.0F, -0.0F, 1e-30F, -1e-30F, 100.0F, -100.0F, 3e38F, -3e38F}) x.push_back(v);
  std::vector<float> y = x;
  kernels().gelu(y.data(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = naive::gelu(x[i]);
    ASSERT_LE(std::abs(y[i] - want), 1e-6 * std::max(1.0, std::abs(want))) << x[i];
  }
  float nan = std::numeric_limits<float>::quiet_NaN();
  kernels().gelu(&nan, 1);
  EXPECT_TRUE(std::isnan(nan));
}

TEST_P(PerIsa, SoftmaxEqualsTheNaiveOneAndGivesEqualInputsEqualOutputs) {
  Rng rng(14);
  for (const std::size_t n : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 257}) {
    for (const double spread : {0.0, 1.0, 40.0}) {
      Guarded<float> x(n, n);
      naive::Row in;
      for (std::size_t i = 0; i < n; ++i) {
        x.data()[i] = static_cast<float>(spread * rng.normal());
        in.push_back(x[i]);
      }
      if (n > 2) {
        x.data()[n - 1] = x[0];  // one in a vector, one in the tail
        in[n - 1] = in[0];
      }
      const naive::Row want = naive::softmax(in);
      kernels().softmax(x.data(), n);
      for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(x[i], want[i], 1e-6) << "n=" << n << " spread=" << spread;
      EXPECT_EQ(x[n - 1], n > 2 ? x[0] : x[n - 1]);
      EXPECT_TRUE(x.intact());
    }
  }
}

TEST_P(PerIsa, LayerNormEqualsTheNaiveOneInEveryPrecision) {
  Rng rng(15);
  for (const std::size_t n : {1, 3, 8, 15, 16, 17, 64, 100}) {
    const std::vector<float> x = random_floats(3 * (n + 2), rng);
    const std::vector<float> weight = random_floats(n, rng);
    const std::vector<float> bias = random_floats(n, rng);
    const naive::Tensor w{{}, {weight.begin(), weight.end()}};
    const naive::Tensor b{{}, {bias.begin(), bias.end()}};
    for (const Precision precision : kPrecisions) {
      Guarded<float> copy(3 * (n + 1), n);
      const std::size_t stride = row_bytes(n, precision) + 4;
      Guarded<std::uint8_t> y(3 * stride);
      Guarded<float> scale(3);
      LayerNorm l;
      l.x = x.data();
      l.x_stride = (n + 2) * sizeof(float);
      l.n = n;
      l.weight = weight.data();
      l.bias = bias.data();
      l.eps = 1e-6F;
      l.precision = precision;
      l.y = y.data();
      l.y_stride = stride;
      l.y_scale = scale.data();
      l.copy = copy.data();
      l.copy_stride = (n + 1) * sizeof(float);
      kernels().layer_norm(l, 1, 3);
      kernels().layer_norm(l, 0, 1);
      for (std::size_t r = 0; r < 3; ++r) {
        const float* row = x.data() + r * (n + 2);
        const naive::Row want = naive::layer_norm({row, row + n}, w, b);
        const std::uint8_t* out = y.data() + r * stride;
        for (std::size_t i = 0; i < n; ++i) {
          const float got = copy[r * (n + 1) + i];
          ASSERT_NEAR(got, want[i], 2e-5) << "n=" << n;
          if (precision == Precision::kF32) {
            float stored = 0;
            std::memcpy(&stored, out + 4 * i, sizeof(stored));
            ASSERT_EQ(stored, got);
          } else if (precision == Precision::kBf16) {
            const std::uint16_t bits = to_bf16(got);
            ASSERT_EQ(std::memcmp(out + 2 * i, &bits, sizeof(bits)), 0);
          } else {
            ASSERT_NEAR(static_cast<float>(out[i] - 128) * scale[r], got, 0.501F * scale[r]);
          }
        }
        for (std::size_t i = n * element_bytes(precision); i < stride; ++i) {
          const std::uint8_t zero = precision == Precision::kInt8 ? 128 : 0;
          ASSERT_EQ(out[i], i < row_bytes(n, precision) ? zero : Guarded<std::uint8_t>::kCanary);
        }
        ASSERT_EQ(copy[r * (n + 1) + n], Guarded<float>::kCanary);
      }
      EXPECT_TRUE(y.intact() && copy.intact() && scale.intact());
    }
  }
}

TEST_P(PerIsa, QuantisedRowsAreWithinHalfAStepAndRoundedRowsAreNearest) {
  Rng rng(19);
  for (const std::size_t n : {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 64, 100}) {
    std::vector<float> x = random_floats(4 * (n + 1), rng);
    for (float& v : x) v *= 1e-3F;
    std::fill_n(x.data() + n + 1, n, 0.0F);  // a row of zeros
    x[2 * (n + 1)] = -7.0F;                  // the largest is negative
    const std::size_t stride = row_bytes(n, Precision::kBf16) + 4;
    Guarded<std::uint8_t> rounded(4 * stride);
    kernels().to_bf16(x.data(), (n + 1) * sizeof(float), 4, n, reinterpret_cast<std::uint16_t*>(rounded.data()),
                      stride);
    EXPECT_TRUE(rounded.intact());
    for (const bool bf16 : {false, true}) {
      const std::size_t y_stride = row_bytes(n, Precision::kInt8) + 1;
      Guarded<std::uint8_t> y(4 * y_stride);
      Guarded<float> scale(4);
      const void* const in = bf16 ? static_cast<const void*>(rounded.data()) : x.data();
      kernels().quantize_rows(in, bf16, bf16 ? stride : (n + 1) * sizeof(float), 4, n, y.data(), y_stride,
                              scale.data());
      EXPECT_EQ(scale[1], 0.0F);
      for (std::size_t r = 0; r < 4; ++r) {
        float most = 0.0F;
        for (std::size_t i = 0; i < n; ++i) {
          float v = x[r * (n + 1) + i];
          std::uint16_t bits;
          std::memcpy(&bits, rounded.data() + r * stride + 2 * i, sizeof(bits));
          ASSERT_EQ(bits, to_bf16(v));
          if (bf16) v = from_bf16(bits);
          most = std::max(most, std::abs(v));
          const float got = static_cast<float>(y[r * y_stride + i] - 128) * scale[r];
          ASSERT_LE(std::abs(got - v), 0.5001F * scale[r]) << "n=" << n;
        }
        ASSERT_FLOAT_EQ(scale[r], most / 127.0F);
        for (std::size_t i = n; i < y_stride; ++i) {
          ASSERT_EQ(y[r * y_stride + i], i < row_bytes(n, Precision::kInt8) ? 128 : Guarded<std::uint8_t>::kCanary);
        }
        for (std::size_t i = 2 * n; i < stride; ++i) {
          ASSERT_EQ(rounded[r * stride + i], i < row_bytes(n, Precision::kBf16) ? 0 : Guarded<std::uint8_t>::kCanary);
        }
      }
      EXPECT_TRUE(y.intact() && scale.intact());
    }
  }
}

TEST_P(PerIsa, AttentionEqualsTheNaiveOneAcrossKeyBlocks) {
  Rng rng(16);
  for (const auto& [tokens, heads, head_dim, spread] : {std::array<int, 4>{1, 1, 1, 1},
                                                        {2, 3, 5, 1},
                                                        {12, 1, 32, 1},
                                                        {13, 2, 33, 3},
                                                        {31, 1, 8, 1},
                                                        {33, 2, 7, 30},
                                                        {255, 1, 4, 1},
                                                        {256, 1, 64, 1},
                                                        {257, 1, 16, 10},
                                                        {600, 2, 3, 5}}) {
    const auto t = static_cast<std::size_t>(tokens);
    const std::size_t width = 3 * size(heads) * size(head_dim);
    const std::size_t stride = width + 1;
    std::vector<float> qkv(t * stride);
    naive::Matrix rows(t, naive::Row(width));
    for (std::size_t r = 0; r < t; ++r) {
      for (std::size_t i = 0; i < width; ++i) {
        // A large spread makes single keys win and the running maximum move.
        qkv[r * stride + i] = static_cast<float>(rng.normal() * (i < 2 * width / 3 ? std::sqrt(spread) : 1.0));
        rows[r][i] = qkv[r * stride + i];
      }
    }
    const naive::Matrix want = naive::attention(rows, heads);
    Attention a;
    a.qkv = qkv.data();
    a.stride = stride * sizeof(float);
    a.tokens = t;
    a.heads = static_cast<std::size_t>(heads);
    a.head_dim = static_cast<std::size_t>(head_dim);
    Guarded<std::uint8_t> keys(a.heads * a.key_bytes());
    Guarded<std::uint8_t> values(a.heads * a.value_bytes());
    Guarded<float> scratch(attention_scratch(a.head_dim));
    Guarded<float> out(t * (width / 3), 5);
    a.keys = keys.data();
    a.values = values.data();
    a.out = out.data();
    a.out_stride = width / 3 * sizeof(float);
    for (std::size_t h = 0; h < a.heads; ++h) {
      kernels().attention_pack(a, h);
      const std::size_t cut = t / 3;
      kernels().attention_rows(a, h, cut, t, scratch.data());
      kernels().attention_rows(a, h, 0, cut, scratch.data());
    }
    for (std::size_t r = 0; r < t; ++r) {
      for (std::size_t i = 0; i < width / 3; ++i) {
        ASSERT_NEAR(out[r * (width / 3) + i], want[r][i], 3e-5) << "tokens=" << tokens << " head_dim=" << head_dim;
      }
    }
    EXPECT_TRUE(keys.intact() && values.intact() && scratch.intact() && out.intact());
  }
}

TEST_P(PerIsa, Bf16AttentionIsAsCloseAsItsRoundings) {
  Rng rng(20);
  for (const auto& [tokens, heads, head_dim, spread] : {std::array<int, 4>{1, 1, 1, 1},
                                                        {2, 3, 5, 1},
                                                        {13, 2, 33, 3},
                                                        {33, 1, 7, 30},
                                                        {255, 1, 4, 1},
                                                        {257, 2, 64, 10},
                                                        {601, 1, 32, 5}}) {
    const auto t = static_cast<std::size_t>(tokens);
    const std::size_t width = 3 * size(heads) * size(head_dim);
    const std::size_t stride = row_bytes(width, Precision::kBf16) / 2 + 2;
    std::vector<std::uint16_t> qkv(t * stride, 0x3333);
    naive::Matrix rows(t, naive::Row(width));
    double largest = 0.0;  // of v
    for (std::size_t r = 0; r < t; ++r) {
      for (std::size_t i = 0; i < width; ++i) {
        const double v = rng.normal() * (i < 2 * width / 3 ? std::sqrt(spread) : 1.0);
        qkv[r * stride + i] = to_bf16(static_cast<float>(v));
        rows[r][i] = from_bf16(qkv[r * stride + i]);
        if (i >= 2 * width / 3) largest = std::max(largest, std::abs(v));
      }
    }
    const naive::Matrix want = naive::attention(rows, heads);
    Attention a;
    a.precision = Precision::kBf16;
    a.qkv = qkv.data();
    a.stride = stride * 2;
    a.tokens = t;
    a.heads = static_cast<std::size_t>(heads);
    a.head_dim = static_cast<std::size_t>(head_dim);
    const std::size_t out_width = row_bytes(width / 3, Precision::kBf16) / 2;
    Guarded<std::uint8_t> keys(a.heads * a.key_bytes());
    Guarded<std::uint8_t> values(a.heads * a.value_bytes());
    Guarded<float> scratch(attention_scratch(a.head_dim));
    Guarded<std::uint16_t> out(t * out_width);
    a.keys = keys.data();
    a.values = values.data();
    a.out = out.data();
    a.out_stride = out_width * 2;
    for (std::size_t h = 0; h < a.heads; ++h) {
      kernels().attention_pack(a, h);
      kernels().attention_rows(a, h, t / 3, t, scratch.data());
      kernels().attention_rows(a, h, 0, t / 3, scratch.data());
    }
    for (std::size_t r = 0; r < t; ++r) {
      for (std::size_t i = 0; i < width / 3; ++i) {
        // Each probability is rounded by 2^-9 of itself, then the result.
        ASSERT_NEAR(from_bf16(out[r * out_width + i]), want[r][i],
                    0x1p-9 * largest + 0x1p-8 * std::abs(want[r][i]) + 1e-4)
            << "tokens=" << tokens << " head_dim=" << head_dim;
      }
      if (width / 3 < out_width) {
        ASSERT_EQ(out[r * out_width + width / 3], 0);
      }
    }
    EXPECT_TRUE(keys.intact() && values.intact() && scratch.intact() && out.intact());
  }
}

TEST(Resample, PlanesEqualTheNaiveOneUpAndDown) {
  Rng rng(18);
  for (const auto& [h, w, oh, ow] :
       {std::array<int, 4>{3, 4, 6, 8}, {3, 4, 3, 4}, {5, 7, 11, 3}, {1, 1, 4, 5}, {9, 8, 2, 1}}) {
    naive::Map map(2, h, w);
    for (double& v : map.data) v = static_cast<float>(rng.normal());
    const std::vector<float> planes(map.data.begin(), map.data.end());
    const naive::Map want = naive::resize_bilinear(map, oh, ow);
    const std::vector<float> got = resize_planes(planes, 2, h, w, oh, ow);
    ASSERT_EQ(got.size(), want.data.size());
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want.data[i], 1e-5);
  }
}

}  // namespace
}  // namespace m3vit
