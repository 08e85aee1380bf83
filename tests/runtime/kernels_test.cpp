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
#include "runtime/resample.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

constexpr float kCanary = -12345.678F;

/// `n` floats at `offset` floats past a 64-byte boundary, with canaries on both sides.
class Guarded {
 public:
  Guarded(std::size_t n, std::size_t offset, float fill = kCanary) : n_(n), data_(n + 2 * kBorder + 16, kCanary) {
    const auto address = reinterpret_cast<std::uintptr_t>(data_.data() + kBorder);
    begin_ = kBorder + (64 - address % 64) % 64 / sizeof(float) + offset % 16;
    if (begin_ + n_ + kBorder > data_.size()) data_.resize(begin_ + n_ + kBorder, kCanary);
    std::fill_n(data(), n_, fill);
  }
  float* data() { return data_.data() + begin_; }
  float operator[](std::size_t i) const { return data_[begin_ + i]; }
  bool intact() const {
    for (std::size_t i = 0; i < data_.size(); ++i) {
      if ((i < begin_ || i >= begin_ + n_) && data_[i] != kCanary) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kBorder = 64;
  std::size_t n_, begin_ = 0;
  std::vector<float> data_;
};

std::vector<float> random_floats(std::size_t n, Rng& rng) {
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(rng.normal());
  return v;
}

/// w [n][k] into panels.
std::vector<float> pack(const std::vector<float>& w, std::size_t k, std::size_t n) {
  std::vector<float> panels_of_w(packed_floats(k, n), 0.0F);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = 0; i < k; ++i) panels_of_w[((j / kPanel) * k + i) * kPanel + j % kPanel] = w[j * k + i];
  }
  return panels_of_w;
}

double dot_bound(std::size_t k, double sum_of_magnitudes) {
  const double ku = static_cast<double>(k + 4) * 0x1p-24;
  return ku / (1 - ku) * sum_of_magnitudes + 1e-30;
}

TEST(Isas, BestFirstScalarLastUnknownRefused) {
  const auto& isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.back().name, "scalar");
  EXPECT_EQ(&find_isa(""), &isas.front());
  EXPECT_EQ(find_isa("scalar").name, "scalar");
  EXPECT_THROW(find_isa("sse9"), Error);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd")) {
    EXPECT_EQ(isas.front().name, "avx512");
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    EXPECT_EQ(isas.front().name, "avx2");
  }
#endif
}

class PerIsa : public ::testing::TestWithParam<Isa> {
 protected:
  const Kernels& kernels() const { return *GetParam().kernels; }
};
INSTANTIATE_TEST_SUITE_P(All, PerIsa, ::testing::ValuesIn(available_isas()),
                         [](const auto& param) { return std::string(param.param.name); });

struct GemmCase {
  std::size_t m, n, k, segments;
};

const std::vector<GemmCase>& gemm_cases() {
  static const std::vector<GemmCase> cases = [] {
    std::vector<GemmCase> all;
    for (const std::size_t m : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 29}) {
      for (const std::size_t n : {1, 31, 32, 33, 67}) all.push_back({m, n, 17, 1});
    }
    for (const std::size_t n : {2, 7, 8, 9, 15, 16, 17, 48, 64, 96}) all.push_back({13, n, 5, 1});
    for (const std::size_t k : {1, 2, 3, 64, 129}) all.push_back({14, 40, k, 1});
    all.push_back({25, 35, 6, 9});
    all.push_back({97, 33, 3, 4});
    return all;
  }();
  return cases;
}

