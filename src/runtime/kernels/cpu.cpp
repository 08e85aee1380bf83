#include "runtime/kernels/cpu.h"

#include <hwy/detect_targets.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace m3vit {

#if defined(__x86_64__) || defined(__i386__)

namespace {

// Not among the names that clang's __builtin_cpu_supports knows.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

// Each target asks for what Highway's HWY_TARGET_STR_* lets the compiler use in it; __builtin_cpu_supports also asks
// whether the system saves the registers (XGETBV).
std::int64_t runnable_targets() {
  std::int64_t targets = HWY_SCALAR | HWY_EMU128 | HWY_STATIC_TARGET;
  __builtin_cpu_init();
  const bool sse4 = __builtin_cpu_supports("ssse3") != 0 && __builtin_cpu_supports("sse4.1") != 0 &&
                    __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0 &&
                    __builtin_cpu_supports("aes") != 0;
  if (!sse4) return targets;
  targets |= HWY_SSE4;
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("bmi") != 0 &&
                    __builtin_cpu_supports("bmi2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
  if (!avx2) return targets;
  targets |= HWY_AVX2;
  const bool avx3 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
                    __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  if (avx3) targets |= HWY_AVX3;
  return targets;
}

bool has_avx512_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }
bool has_avx512_bf16() { return __builtin_cpu_supports("avx512bf16") != 0; }
bool has_neon_dotprod() { return false; }

std::string why_no_amx() {
  constexpr unsigned kBf16 = 1U << 22;  // of CPUID leaf 7, EDX
  constexpr unsigned kTile = 1U << 24;
  constexpr unsigned kInt8 = 1U << 25;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kAll = kTile | kBf16 | kInt8;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kAll) != kAll) {
    return "the CPU has no AMX with bf16 and int8";
  }
  if ((runnable_targets() & HWY_AVX3) == 0 || !has_avx512_vnni() || !has_avx512_bf16()) {
    return "the CPU has AMX but not the AVX-512 that goes with it";
  }
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h, Linux 5.16
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return "the system refuses AMX's tiles";
  return "";
#else
  return "nobody has tried AMX on this system";
#endif
}

#else

std::int64_t runnable_targets() { return HWY_SCALAR | HWY_EMU128 | HWY_STATIC_TARGET; }
bool has_avx512_vnni() { return false; }
bool has_avx512_bf16() { return false; }
#if defined(__aarch64__) && defined(__linux__)
bool has_neon_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#else
bool has_neon_dotprod() { return false; }
#endif
std::string why_no_amx() { return "the CPU has no AMX"; }

#endif

}  // namespace m3vit
