#pragma once
/// Element types of stored tensors, and the two 16-bit float conversions.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace m3vit {

enum class Dtype { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kBool };

std::size_t dtype_bytes(Dtype d);
/// safetensors spelling: "F32", "F16", "BF16", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL".
std::string_view dtype_name(Dtype d);
std::optional<Dtype> find_dtype(std::string_view name);

inline float bf16_to_f32(std::uint16_t b) { return std::bit_cast<float>(static_cast<std::uint32_t>(b) << 16U); }
/// Round to nearest even; NaN stays NaN.
std::uint16_t f32_to_bf16(float f);
float f16_to_f32(std::uint16_t h);

}  // namespace m3vit
