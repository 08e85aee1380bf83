#include "runtime/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

namespace m3vit {
namespace {

static_assert(std::endian::native == std::endian::little, "the .m3v format is read in place: little-endian machines");

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

// Eight bytes a step (Intel's slicing-by-8): table[j][b] is the CRC of byte b followed by j zero bytes.
constexpr Tables make_tables() {
  Tables t{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
    t[0][b] = crc;
  }
  for (std::size_t j = 1; j < 8; ++j) {
    for (std::size_t b = 0; b < 256; ++b) t[j][b] = (t[j - 1][b] >> 8U) ^ t[0][t[j - 1][b] & 0xFFU];
  }
  return t;
}
constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
  crc = ~crc;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    word ^= crc;
    crc = 0;
    for (std::size_t j = 0; j < 8; ++j) crc ^= kTables[7 - j][(word >> (8 * j)) & 0xFFU];
  }
  for (; left > 0; ++at, --left) crc = (crc >> 8U) ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(*at)) & 0xFFU];
  return ~crc;
}

}  // namespace m3vit
