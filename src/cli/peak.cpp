#include "cli/peak.h"

#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>

namespace m3vit {
namespace {

constexpr std::int64_t kRounds = 100000;

// The compiler may neither fold the rounds nor drop their sums. Twelve or more sums in flight hide the latency.
#define M3VIT_PEAK_LOOP(name, attributes, vector, zero, sums, ...) \
  __attribute__((target(attributes))) void name() {                \
    vector s[sums];                                                \
    for (auto& v : s) v = zero();                                  \
    vector a = zero();                                             \
    vector b = zero();                                             \
    asm volatile("" : "+v"(a), "+v"(b));                           \
    for (std::int64_t round = 0; round < kRounds; ++round) {       \
      _Pragma("GCC unroll 24") for (auto& v : s) {                 \
        __VA_ARGS__;                                               \
        asm volatile("" : "+v"(v));                                \
      }                                                            \
    }                                                              \
  }

M3VIT_PEAK_LOOP(f32_avx512, "avx512f", __m512, _mm512_setzero_ps, 24, v = _mm512_fmadd_ps(a, b, v))
M3VIT_PEAK_LOOP(bf16_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps, 24,
                v = _mm512_dpbf16_ps(v, (__m512bh)a, (__m512bh)b))
M3VIT_PEAK_LOOP(int8_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512, 24,
                asm volatile("vpdpbusd %2, %1, %0"
                             : "+v"(v)
                             : "v"(a), "v"(b)))
M3VIT_PEAK_LOOP(f32_avx2, "avx2,fma", __m256, _mm256_setzero_ps, 12, v = _mm256_fmadd_ps(a, b, v))
M3VIT_PEAK_LOOP(int8_avx2, "avx2", __m256i, _mm256_setzero_si256, 12,
                v = _mm256_add_epi32(v, _mm256_madd_epi16(a, _mm256_xor_si256(b, v))))

double rate(void (*loop)(), double operations_a_round) {
  const auto begin = std::chrono::steady_clock::now();
  loop();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return operations_a_round * static_cast<double>(kRounds) / seconds.count();
}

}  // namespace

double measured_peak(std::string_view isa, Precision precision) {
  if (isa == "avx512") {
    switch (precision) {
      case Precision::kF32:
        return rate(f32_avx512, 24 * 16 * 2);
      case Precision::kBf16:
        return __builtin_cpu_supports("avx512bf16") != 0 ? rate(bf16_avx512, 24 * 32 * 2)
                                                         : rate(f32_avx512, 24 * 16 * 2);
      case Precision::kInt8:
        return __builtin_cpu_supports("avx512vnni") != 0 ? rate(int8_avx512, 24 * 64 * 2) : 0.0;
    }
  }
  if (isa == "avx512_plain" && precision != Precision::kInt8) return rate(f32_avx512, 24 * 16 * 2);
  if (isa == "avx2") return precision == Precision::kInt8 ? rate(int8_avx2, 12 * 16 * 2) : rate(f32_avx2, 12 * 8 * 2);
  return 0.0;
}

}  // namespace m3vit

#else

namespace m3vit {
double measured_peak(std::string_view /*isa*/, Precision /*precision*/) { return 0.0; }
}  // namespace m3vit

#endif
