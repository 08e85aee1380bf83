#pragma once
/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as iSCSI and ext4 use it: crc32c("123456789") = 0xE3069283.
#include <cstddef>
#include <cstdint>
#include <span>

namespace m3vit {

/// Continues from `crc` (0 to begin): crc32c(b, crc32c(a)) == crc32c(a + b).
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);
/// The same without the CPU's own instruction: what it is tested against.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace m3vit
