#pragma once
/// Precisions of a layer's matrices and of the rows they multiply. Biases, norms, positions, routers and the residual
/// stream are f32 in all of them.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace m3vit {

enum class Precision { kF32, kBf16, kInt8 };

/// "f32", "bf16", "int8".
constexpr std::string_view precision_name(Precision p) {
  return p == Precision::kF32 ? "f32" : p == Precision::kBf16 ? "bf16" : "int8";
}
constexpr std::optional<Precision> find_precision(std::string_view name) {
  for (const Precision p : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    if (name == precision_name(p)) return p;
  }
  return std::nullopt;
}

/// Elements of one 4-byte group: what one lane of a register multiplies at a time.
constexpr std::size_t group_of(Precision p) { return p == Precision::kF32 ? 1 : p == Precision::kBf16 ? 2 : 4; }
constexpr std::size_t element_bytes(Precision p) { return 4 / group_of(p); }
constexpr std::size_t groups(std::size_t k, Precision p) { return (k + group_of(p) - 1) / group_of(p); }

/// The upper half of a float, rounded to nearest even; NaN stays NaN.
constexpr std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}
constexpr float from_bf16(std::uint16_t value) { return std::bit_cast<float>(std::uint32_t{value} << 16U); }

}  // namespace m3vit
