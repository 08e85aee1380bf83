#pragma once
/// Φ(a) − ½ (Φ: the normal distribution function) as a polynomial in each of 32 intervals of a ≥ 0, for instruction
/// sets that look 32 floats up in one instruction: GELU(x) = x · Φ(x) = x/2 + |x| · (Φ(|x|) − ½). The coefficients are
/// computed by the compiler, by interpolation at Chebyshev nodes.
#include <array>
#include <cstddef>

namespace m3vit::gelu_table {

inline constexpr std::size_t kIntervals = 32;
/// Interval i holds the a nearest to i / kPerUnit; the last holds everything above, where Φ is 1 in float.
inline constexpr double kPerUnit = 5.5;
inline constexpr double kLargest = (kIntervals - 1) / kPerUnit;

/// [degree + 1] rows of coefficients, lowest power first.
template <std::size_t kDegree>
using Table = std::array<std::array<float, kIntervals>, kDegree + 1>;

/// Φ(a) − ½ by its series of positive terms: φ(a) · Σ a^(2n+1) / (1·3·5···(2n+1)).
constexpr double half_erf(double a) {
  double sum = 0.0;
  double term = a;
  for (int n = 1; n < 200; ++n) {
    sum += term;
    term *= a * a / (2 * n + 1);
  }
  // exp(−a²/2) as (exp(−a²/2 / 256))^256.
  const double x = -a * a / 2 / 256;
  double e = 1.0 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6)))));
  for (int i = 0; i < 8; ++i) e *= e;
  return e * 0.39894228040143267794 * sum;
}

template <std::size_t kDegree>
constexpr Table<kDegree> make() {
  static_assert(kDegree == 2 || kDegree == 3);
  constexpr std::size_t kNodes = kDegree + 1;
  constexpr std::array<double, 4> kCubic = {-0.92387953251128674, -0.38268343236508977, 0.38268343236508977,
                                            0.92387953251128674};
  constexpr std::array<double, 3> kQuadratic = {-0.86602540378443865, 0.0, 0.86602540378443865};
  Table<kDegree> table{};
  for (std::size_t i = 0; i + 1 < kIntervals; ++i) {
    std::array<double, kNodes> at{};
    std::array<double, kNodes> difference{};  // Newton's divided differences
    for (std::size_t n = 0; n < kNodes; ++n) {
      at[n] = (static_cast<double>(i) + 0.5 * (kDegree == 3 ? kCubic[n] : kQuadratic[n % 3])) / kPerUnit;
      difference[n] = at[n] < 0 ? -half_erf(-at[n]) : half_erf(at[n]);
    }
    for (std::size_t order = 1; order < kNodes; ++order) {
      for (std::size_t n = kNodes - 1; n >= order; --n) {
        difference[n] = (difference[n] - difference[n - 1]) / (at[n] - at[n - order]);
      }
    }
    std::array<double, kNodes> powers{};
    for (std::size_t n = kNodes; n-- > 0;) {  // powers = powers · (a − at[n]) + difference[n]
      for (std::size_t p = kNodes - 1; p > 0; --p) powers[p] = powers[p - 1] - at[n] * powers[p];
      powers[0] = difference[n] - at[n] * powers[0];
    }
    for (std::size_t p = 0; p < kNodes; ++p) table[p][i] = static_cast<float>(powers[p]);
  }
  table[0][kIntervals - 1] = 0.5F;  // exactly, so that GELU of the smallest float is 0
  return table;
}

alignas(64) inline constexpr Table<3> kCubicTable = make<3>();
alignas(64) inline constexpr Table<2> kQuadraticTable = make<2>();

}  // namespace m3vit::gelu_table
