#include "runtime/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace m3vit {
namespace {

static_assert(std::endian::native == std::endian::little, "the .m3v format is read in place: little-endian machines");

constexpr std::uint32_t kPolynomial = 0x82F63B78U;
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

// Eight bytes a step (Intel's slicing-by-8): table[j][b] is the CRC of byte b followed by j zero bytes.
constexpr Tables make_tables() {
  Tables t{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? kPolynomial : 0U);
    t[0][b] = crc;
  }
  for (std::size_t j = 1; j < 8; ++j) {
    for (std::size_t b = 0; b < 256; ++b) t[j][b] = (t[j - 1][b] >> 8U) ^ t[0][t[j - 1][b] & 0xFFU];
  }
  return t;
}
constexpr Tables kTables = make_tables();

// Of the register, without the inversions at either end.
std::uint32_t by_table(const std::byte* at, std::size_t left, std::uint32_t crc) {
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    word ^= crc;
    crc = 0;
    for (std::size_t j = 0; j < 8; ++j) crc ^= kTables[7 - j][(word >> (8 * j)) & 0xFFU];
  }
  for (; left > 0; ++at, --left) crc = (crc >> 8U) ^ kTables[0][(crc ^ std::to_integer<std::uint32_t>(*at)) & 0xFFU];
  return crc;
}

#if defined(__x86_64__) || (defined(__aarch64__) && defined(__linux__))
#define M3VIT_CRC_INSTRUCTION
#if defined(__x86_64__)
#define M3VIT_CRC_TARGET __attribute__((target("sse4.2")))
#elif defined(__clang__)
#define M3VIT_CRC_TARGET __attribute__((target("crc")))
#else
#define M3VIT_CRC_TARGET __attribute__((target("+crc")))
#endif

// The instruction answers after three cycles and can begin each cycle: three runs of kRun bytes at once, joined by
// "append kRun zero bytes", which is linear in the register: a table for each of its bytes.
constexpr std::size_t kRun = 4096;
using Matrix = std::array<std::uint32_t, 32>;  // column i: what bit i becomes

constexpr std::uint32_t times(const Matrix& m, std::uint32_t bits) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; bits != 0; ++i, bits >>= 1U) {
    if ((bits & 1U) != 0) sum ^= m[i];
  }
  return sum;
}

constexpr std::array<std::array<std::uint32_t, 256>, 4> make_run_tables() {
  Matrix m{};
  m[0] = kPolynomial;  // one zero bit
  for (std::size_t i = 1; i < 32; ++i) m[i] = std::uint32_t{1} << (i - 1);
  for (std::size_t bits = 1; bits < 8 * kRun; bits *= 2) {
    Matrix square{};
    for (std::size_t i = 0; i < 32; ++i) square[i] = times(m, m[i]);
    m = square;
  }
  std::array<std::array<std::uint32_t, 256>, 4> t{};
  for (std::size_t j = 0; j < 4; ++j) {
    for (std::uint32_t b = 0; b < 256; ++b) t[j][b] = times(m, b << (8 * j));
  }
  return t;
}
constexpr auto kRunTables = make_run_tables();

std::uint32_t after_run(std::uint32_t crc) {
  return kRunTables[0][crc & 0xFFU] ^ kRunTables[1][crc >> 8U & 0xFFU] ^ kRunTables[2][crc >> 16U & 0xFFU] ^
         kRunTables[3][crc >> 24U];
}

M3VIT_CRC_TARGET inline std::uint32_t eight(std::uint32_t crc, const std::byte* at) {
  std::uint64_t word = 0;
  std::memcpy(&word, at, 8);
#if defined(__x86_64__)
  return static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
#else
  return __crc32cd(crc, word);
#endif
}

M3VIT_CRC_TARGET std::uint32_t by_instruction(const std::byte* at, std::size_t left, std::uint32_t crc) {
  for (; left >= 3 * kRun; at += 3 * kRun, left -= 3 * kRun) {
    std::uint32_t second = 0;
    std::uint32_t third = 0;
    for (std::size_t i = 0; i < kRun; i += 8) {
      crc = eight(crc, at + i);
      second = eight(second, at + kRun + i);
      third = eight(third, at + 2 * kRun + i);
    }
    crc = after_run(after_run(crc) ^ second) ^ third;
  }
  for (; left >= 8; at += 8, left -= 8) crc = eight(crc, at);
  return by_table(at, left, crc);
}

bool has_instruction() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2") != 0;
#else
  return (::getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#endif
}
#endif

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
#ifdef M3VIT_CRC_INSTRUCTION
  static const bool fast = has_instruction();
  if (fast) return ~by_instruction(bytes.data(), bytes.size(), ~crc);
#endif
  return crc32c_by_table(bytes, crc);
}

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc) {
  return ~by_table(bytes.data(), bytes.size(), ~crc);
}

}  // namespace m3vit
