// Element-wise and row-wise parts: GELU, softmax, LayerNorm, rounding and quantising rows. Included once
// per Highway target.
#if defined(M3VIT_RUNTIME_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_ROWS_INL_H_
#undef M3VIT_RUNTIME_KERNELS_ROWS_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_ROWS_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "runtime/kernels/gelu_table.h"
#include "runtime/kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// At most 16 lanes, so that two vectors fit a panel on every target.
using Tag = hn::CappedTag<float, kPanel / 2>;
inline constexpr std::size_t kMaxLanes = kPanel / 2;

#if HWY_TARGET == HWY_AVX3
template <std::size_t kDegree>
HWY_INLINE hn::Vec<Tag> TableGelu(const gelu_table::Table<kDegree>& table, hn::Vec<Tag> x) {
  const __m512 a = _mm512_abs_ps(x.raw);
  // min_ps gives its second operand when either is NaN: the interval is then any, and a makes the result NaN.
  const __m512 at = _mm512_min_ps(a, _mm512_set1_ps(static_cast<float>(gelu_table::kLargest)));
  // Added to 2^23 · 1.5, a number below 2^22 is rounded to an integer in the low bits; the look-up takes five.
  const __m512 rounded =
      _mm512_fmadd_ps(at, _mm512_set1_ps(static_cast<float>(gelu_table::kPerUnit)), _mm512_set1_ps(12582912.0F));
  const __m512i interval = _mm512_castps_si512(rounded);
  const auto coefficient = [&](std::size_t power) HWY_ATTR {
    const float* const row = table[power].data();
    return _mm512_permutex2var_ps(_mm512_load_ps(row), interval, _mm512_load_ps(row + 16));
  };
  __m512 p = coefficient(kDegree);
  for (std::size_t power = kDegree; power-- > 0;) p = _mm512_fmadd_ps(p, at, coefficient(power));
  return hn::Vec<Tag>{_mm512_fmadd_ps(a, p, _mm512_mul_ps(x.raw, _mm512_set1_ps(0.5F)))};
}
/// Within 4e-7 of the truth (tested).
HWY_INLINE hn::Vec<Tag> Gelu(Tag /*d*/, hn::Vec<Tag> x) { return TableGelu<3>(gelu_table::kCubicTable, x); }
/// Within 1.1e-5, and 2.5e-5 of itself where x > 0: less than bf16 can hold.
HWY_INLINE hn::Vec<Tag> RoughGelu(hn::Vec<Tag> x) { return TableGelu<2>(gelu_table::kQuadraticTable, x); }
#else
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
#endif

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

using Tag16 = hn::Rebind<std::uint16_t, Tag>;
using Tag8 = hn::Rebind<std::int8_t, Tag>;

/// `kPrecision` (f32 or bf16) elements at p + i.
template <Precision kPrecision>
HWY_INLINE hn::Vec<Tag> LoadFloats(const void* p, std::size_t i) {
  if constexpr (kPrecision == Precision::kF32) {
    return hn::LoadU(Tag(), static_cast<const float*>(p) + i);
  } else {
    const hn::RebindToUnsigned<Tag> du;
    const auto bits = hn::PromoteTo(du, hn::LoadU(Tag16(), static_cast<const std::uint16_t*>(p) + i));
    return hn::BitCast(Tag(), hn::ShiftLeft<16>(bits));
  }
}
template <Precision kPrecision>
HWY_INLINE float LoadFloat(const void* p, std::size_t i) {
  if constexpr (kPrecision == Precision::kF32) {
    return static_cast<const float*>(p)[i];
  } else {
    return from_bf16(static_cast<const std::uint16_t*>(p)[i]);
  }
}

/// Rounds to nearest even; the last step of to_bf16 in vectors.
HWY_INLINE void StoreBf16Vector(hn::Vec<Tag> v, std::uint16_t* to) {
  const hn::RebindToUnsigned<Tag> du;
  const hn::RebindToSigned<Tag> di;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1U));
  auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFU)));
  const auto nan = hn::Or(bits, hn::Set(du, 0x400000U));
  rounded = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), nan, rounded);
  hn::StoreU(hn::DemoteTo(Tag16(), hn::BitCast(di, hn::ShiftRight<16>(rounded))), Tag16(), to);
}

template <Precision kPrecision>
HWY_INLINE void StoreFloat(float v, void* p, std::size_t i) {
  if constexpr (kPrecision == Precision::kF32) {
    static_cast<float*>(p)[i] = v;
  } else {
    static_cast<std::uint16_t*>(p)[i] = to_bf16(v);
  }
}

/// n floats to bf16 and a zero up to the end of the last group.
HWY_INLINE void StoreBf16(const float* x, std::size_t n, std::uint16_t* y) {
  const std::size_t lanes = hn::Lanes(Tag());
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) StoreBf16Vector(hn::LoadU(Tag(), x + i), y + i);
  for (; i < n; ++i) y[i] = to_bf16(x[i]);
  if (n % 2 != 0) y[n] = 0;
}

/// 128 + round(v · inverse): biased int8.
HWY_INLINE void StoreInt8Vector(hn::Vec<Tag> v, hn::Vec<Tag> inverse, std::uint8_t* to) {
  const Tag8 d8;
  const hn::RebindToUnsigned<Tag8> du8;
  const auto q = hn::DemoteTo(d8, hn::NearestInt(hn::Mul(v, inverse)));
  hn::StoreU(hn::Xor(hn::BitCast(du8, q), hn::Set(du8, std::uint8_t{128})), du8, to);
}