TEST_P(PerIsa, GemmEqualsLoopsForEveryEpilogueAndTileEdge) {
  Rng rng(11);
  for (const GemmCase& c : gemm_cases()) {
    const std::size_t k = c.k * c.segments;
    const std::size_t stride = k + 3;
    const std::size_t pool = c.m + 4;  // rows to gather from
    const std::vector<float> a = random_floats(pool * stride, rng);
    const std::vector<float> w = random_floats(c.n * k, rng);
    const std::vector<float> b = pack(w, k, c.n);
    const std::vector<float> bias = random_floats(c.n, rng);
    const std::vector<float> scale = random_floats(c.m, rng);
    std::vector<std::int32_t> index(pool);
    std::iota(index.begin(), index.end(), 0);
    for (std::size_t i = pool; i > 1; --i) std::swap(index[i - 1], index[rng.below(i)]);
    for (const auto store : {Epilogue::Store::kSet, Epilogue::Store::kAdd, Epilogue::Store::kScatterAdd}) {
      for (const auto activation :
           {Epilogue::Activation::kNone, Epilogue::Activation::kGelu, Epilogue::Activation::kRelu}) {
        const std::size_t c_stride = c.n + 5;
        const std::vector<float> before = random_floats(pool * c_stride, rng);
        Guarded out(pool * c_stride, c.m + c.n);
        std::copy(before.begin(), before.end(), out.data());
        Gemm g;
        g.m = c.m;
        g.n = c.n;
        g.a.base = a.data();
        g.a.stride = stride;
        g.a.segment_k = k;
        if (store == Epilogue::Store::kScatterAdd) {
          g.a.kind = RowSource::Kind::kIndexed;
          g.a.index = index.data();
          g.out.index = index.data();
          g.out.scale = scale.data();
        }
        g.b = b.data();
        g.out.bias = bias.data();
        g.out.activation = activation;
        g.out.store = store;
        g.out.c = out.data();
        g.out.stride = c_stride;
        kernels().gemm(g, 0, c.m, 0, panels(c.n));

        std::vector<double> want(before.begin(), before.end());
        std::vector<double> bound(want.size(), 0.0);
        for (std::size_t r = 0; r < c.m; ++r) {
          const bool scatter = store == Epilogue::Store::kScatterAdd;
          const std::size_t from = scatter ? static_cast<std::size_t>(index[r]) : r;
          for (std::size_t j = 0; j < c.n; ++j) {
            double v = bias[j];
            double magnitude = std::abs(v);
            for (std::size_t i = 0; i < k; ++i) {
              const double term = double{a[from * stride + i]} * w[j * k + i];
              v += term;
              magnitude += std::abs(term);
            }
            if (activation == Epilogue::Activation::kGelu) v = naive::gelu(v);
            if (activation == Epilogue::Activation::kRelu) v = std::max(v, 0.0);
            double& to = want[from * c_stride + j];
            const double factor = scatter ? double{scale[r]} : 1.0;
            // GELU is 1.13-Lipschitz; its own error is tested apart.
            bound[from * c_stride + j] =
                dot_bound(k, 1.2 * magnitude * std::max(std::abs(factor), 1.0) + std::abs(to)) +
                (activation == Epilogue::Activation::kGelu ? 1e-6 * std::abs(factor) * (1 + std::abs(v)) : 0.0);
            to = store == Epilogue::Store::kSet ? v : to + factor * v;
          }
        }
        for (std::size_t i = 0; i < want.size(); ++i) {
          ASSERT_LE(std::abs(double{out[i]} - want[i]), bound[i])
              << "m=" << c.m << " n=" << c.n << " k=" << k << " store=" << static_cast<int>(store)
              << " activation=" << static_cast<int>(activation) << " at " << i;
        }
        ASSERT_TRUE(out.intact()) << "m=" << c.m << " n=" << c.n;
      }
    }
  }
}

TEST_P(PerIsa, GemmBitsDoNotDependOnTheSplit) {
  Rng rng(12);
  const std::size_t m = 41;
  const std::size_t n = 100;
  const std::size_t k = 77;
  const std::vector<float> a = random_floats(m * k, rng);
  const std::vector<float> b = pack(random_floats(n * k, rng), k, n);
  std::vector<float> whole(m * n);
  std::vector<float> split(m * n);
  Gemm g;
  g.m = m;
  g.n = n;
  g.a.base = a.data();
  g.a.stride = k;
  g.a.segment_k = k;
  g.b = b.data();
  g.out.activation = Epilogue::Activation::kGelu;
  g.out.stride = n;
  g.out.c = whole.data();
  kernels().gemm(g, 0, m, 0, panels(n));
  g.out.c = split.data();
  for (std::size_t row = 0; row < m;) {
    const std::size_t rows = std::min<std::size_t>(1 + rng.below(15), m - row);
    for (std::size_t p = 0; p < panels(n); ++p) kernels().gemm(g, row, row + rows, p, p + 1);
    row += rows;
  }
  EXPECT_EQ(std::memcmp(whole.data(), split.data(), whole.size() * sizeof(float)), 0);
}

