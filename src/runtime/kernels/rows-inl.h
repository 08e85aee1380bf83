// Element-wise and row-wise parts: GELU, softmax, LayerNorm, bilinear ×2. Included once per Highway target.
#if defined(M3VIT_RUNTIME_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_ROWS_INL_H_
#undef M3VIT_RUNTIME_KERNELS_ROWS_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_ROWS_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "runtime/kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// At most 16 lanes, so that two vectors fit a panel on every target.
using Tag = hn::CappedTag<float, kPanel / 2>;
inline constexpr std::size_t kMaxLanes = kPanel / 2;

/// erf as an odd rational of x on [−4, 4] (beyond it is ±1 in float): the coefficients of Eigen's and XLA's float erf.
/// Within 4e-7 of the truth (tested).
template <class V>
HWY_INLINE V Erf(Tag d, V x) {
  x = hn::Min(hn::Max(x, hn::Set(d, -4.0F)), hn::Set(d, 4.0F));
  const V z = hn::Mul(x, x);
  V p = hn::Set(d, -2.72614225801306e-10F);
  p = hn::MulAdd(p, z, hn::Set(d, 2.77068142495902e-08F));
  p = hn::MulAdd(p, z, hn::Set(d, -2.10102402082508e-06F));
  p = hn::MulAdd(p, z, hn::Set(d, -5.69250639462346e-05F));
  p = hn::MulAdd(p, z, hn::Set(d, -7.34990630326855e-04F));
  p = hn::MulAdd(p, z, hn::Set(d, -2.95459980854025e-03F));
  p = hn::MulAdd(p, z, hn::Set(d, -1.60960333262415e-02F));
  V q = hn::Set(d, -1.45660718464996e-05F);
  q = hn::MulAdd(q, z, hn::Set(d, -2.13374055278905e-04F));
  q = hn::MulAdd(q, z, hn::Set(d, -1.68282697438203e-03F));
  q = hn::MulAdd(q, z, hn::Set(d, -7.37332916720468e-03F));
  q = hn::MulAdd(q, z, hn::Set(d, -1.42647390514189e-02F));
  return hn::Div(hn::Mul(x, p), q);
}

template <class V>
HWY_INLINE V Gelu(Tag d, V x) {
  const V half = hn::Mul(x, hn::Set(d, 0.5F));
  return hn::MulAdd(half, Erf(d, hn::Mul(x, hn::Set(d, 0.70710678118654752F))), half);
}

/// x[i] = f(x[i]), the tail through a buffer: every element takes the same vector path, so equal inputs give equal
/// outputs wherever they stand (ties in the router depend on it).
template <class F>
HWY_INLINE void Map(float* x, std::size_t n, const F& f) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, x + i)), d, x + i);
  if (i == n) return;
  float tail[kMaxLanes] = {};
  std::copy(x + i, x + n, tail);
  hn::StoreU(f(hn::LoadU(d, tail)), d, tail);
  std::copy(tail, tail + (n - i), x + i);
}

inline void GeluRow(float* x, std::size_t n) {
  Map(x, n, [](auto v) HWY_ATTR { return Gelu(Tag(), v); });
}

/// x = exp(x − shift); returns the sum, added up in ascending order of vectors.
inline float ExpRow(float* x, std::size_t n, float shift) {
  const Tag d;
  const auto s = hn::Set(d, shift);
  Map(x, n, [s](auto v) HWY_ATTR {
    const Tag t;
    return hn::Exp(t, hn::Sub(v, s));
  });
  const std::size_t lanes = hn::Lanes(d);
  auto sums = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) sums = hn::Add(sums, hn::LoadU(d, x + i));
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < n; ++i) sum += x[i];
  return sum;
}

inline float MaxRow(const float* x, std::size_t n) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  auto most = hn::Set(d, x[0]);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; i < n; ++i) result = std::max(result, x[i]);
  return result;
}

inline void ScaleRow(float* x, std::size_t n, float factor) {
  const auto f = hn::Set(Tag(), factor);
  Map(x, n, [f](auto v) HWY_ATTR { return hn::Mul(v, f); });
}

