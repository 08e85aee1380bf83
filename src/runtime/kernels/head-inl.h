// The head's element-wise parts: tails of convolutions, bilinear ×2, class maps. Included once per Highway target.
#if defined(M3VIT_RUNTIME_KERNELS_HEAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef M3VIT_RUNTIME_KERNELS_HEAD_INL_H_
#undef M3VIT_RUNTIME_KERNELS_HEAD_INL_H_
#else
#define M3VIT_RUNTIME_KERNELS_HEAD_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>

#include "runtime/kernels/kernels.h"
#include "runtime/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {

template <bool kBf16>
HWY_INLINE void StorePixel(hn::Vec<Tag> v, std::byte* pixel, std::size_t channel) {
  if constexpr (kBf16) {
    StoreBf16Vector(v, reinterpret_cast<std::uint16_t*>(pixel) + channel);
  } else {
    hn::StoreU(v, Tag(), reinterpret_cast<float*>(pixel) + channel);
  }
}

template <bool kBf16>
void ConvTailOf(const ConvTail& t, std::size_t panel, int begin, int end) {
  const Tag d;
  const auto first = static_cast<std::size_t>(begin);
  for (std::size_t i = 0; i < kPanel; i += hn::Lanes(d)) {
    const float* HWY_RESTRICT sums = t.sums + (panel * static_cast<std::size_t>(t.width) + first) * kPanel + i;
    const auto bias = hn::LoadU(d, t.bias + panel * kPanel + i);
    auto* to = static_cast<std::byte*>(t.to) + first * t.stride;
    for (int x = begin; x < end; ++x, sums += kPanel, to += t.stride) {
      StorePixel<kBf16>(hn::Max(hn::Add(hn::LoadU(d, sums), bias), hn::Zero(d)), to, panel * kPanel + i);
    }
  }
}

inline void ConvTailRow(const ConvTail& t, std::size_t panel, int begin, int end) {
  t.bf16 ? ConvTailOf<true>(t, panel, begin, end) : ConvTailOf<false>(t, panel, begin, end);
}

/// Both output lines at one column of products, times 4.
struct LinePair {
  hn::Vec<Tag> upper, lower;
};

HWY_INLINE LinePair Vertical(const CommutedTail& t, std::size_t at) {
  const Tag d;
  const auto three = hn::Set(d, 3.0F);
  const auto before_odd = hn::LoadU(d, t.before_odd + at);
  const auto even = hn::LoadU(d, t.even + at);
  const auto odd = hn::LoadU(d, t.odd + at);
  auto upper = hn::MulAdd(three, hn::Add(before_odd, even), hn::Add(hn::LoadU(d, t.before_even + at), odd));
  auto lower = hn::MulAdd(three, hn::Add(even, odd), hn::Add(before_odd, hn::LoadU(d, t.after_even + at)));
  if (t.first != nullptr) {
    const auto first = hn::LoadU(d, t.first + at);
    upper = hn::Sub(upper, first);
    lower = hn::Add(lower, first);
  }
  if (t.last != nullptr) {
    const auto last = hn::LoadU(d, t.last + at);
    upper = hn::Add(upper, last);
    lower = hn::Sub(lower, last);
  }
  return {upper, lower};
}