TEST_P(PerIsa, ConvolutionEqualsTheNaiveOneAtEveryBorder) {
  Rng rng(13);
  for (const auto& [h, w, in, out_channels] :
       {std::array<int, 4>{1, 1, 3, 2}, {1, 5, 4, 33}, {5, 1, 2, 3}, {2, 2, 1, 1}, {4, 7, 5, 40}}) {
    const auto ci = static_cast<std::size_t>(in);
    const auto co = static_cast<std::size_t>(out_channels);
    naive::Map map(in, h, w);
    naive::Tensor weight{{out_channels, in, 3, 3}, {}};
    naive::Tensor bias{{out_channels}, std::vector<double>(co, 0.0)};
    for (double& v : map.data) v = static_cast<float>(rng.normal());
    for (std::size_t i = 0; i < co * ci * 9; ++i) weight.data.push_back(static_cast<float>(rng.normal()));
    const naive::Map want = naive::conv2d(map, weight, bias);

    std::vector<float> pixels;  // channels last
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        for (int c = 0; c < in; ++c) pixels.push_back(static_cast<float>(map.at(c, y, x)));
      }
    }
    std::vector<float> taps(co * 9 * ci);
    for (std::size_t o = 0; o < co; ++o) {
      for (std::size_t tap = 0; tap < 9; ++tap) {
        for (std::size_t c = 0; c < ci; ++c) {
          taps[(o * 9 + tap) * ci + c] = static_cast<float>(weight.data[(o * ci + c) * 9 + tap]);
        }
      }
    }
    const std::vector<float> b = pack(taps, 9 * ci, co);
    const std::vector<float> zeros(ci, 0.0F);
    Gemm g;
    g.m = size(h) * size(w);
    g.n = co;
    g.a.kind = RowSource::Kind::kConv3x3;
    g.a.base = pixels.data();
    g.a.stride = ci;
    g.a.segments = 9;
    g.a.segment_k = ci;
    g.a.height = h;
    g.a.width = w;
    g.a.zeros = zeros.data();
    g.b = b.data();
    Guarded out(g.m * co, 3);
    g.out.c = out.data();
    g.out.stride = co;
    kernels().gemm(g, 0, g.m, 0, panels(co));
    for (int o = 0; o < out_channels; ++o) {
      for (int p = 0; p < h * w; ++p) {
        EXPECT_NEAR(out[static_cast<std::size_t>(p) * co + static_cast<std::size_t>(o)], want.at(o, p / w, p % w),
                    1e-4);
      }
    }
    EXPECT_TRUE(out.intact());
  }
}

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
      Guarded x(n, n);
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

TEST_P(PerIsa, LayerNormEqualsTheNaiveOne) {
  Rng rng(15);
  for (const std::size_t n : {1, 3, 8, 15, 16, 17, 64, 100}) {
    const std::vector<float> x = random_floats(3 * (n + 2), rng);
    const std::vector<float> weight = random_floats(n, rng);
    const std::vector<float> bias = random_floats(n, rng);
    Guarded y(3 * (n + 1), n);
    kernels().layer_norm(x.data(), n + 2, 3, n, weight.data(), bias.data(), 1e-6F, y.data(), n + 1);
    const naive::Tensor w{{}, {weight.begin(), weight.end()}};
    const naive::Tensor b{{}, {bias.begin(), bias.end()}};
    for (std::size_t r = 0; r < 3; ++r) {
      const float* row = x.data() + r * (n + 2);
      const naive::Row want = naive::layer_norm({row, row + n}, w, b);
      for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(y[r * (n + 1) + i], want[i], 2e-5) << "n=" << n;
      if (r < 2) {
        EXPECT_EQ(y[r * (n + 1) + n], kCanary);
      }
    }
    EXPECT_TRUE(y.intact());
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
    a.stride = stride;
    a.tokens = t;
    a.heads = static_cast<std::size_t>(heads);
    a.head_dim = static_cast<std::size_t>(head_dim);
    Guarded keys(a.heads * a.key_floats(), 0);
    Guarded values(a.heads * a.value_floats(), 0);
    Guarded scratch(attention_scratch(a.head_dim), 0);
    Guarded out(t * (width / 3), 5);
    a.keys = keys.data();
    a.values = values.data();
    a.out = out.data();
    a.out_stride = width / 3;
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

TEST_P(PerIsa, UpsamplingEqualsTheNaiveOne) {
  Rng rng(17);
  for (const auto& [h, w, channels] : {std::array<int, 3>{1, 1, 1}, {1, 4, 3}, {3, 1, 17}, {2, 3, 16}, {5, 4, 33}}) {
    naive::Map map(channels, h, w);
    const auto c = static_cast<std::size_t>(channels);
    std::vector<float> x(size(h) * size(w) * (c + 2));
    for (int p = 0; p < h * w; ++p) {
      for (int i = 0; i < channels; ++i) {
        float& v = x[static_cast<std::size_t>(p) * (c + 2) + static_cast<std::size_t>(i)];
        v = static_cast<float>(rng.normal());
        map.at(i, p / w, p % w) = v;
      }
    }
    const naive::Map want = naive::resize_bilinear(map, 2 * h, 2 * w);
    Guarded y(4 * size(h) * size(w) * c, 9);
    for (int line = 0; line < 2 * h; ++line) {
      kernels().upsample2(x.data(), c + 2, h, w, c, y.data(), c, line, line + 1);
    }
    for (int p = 0; p < 4 * h * w; ++p) {
      for (int i = 0; i < channels; ++i) {
        ASSERT_NEAR(y[static_cast<std::size_t>(p) * c + static_cast<std::size_t>(i)],
                    want.at(i, p / (2 * w), p % (2 * w)), 1e-5);
      }
    }
    EXPECT_TRUE(y.intact());
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