/// The row vector(i), i in steps of whole vectors and then, for the tail, scalar(i): quantised, padded to whole groups.
/// Returns its scale.
template <class FV, class FS>
HWY_INLINE float StoreInt8Row(std::size_t n, const FV& vector, const FS& scalar, std::uint8_t* y) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t whole = n / lanes * lanes;
  auto most = hn::Zero(d);
  for (std::size_t i = 0; i < whole; i += lanes) most = hn::Max(most, hn::Abs(vector(i)));
  float tail[kMaxLanes] = {};
  for (std::size_t i = whole; i < n; ++i) tail[i - whole] = scalar(i);
  const auto last = hn::LoadU(d, tail);
  const float largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(most, hn::Abs(last))));
  const auto inverse = hn::Set(d, largest > 0.0F ? 127.0F / largest : 0.0F);
  for (std::size_t i = 0; i < whole; i += lanes) StoreInt8Vector(vector(i), inverse, y + i);
  std::uint8_t end[kMaxLanes];
  StoreInt8Vector(last, inverse, end);
  std::copy(end, end + (n - whole), y + whole);
  std::fill(y + n, y + row_bytes(n, Precision::kInt8), std::uint8_t{128});
  return largest > 0.0F ? largest / 127.0F : 0.0F;
}

inline void QuantizeRows(const void* x, bool bf16, std::size_t x_stride, std::size_t rows, std::size_t n,
                         std::uint8_t* y, std::size_t y_stride, float* scale) {
  for (std::size_t r = 0; r < rows; ++r, y += y_stride) {
    const void* const row = static_cast<const std::byte*>(x) + r * x_stride;
    if (bf16) {
      scale[r] = StoreInt8Row(
          n, [row](std::size_t i) HWY_ATTR { return LoadFloats<Precision::kBf16>(row, i); },
          [row](std::size_t i) HWY_ATTR { return LoadFloat<Precision::kBf16>(row, i); }, y);
    } else {
      scale[r] = StoreInt8Row(
          n, [row](std::size_t i) HWY_ATTR { return LoadFloats<Precision::kF32>(row, i); },
          [row](std::size_t i) HWY_ATTR { return LoadFloat<Precision::kF32>(row, i); }, y);
    }
  }
}

inline void ToBf16Rows(const float* x, std::size_t x_stride, std::size_t rows, std::size_t n, std::uint16_t* y,
                       std::size_t y_stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    StoreBf16(reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(x) + r * x_stride), n,
              reinterpret_cast<std::uint16_t*>(reinterpret_cast<std::byte*>(y) + r * y_stride));
  }
}

inline void LayerNormRows(const LayerNorm& l, std::size_t begin, std::size_t end) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t n = l.n;
  const std::size_t whole = n / lanes * lanes;
  const auto count = static_cast<float>(n);
  for (std::size_t r = begin; r < end; ++r) {
    const auto* const x = reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(l.x) + r * l.x_stride);
    auto sums = hn::Zero(d);
    std::size_t i = 0;
    for (; i < whole; i += lanes) sums = hn::Add(sums, hn::LoadU(d, x + i));
    float mean = hn::GetLane(hn::SumOfLanes(d, sums));
    for (; i < n; ++i) mean += x[i];
    mean /= count;

    auto squares = hn::Zero(d);
    const auto m = hn::Set(d, mean);
    for (i = 0; i < whole; i += lanes) {
      const auto v = hn::Sub(hn::LoadU(d, x + i), m);
      squares = hn::MulAdd(v, v, squares);
    }
    float variance = hn::GetLane(hn::SumOfLanes(d, squares));
    for (; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
    const float inverse = 1.0F / std::sqrt(variance / count + l.eps);

    const auto s = hn::Set(d, inverse);
    const float* const weight = l.weight;
    const float* const bias = l.bias;
    const auto vector = [=](std::size_t at) HWY_ATTR {
      const Tag t;
      const auto v = hn::Mul(hn::Sub(hn::LoadU(t, x + at), m), s);
      return hn::MulAdd(v, hn::LoadU(t, weight + at), hn::LoadU(t, bias + at));
    };
    const auto scalar = [=](std::size_t at) { return (x[at] - mean) * inverse * weight[at] + bias[at]; };
    const auto floats = [&](float* to) HWY_ATTR {
      std::size_t at = 0;
      for (; at < whole; at += lanes) hn::StoreU(vector(at), Tag(), to + at);
      for (; at < n; ++at) to[at] = scalar(at);
    };
    if (l.copy != nullptr) {
      floats(reinterpret_cast<float*>(reinterpret_cast<std::byte*>(l.copy) + r * l.copy_stride));
    }
    if (l.y == nullptr) continue;
    std::byte* const y = static_cast<std::byte*>(l.y) + r * l.y_stride;
    switch (l.precision) {
      case Precision::kF32:
        floats(reinterpret_cast<float*>(y));
        break;
      case Precision::kBf16: {
        auto* const to = reinterpret_cast<std::uint16_t*>(y);
        for (i = 0; i < whole; i += lanes) StoreBf16Vector(vector(i), to + i);
        for (; i < n; ++i) to[i] = to_bf16(scalar(i));
        if (n % 2 != 0) to[n] = 0;
        break;
      }
      case Precision::kInt8:
        l.y_scale[r] = StoreInt8Row(n, vector, scalar, reinterpret_cast<std::uint8_t*>(y));
        break;
    }
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