template <bool kBf16>
void CommutedTailOf(const CommutedTail& t, std::size_t panel, int begin, int end) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto w = static_cast<std::size_t>(t.width);
  const auto three = hn::Set(d, 3.0F);
  const auto sixteenth = hn::Set(d, 0.0625F);
  const auto zero = hn::Zero(d);
  for (std::size_t i = 0; i < kPanel; i += lanes) {
    const std::size_t evens = panel * (2 * w + 3) * kPanel + i;
    const std::size_t odds = evens + w * kPanel;  // column j is at j + 2
    const std::size_t channel = panel * kPanel + i;
    const auto bias = hn::LoadU(d, t.bias + channel);
    const auto store = [&](hn::Vec<Tag> sum, std::byte* to) HWY_ATTR {
      StorePixel<kBf16>(hn::Max(hn::MulAdd(sum, sixteenth, bias), zero), to, channel);
    };
    const auto b = static_cast<std::size_t>(begin);
    LinePair before = Vertical(t, evens + (b == 0 ? b : b - 1) * kPanel);
    LinePair before_odd = Vertical(t, odds + (b + 1) * kPanel);
    LinePair even = Vertical(t, evens + b * kPanel);
    auto* upper = static_cast<std::byte*>(t.upper) + 2 * b * t.stride;
    auto* lower = static_cast<std::byte*>(t.lower) + 2 * b * t.stride;
    for (std::size_t j = b; j < static_cast<std::size_t>(end); ++j) {
      const LinePair odd = Vertical(t, odds + (j + 2) * kPanel);
      const LinePair after = j + 1 < w ? Vertical(t, evens + (j + 1) * kPanel) : even;
      auto upper_left = hn::MulAdd(three, hn::Add(before_odd.upper, even.upper), hn::Add(before.upper, odd.upper));
      auto upper_right = hn::MulAdd(three, hn::Add(even.upper, odd.upper), hn::Add(before_odd.upper, after.upper));
      auto lower_left = hn::MulAdd(three, hn::Add(before_odd.lower, even.lower), hn::Add(before.lower, odd.lower));
      auto lower_right = hn::MulAdd(three, hn::Add(even.lower, odd.lower), hn::Add(before_odd.lower, after.lower));
      if (HWY_UNLIKELY(j == 0)) {
        const LinePair first = Vertical(t, odds);
        upper_left = hn::Sub(upper_left, first.upper);
        upper_right = hn::Add(upper_right, first.upper);
        lower_left = hn::Sub(lower_left, first.lower);
        lower_right = hn::Add(lower_right, first.lower);
      }
      if (HWY_UNLIKELY(j + 1 == w)) {
        const LinePair last = Vertical(t, odds + (w + 2) * kPanel);
        upper_left = hn::Add(upper_left, last.upper);
        upper_right = hn::Sub(upper_right, last.upper);
        lower_left = hn::Add(lower_left, last.lower);
        lower_right = hn::Sub(lower_right, last.lower);
      }
      store(upper_left, upper);
      store(upper_right, upper + t.stride);
      store(lower_left, lower);
      store(lower_right, lower + t.stride);
      upper += 2 * t.stride;
      lower += 2 * t.stride;
      before = even;
      before_odd = odd;
      even = after;
    }
  }
}

inline void CommutedTailRows(const CommutedTail& t, std::size_t panel, int begin, int end) {
  t.bf16 ? CommutedTailOf<true>(t, panel, begin, end) : CommutedTailOf<false>(t, panel, begin, end);
}

/// 16-lane groups of u8 with a bias of 128.
HWY_INLINE hn::Vec<Tag> LoadUnbiased(const std::uint8_t* p) {
  const hn::Rebind<std::uint8_t, Tag> d8;
  const hn::RebindToSigned<Tag> di;
  const auto wide = hn::PromoteTo(di, hn::LoadU(d8, p));
  return hn::ConvertTo(Tag(), hn::Sub(wide, hn::Set(di, 128)));
}

template <Precision kPrecision>
HWY_INLINE hn::Vec<Tag> LoadPixel(const void* line, const float* scales, std::size_t pixel, std::size_t stride,
                                  std::size_t channel) {
  const std::byte* at = static_cast<const std::byte*>(line) + pixel * stride;
  if constexpr (kPrecision == Precision::kInt8) {
    const auto* q = reinterpret_cast<const std::uint8_t*>(at) + channel;
    return hn::Mul(LoadUnbiased(q), hn::Set(Tag(), scales[pixel]));
  } else {
    return LoadFloats<kPrecision>(at, channel);
  }
}

