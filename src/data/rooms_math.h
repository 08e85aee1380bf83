#pragma once
/// Vectors of the `rooms` ray caster. World frame: metres, x right, y up, right-handed. Plain float arithmetic in a
/// fixed order, so that every compiler gives the same bits.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/rng.h"

namespace m3vit::rooms {

inline constexpr float kPi = 3.14159265F;

struct Vec3 {
  float x = 0, y = 0, z = 0;
};

constexpr Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
constexpr Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
constexpr Vec3 operator-(Vec3 a) { return {-a.x, -a.y, -a.z}; }
constexpr Vec3 operator*(Vec3 a, Vec3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
constexpr Vec3 operator*(Vec3 a, float s) { return {a.x * s, a.y * s, a.z * s}; }
constexpr Vec3 operator*(float s, Vec3 a) { return a * s; }
constexpr float dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
constexpr Vec3 cross(Vec3 a, Vec3 b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
inline float length(Vec3 a) { return std::sqrt(dot(a, a)); }
inline Vec3 normalize(Vec3 a) { return a * (1.0F / length(a)); }
constexpr Vec3 lerp(Vec3 a, Vec3 b, float t) { return a + (b - a) * t; }
constexpr float lerp(float a, float b, float t) { return a + (b - a) * t; }
constexpr Vec3 min(Vec3 a, Vec3 b) { return {std::min(a.x, b.x), std::min(a.y, b.y), std::min(a.z, b.z)}; }
constexpr Vec3 max(Vec3 a, Vec3 b) { return {std::max(a.x, b.x), std::max(a.y, b.y), std::max(a.z, b.z)}; }
constexpr float clamp01(float v) { return std::min(std::max(v, 0.0F), 1.0F); }
constexpr float smooth(float lo, float hi, float v) {
  const float t = clamp01((v - lo) / (hi - lo));
  return t * t * (3.0F - 2.0F * t);
}
constexpr float luminance(Vec3 c) { return 0.2126F * c.x + 0.7152F * c.y + 0.0722F * c.z; }

/// Random draws in float. Never pass two draws as arguments of one call: their order is unspecified, so the scene
/// would depend on the compiler. Braced lists and separate statements are ordered.
class Dice {
 public:
  explicit Dice(Rng rng) : rng_(rng) {}
  float uniform(float lo, float hi) { return static_cast<float>(rng_.uniform(lo, hi)); }
  bool coin(double p) { return rng_.coin(p); }
  int below(int n) { return static_cast<int>(rng_.below(static_cast<std::uint64_t>(n))); }
  int between(int lo, int hi) { return lo + below(hi - lo + 1); }  ///< both ends included
  float sign() { return rng_.coin(0.5) ? 1.0F : -1.0F; }
  std::uint32_t bits() { return static_cast<std::uint32_t>(rng_.next() >> 32U); }

 private:
  Rng rng_;
};

}  // namespace m3vit::rooms
