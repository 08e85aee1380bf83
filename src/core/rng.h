#pragma once
/// A small counter-seeded generator (SplitMix64; Steele, Lea, Flood 2014). Unlike std::*_distribution its values are
/// the same on every compiler and library, so that "same seed, same bytes" holds across machines.
#include <cmath>
#include <cstdint>
#include <initializer_list>

namespace m3vit {

class Rng {
  __extension__ using Wide = unsigned __int128;  // gcc and clang both have it; -Wpedantic wants the marker

 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}
  /// An independent stream for a tuple such as {seed, epoch, index}.
  Rng(std::initializer_list<std::uint64_t> keys) {
    for (const std::uint64_t k : keys) state_ = mix(state_ ^ mix(k + 0x9E3779B97F4A7C15ULL));
  }

  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15ULL); }
  /// [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }
  double uniform(double lo, double hi) { return lo + (hi - lo) * uniform(); }
  /// 0 … n−1; n > 0.
  std::uint64_t below(std::uint64_t n) { return static_cast<std::uint64_t>((static_cast<Wide>(next()) * n) >> 64U); }
  bool coin(double p) { return uniform() < p; }
  /// Standard normal (Box–Muller; the second value is dropped, which keeps the state one word).
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * uniform());
  }
  std::uint64_t state() const { return state_; }

 private:
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31U);
  }
  std::uint64_t state_ = 0;
};

}  // namespace m3vit
