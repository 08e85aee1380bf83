#pragma once
/// What this CPU, and the system it runs under, can execute. Asked here and not of Highway's library, so that Highway
/// is a library of headers only: the runtime then has nothing to link or to cross-build.
#include <cstdint>
#include <string>

namespace m3vit {

/// Highway's targets (HWY_SSE4, HWY_AVX2, HWY_AVX3; HWY_SCALAR and HWY_EMU128 always), as a bit set. Beyond x86: what
/// the compiler was told to assume.
std::int64_t runnable_targets();

/// Beside HWY_AVX3: the dot products of u8·s8 (vpdpbusd) and of bf16 (vdpbf16ps).
bool has_avx512_vnni();
bool has_avx512_bf16();
/// sdot, optional in Armv8.2.
bool has_neon_dotprod();
/// Why AMX (tiles, bf16, int8) cannot be used by this process, or "". Asks Linux for the permission that it wants, for
/// the whole process, so call it once.
std::string why_no_amx();

}  // namespace m3vit