inline void SoftmaxRow(float* x, std::size_t n) {
  const float sum = ExpRow(x, n, MaxRow(x, n));
  const auto s = hn::Set(Tag(), sum);
  Map(x, n, [s](auto v) HWY_ATTR { return hn::Div(v, s); });
}

inline void LayerNormRows(const float* x, std::size_t x_stride, std::size_t rows, std::size_t n, const float* weight,
                          const float* bias, float eps, float* y, std::size_t y_stride) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto count = static_cast<float>(n);
  for (std::size_t r = 0; r < rows; ++r, x += x_stride, y += y_stride) {
    auto sums = hn::Zero(d);
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) sums = hn::Add(sums, hn::LoadU(d, x + i));
    float mean = hn::GetLane(hn::SumOfLanes(d, sums));
    for (; i < n; ++i) mean += x[i];
    mean /= count;

    auto squares = hn::Zero(d);
    const auto m = hn::Set(d, mean);
    for (i = 0; i + lanes <= n; i += lanes) {
      const auto v = hn::Sub(hn::LoadU(d, x + i), m);
      squares = hn::MulAdd(v, v, squares);
    }
    float variance = hn::GetLane(hn::SumOfLanes(d, squares));
    for (; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0F / std::sqrt(variance / count + eps);

    const auto s = hn::Set(d, inverse);
    for (i = 0; i + lanes <= n; i += lanes) {
      const auto v = hn::Mul(hn::Sub(hn::LoadU(d, x + i), m), s);
      hn::StoreU(hn::MulAdd(v, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
    }
    for (; i < n; ++i) y[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
  }
}

/// Source lines of output line `at` of a doubled axis of `size`: lower, upper and the upper's weight.
struct DoubledTap {
  std::size_t lower, upper;
  float fraction;
};
HWY_INLINE DoubledTap Doubled(int at, int size) {
  if (at == 0) return {0, 0, 0.0F};
  const int lower = (at - 1) / 2;
  return {static_cast<std::size_t>(lower), static_cast<std::size_t>(std::min(lower + 1, size - 1)),
          at % 2 == 0 ? 0.75F : 0.25F};
}

inline void Upsample2(const float* x, std::size_t x_stride, int height, int width, std::size_t channels, float* y,
                      std::size_t y_stride, int begin, int end) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto w = static_cast<std::size_t>(width);
  for (int line = begin; line < end; ++line) {
    const DoubledTap v = Doubled(line, height);
    for (int column = 0; column < 2 * width; ++column) {
      const DoubledTap u = Doubled(column, width);
      const float* a = x + (v.lower * w + u.lower) * x_stride;
      const float* b = x + (v.lower * w + u.upper) * x_stride;
      const float* c = x + (v.upper * w + u.lower) * x_stride;
      const float* e = x + (v.upper * w + u.upper) * x_stride;
      float* out = y + (static_cast<std::size_t>(line) * 2 * w + static_cast<std::size_t>(column)) * y_stride;
      const float wa = (1 - v.fraction) * (1 - u.fraction);
      const float wb = (1 - v.fraction) * u.fraction;
      const float wc = v.fraction * (1 - u.fraction);
      const float we = v.fraction * u.fraction;
      const auto va = hn::Set(d, wa);
      const auto vb = hn::Set(d, wb);
      const auto vc = hn::Set(d, wc);
      const auto ve = hn::Set(d, we);
      std::size_t i = 0;
      for (; i + lanes <= channels; i += lanes) {
        auto sum = hn::Mul(va, hn::LoadU(d, a + i));
        sum = hn::MulAdd(vb, hn::LoadU(d, b + i), sum);
        sum = hn::MulAdd(vc, hn::LoadU(d, c + i), sum);
        sum = hn::MulAdd(ve, hn::LoadU(d, e + i), sum);
        hn::StoreU(sum, d, out + i);
      }
      for (; i < channels; ++i) out[i] = wa * a[i] + wb * b[i] + wc * c[i] + we * e[i];
    }
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
