#pragma once
/// The accelerator's arithmetic (docs/accelerator.md §3), one function a formula. The RTL is compared with these bit
/// for bit, and everything else of the golden model calls them: a rule of rounding or clamping stands here or nowhere.
/// Header only, no allocation, no dependency.
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>

namespace m3vit::accel {

/// x / 2^s, rounded half up (−1.5 → −1); 0 ≤ s ≤ 62.
constexpr std::int64_t rshift(std::int64_t x, int s) { return s == 0 ? x : (x + (std::int64_t{1} << (s - 1))) >> s; }
static_assert(rshift(3, 1) == 2 && rshift(-3, 1) == -1 && rshift(-1, 1) == 0 && rshift(-5, 2) == -1);

/// −127 … 127, never −128: two products share one multiplier whose low field would overflow.
constexpr std::int8_t sat8(std::int64_t x) { return static_cast<std::int8_t>(x < -127 ? -127 : x > 127 ? 127 : x); }
/// −32767 … 32767.
constexpr std::int16_t sat16(std::int64_t x) {
  return static_cast<std::int16_t>(x < -32767 ? -32767 : x > 32767 ? 32767 : x);
}

/// One output channel's parameters, 64 bits in DDR and in a lane.
struct Param {
  std::int32_t bias = 0;
  std::uint16_t mul = 0;   ///< in the norm unit: int16
  std::uint8_t shift = 0;  ///< 0 … 47

  constexpr std::uint64_t bits() const {
    return std::uint64_t{static_cast<std::uint32_t>(bias)} | std::uint64_t{mul} << 32U | std::uint64_t{shift} << 48U;
  }
  static constexpr Param from_bits(std::uint64_t b) {
    return {static_cast<std::int32_t>(static_cast<std::uint32_t>(b)), static_cast<std::uint16_t>(b >> 32U),
            static_cast<std::uint8_t>(b >> 48U & 63U)};
  }
  bool operator==(const Param&) const = default;
};
static_assert(Param::from_bits(Param{-5, 65535, 47}.bits()) == Param{-5, 65535, 47});

/// The post unit's first step, not clamped.
constexpr std::int64_t requantise(std::int32_t acc, const Param& p) {
  return rshift((std::int64_t{acc} + p.bias) * p.mul, p.shift);
}

enum class Act : std::uint8_t { kNone, kRelu, kTable };
/// int8 → int8, index q + 128.
using ActTable = std::array<std::int8_t, 256>;

constexpr std::int8_t activate(std::int8_t q, Act act, const ActTable& table) {
  if (act == Act::kRelu) return q < 0 ? std::int8_t{0} : q;
  return act == Act::kTable ? table[static_cast<std::size_t>(q + 128)] : q;
}

inline constexpr std::uint16_t kGateOne = 32768;  ///< gate weight 1

/// What a requantised value adds to the residual.
constexpr std::int32_t gated(std::int64_t y, std::uint16_t g) {
  return static_cast<std::int32_t>(rshift(std::int64_t{sat16(y)} * g, 15));
}
/// Residual + contribution; `clamped` counts.
constexpr std::int16_t add_residual(std::int16_t x, std::int32_t add, std::uint64_t& clamped) {
  const std::int32_t sum = x + add;
  if (sum != sat16(sum)) ++clamped;
  return sat16(sum);
}

/// round(127 · 2^(−f/32)).
inline constexpr std::array<std::uint8_t, 32> kExp2 = {127, 124, 122, 119, 116, 114, 112, 109, 107, 105, 102,
                                                       100, 98,  96,  94,  92,  90,  88,  86,  84,  82,  81,
                                                       79,  77,  76,  74,  72,  71,  69,  68,  66,  65};
/// Softmax numerator of a score d/32 octaves under the row's largest: 0 … 127.
constexpr std::uint8_t softmax_weight(std::int32_t d) {
  assert(d >= 0);
  return d > 255 ? 0 : static_cast<std::uint8_t>(rshift(kExp2[static_cast<std::size_t>(d & 31)], d >> 5));
}

/// mul / 2^(shift) ≈ G / S up to a power of two: S · 2^n in [2^25, 2^26), r = ⌊G · 2^26 / (S · 2^n)⌋.
struct Reciprocal {
  std::uint16_t r = 0;
  int n = 0;
};
/// 1 ≤ s < 2^26, 2^14 ≤ gain < 2^15.
constexpr Reciprocal reciprocal(std::uint32_t s, std::uint32_t gain) {
  assert(s > 0 && s < (1U << 26U) && gain >= (1U << 14U) && gain < (1U << 15U));
  const int n = 26 - std::bit_width(s);
  const std::uint64_t scaled = std::uint64_t{s} << static_cast<unsigned>(n);
  return {static_cast<std::uint16_t>((std::uint64_t{gain} << 26U) / scaled), n};
}
static_assert(reciprocal(1U << 15U, 1U << 14U).r == 32768 && reciprocal(1U << 15U, 1U << 14U).n == 10);

/// ⌊√v⌋, v < 2^56: one bit of the root a step, as the unit does it.
constexpr std::uint32_t isqrt(std::uint64_t v) {
  std::uint64_t root = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 54U; bit != 0; bit >>= 2U) {
    if (v >= root + bit) {
      v -= root + bit;
      root = (root >> 1U) + bit;
    } else {
      root >>= 1U;
    }
  }
  return static_cast<std::uint32_t>(root);
}
static_assert(isqrt(0) == 0 && isqrt(15) == 3 && isqrt(16) == 4 && isqrt((std::uint64_t{1} << 56U) - 1) == 268435455);