template <Precision kPrecision>
void UpsampleRowOf(const UpsampleRow& u, int begin, int end) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  auto* to = reinterpret_cast<std::byte*>(u.to);
  for (int x = begin; x < end; ++x, to += u.to_stride) {
    const auto left = static_cast<std::size_t>(x == 0 ? 0 : (x - 1) / 2);
    const std::size_t right = std::min(left + (x == 0 ? 0U : 1U), static_cast<std::size_t>(u.width) - 1);
    const float across = x == 0 ? 0.0F : x % 2 == 0 ? 0.75F : 0.25F;
    const auto upper_left = hn::Set(d, (1 - u.fraction) * (1 - across));
    const auto upper_right = hn::Set(d, (1 - u.fraction) * across);
    const auto lower_left = hn::Set(d, u.fraction * (1 - across));
    const auto lower_right = hn::Set(d, u.fraction * across);
    for (std::size_t i = 0; i < u.channels; i += lanes) {
      auto sum = hn::Mul(upper_left, LoadPixel<kPrecision>(u.a, u.a_scale, left, u.stride, i));
      sum = hn::MulAdd(upper_right, LoadPixel<kPrecision>(u.a, u.a_scale, right, u.stride, i), sum);
      sum = hn::MulAdd(lower_left, LoadPixel<kPrecision>(u.b, u.b_scale, left, u.stride, i), sum);
      sum = hn::MulAdd(lower_right, LoadPixel<kPrecision>(u.b, u.b_scale, right, u.stride, i), sum);
      hn::StoreU(sum, d, reinterpret_cast<float*>(to) + i);
    }
  }
}

inline void UpsampleLine(const UpsampleRow& u, int begin, int end) {
  switch (u.precision) {
    case Precision::kF32:
      return UpsampleRowOf<Precision::kF32>(u, begin, end);
    case Precision::kBf16:
      return UpsampleRowOf<Precision::kBf16>(u, begin, end);
    case Precision::kInt8:
      return UpsampleRowOf<Precision::kInt8>(u, begin, end);
  }
}

inline void DoubleLine(const float* a, const float* b, float fraction, int width, float* HWY_RESTRICT temporary,
                       float* HWY_RESTRICT to) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto w = static_cast<std::size_t>(width);
  const float keep = 1 - fraction;
  for (std::size_t x = 0; x < w; ++x) temporary[x + 1] = keep * a[x] + fraction * b[x];
  temporary[0] = temporary[1];
  temporary[w + 1] = temporary[w];
  const auto quarter = hn::Set(d, 0.25F);
  const auto three_quarters = hn::Set(d, 0.75F);
  std::size_t x = 0;
  for (; x + lanes <= w; x += lanes) {
    const auto centre = hn::Mul(three_quarters, hn::LoadU(d, temporary + x + 1));
    const auto left = hn::MulAdd(quarter, hn::LoadU(d, temporary + x), centre);
    const auto right = hn::MulAdd(quarter, hn::LoadU(d, temporary + x + 2), centre);
    hn::StoreInterleaved2(left, right, d, to + 2 * x);
  }
  for (; x < w; ++x) {
    const float centre = 0.75F * temporary[x + 1];
    to[2 * x] = 0.25F * temporary[x] + centre;
    to[2 * x + 1] = 0.25F * temporary[x + 2] + centre;
  }
}

/// Past the caches where `to` is aligned: the caller reads a whole output only after all of it is written.
inline void StreamLine(const float* HWY_RESTRICT from, std::size_t n, float* HWY_RESTRICT to) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i < n && reinterpret_cast<std::uintptr_t>(to + i) % (lanes * sizeof(float)) != 0; ++i) to[i] = from[i];
  for (; i + lanes <= n; i += lanes) hn::Stream(hn::LoadU(d, from + i), d, to + i);
  for (; i < n; ++i) to[i] = from[i];
  hwy::FlushStream();
}

inline void ArgmaxLine(const float* HWY_RESTRICT value, std::size_t n, std::size_t channel, float* HWY_RESTRICT best,
                       float* HWY_RESTRICT winner) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto c = static_cast<float>(channel);
  if (channel == 0) {
    std::copy_n(value, n, best);
    std::fill_n(winner, n, 0.0F);
    return;
  }
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, value + i);
    const auto b = hn::LoadU(d, best + i);
    const auto better = hn::Gt(v, b);
    hn::StoreU(hn::IfThenElse(better, v, b), d, best + i);
    hn::StoreU(hn::IfThenElse(better, hn::Set(d, c), hn::LoadU(d, winner + i)), d, winner + i);
  }
  for (; i < n; ++i) {
    if (!(value[i] > best[i])) continue;
    best[i] = value[i];
    winner[i] = c;
  }
}

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
