#pragma once
/// NumPy `.npy` (versions 1–3), little-endian, float32 arrays as [dims…], last index fastest: raw tensors in and out.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace m3vit {

struct NpyArray {
  std::vector<std::int64_t> shape;
  std::vector<float> data;
};

/// Reads f4 (also f2, f8, i1…i8, u1…u8, b1, converted) in C and Fortran order. Every size is checked against the file.
/// Throws Error.
NpyArray read_npy(const std::filesystem::path& path);
NpyArray parse_npy(std::span<const std::byte> bytes, const std::string& where);
/// Atomic. `data.size()` must equal the product of `shape`.
void write_npy(const std::filesystem::path& path, std::span<const std::int64_t> shape, std::span<const float> data);

}  // namespace m3vit