/// r / 2^43 · 2^m ≈ 1 / √v: v · 4^m in [2^54, 2^56), r = ⌊2^43 / ⌊√(v · 4^m)⌋⌋, at most 65535.
struct InverseSqrt {
  std::uint16_t r = 0;
  int m = 0;
};
/// 1 ≤ v < 2^56.
constexpr InverseSqrt inverse_sqrt(std::uint64_t v) {
  assert(v > 0 && v < (std::uint64_t{1} << 56U));
  const int m = (56 - std::bit_width(v)) / 2;
  const std::uint64_t r = (std::uint64_t{1} << 43U) / isqrt(v << static_cast<unsigned>(2 * m));
  return {static_cast<std::uint16_t>(r > 65535 ? 65535 : r), m};
}

/// A row's sums for the norm unit.
struct RowStats {
  std::int64_t sum = 0;      ///< Σ x
  std::int64_t squares = 0;  ///< Σ x²
};
constexpr InverseSqrt norm_scale(const RowStats& s, int channels, std::uint32_t eps) {
  return inverse_sqrt(static_cast<std::uint64_t>(channels * s.squares - s.sum * s.sum) + eps);
}
/// (x − mean) / std, 10 fraction bits.
constexpr std::int16_t normalise(std::int16_t x, const RowStats& s, int channels, InverseSqrt scale) {
  return sat16(rshift((std::int64_t{channels} * x - s.sum) * scale.r, 33 - scale.m));
}
/// y of the norm unit; `p.mul` is signed.
constexpr std::int8_t norm_affine(std::int16_t z, const Param& p, int shift) {
  return sat8(rshift(std::int64_t{z} * static_cast<std::int16_t>(p.mul) + p.bias, shift));
}

/// round(2^15 · 2^(−f/256)).
using GateTable = std::array<std::uint16_t, 256>;

/// Router softmax numerator of a logit `below` under the row's largest (unsigned difference of int32).
constexpr std::uint16_t gate_weight(std::uint32_t below, std::uint16_t mul, int shift, const GateTable& table) {
  std::uint64_t d = (std::uint64_t{below} * mul) >> static_cast<unsigned>(shift);
  if (d > 65535) d = 65535;
  const std::uint64_t octaves = d >> 8U;
  return octaves > 15 ? std::uint16_t{0} : static_cast<std::uint16_t>(table[d & 255U] >> octaves);
}
/// Numerator and the reciprocal of the sum → gate weight.
constexpr std::uint16_t gate_share(std::uint16_t numerator, Reciprocal sum) {
  const std::int64_t g = rshift(std::int64_t{numerator} * sum.r, 25 - sum.n);
  return static_cast<std::uint16_t>(g > kGateOne ? kGateOne : g);
}

/// Bilinear ×2: near 3/4, far 1/4, along both axes.
constexpr std::int8_t upsample(int near_near, int near_far, int far_near, int far_far) {
  return static_cast<std::int8_t>((9 * near_near + 3 * near_far + 3 * far_near + far_far + 8) >> 4);
}
static_assert(upsample(-127, -127, -127, -127) == -127 && upsample(127, 127, 127, 127) == 127);

}  // namespace m3vit::accel
