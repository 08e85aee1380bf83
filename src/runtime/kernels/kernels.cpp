#include "runtime/kernels/kernels.h"

// Left out: targets whose f32 kernels would equal a neighbour's (SSSE3, AVX3_DL), and the scalable vectors, which
// cannot stand in arrays.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

// Where the compiler's own baseline has vectors, Highway would leave out "scalar", the reference of all the others.
#if defined(__aarch64__)
#define HWY_COMPILE_ALL_ATTAINABLE
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "runtime/kernels/attention-inl.h"
#include "runtime/kernels/gemm-inl.h"
#include "runtime/kernels/head-inl.h"
#include "runtime/kernels/rows-inl.h"
#if HWY_TARGET == HWY_AVX3
#include "runtime/kernels/amx-inl.h"
#include "runtime/kernels/attention_avx512-inl.h"
#include "runtime/kernels/avx512-inl.h"
#endif
#if HWY_TARGET == HWY_NEON && defined(__aarch64__)
#include "runtime/kernels/neon_dotprod-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {
namespace {

template <class Tiles, class Finish>
constexpr Kernels table() {
  return {GemmRows<Tiles, Finish>,
          AttentionPack,
          AttentionRows<Tiles>,
          LayerNormRows,
          QuantizeRows,
          ToBf16Rows,
          SoftmaxRow,
          GeluRow,
          ConvTailRow,
          CommutedTailRows,
          UpsampleLine,
          DoubleLine,
          StreamLine,
          ArgmaxLine};
}

constexpr Kernels kKernels = table<PortableTiles, PortableFinish>();
#if HWY_TARGET == HWY_AVX3
constexpr Kernels kVnni = [] {
  Kernels k = table<Avx512Tiles<false>, PortableFinish>();
  k.quantize_rows = QuantizeBf16Rows;
  return k;
}();
constexpr Kernels kVnniBf16 = [] {
  Kernels k = table<Avx512Tiles<true>, Avx512Finish>();
  k.quantize_rows = QuantizeBf16Rows;
  k.attention_rows = AttentionRowsDotBf16<Avx512Tiles<true>>;
  return k;
}();

constexpr Kernels with_gemm(Kernels k, decltype(Kernels::gemm) gemm) {
  k.gemm = gemm;
  return k;
}
constexpr Kernels kAmx = with_gemm(kVnniBf16, AmxGemm<AmxTiles>);
constexpr Kernels kEmulatedAmx = with_gemm(kVnniBf16, AmxGemm<EmulatedTiles>);
#endif
#if HWY_TARGET == HWY_NEON && defined(__aarch64__)
constexpr Kernels kDotProducts = table<NeonDotTiles, PortableFinish>();
#endif

}  // namespace

const Kernels* GetKernels() { return &kKernels; }
#if HWY_TARGET == HWY_NEON && defined(__aarch64__)
const Kernels* GetDotProductKernels() { return &kDotProducts; }
#endif
#if HWY_TARGET == HWY_AVX3
const Kernels* GetAmxKernels() { return &kAmx; }
const Kernels* GetEmulatedAmxKernels() { return &kEmulatedAmx; }
/// The best that AVX-512 has with these beside it.
const Kernels* GetAvx512Kernels(bool vnni, bool bf16) { return !vnni ? &kKernels : bf16 ? &kVnniBf16 : &kVnni; }
#endif

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <string>
#include <utility>

#include "core/error.h"
#include "runtime/kernels/cpu.h"

namespace m3vit {
namespace {

std::vector<IsaStatus> detect() {
  const std::int64_t here = runnable_targets();
  std::vector<IsaStatus> all;
  const auto add = [&](std::string_view name, std::int64_t target, const Kernels* kernels, std::string why_not = {}) {
    if (why_not.empty() && (target & here) == 0) why_not = "the CPU, or the system it runs under, lacks it";
    all.push_back({{name, kernels}, std::move(why_not)});
  };
#if (HWY_TARGETS) & HWY_AVX3
  add("amx", HWY_AVX3, N_AVX3::GetAmxKernels(), why_no_amx());
  const bool vnni = has_avx512_vnni();
  add("avx512", HWY_AVX3, N_AVX3::GetAvx512Kernels(vnni, has_avx512_bf16()));
  // Without the dot products of VNNI and BF16, to compare and to test what older CPUs run.
  add("avx512_plain", HWY_AVX3, N_AVX3::GetKernels(), vnni ? "" : "avx512 is the same on this CPU");
#endif
#if (HWY_TARGETS) & HWY_AVX2
  add("avx2", HWY_AVX2, N_AVX2::GetKernels());
#endif
#if (HWY_TARGETS) & HWY_SSE4
  add("sse4", HWY_SSE4, N_SSE4::GetKernels());
#endif
#if ((HWY_TARGETS)&HWY_NEON) && defined(__aarch64__)
  add("neon_dotprod", HWY_NEON, N_NEON::GetDotProductKernels(), has_neon_dotprod() ? "" : "the CPU has no sdot");
#endif
#if (HWY_TARGETS) & HWY_NEON
  add("neon", HWY_NEON, N_NEON::GetKernels());
#endif
  // Highway's fallback without vectors.
#if (HWY_TARGETS) & HWY_EMU128
  add("scalar", HWY_EMU128, N_EMU128::GetKernels());
#endif
#if (HWY_TARGETS) & HWY_SCALAR
  add("scalar", HWY_SCALAR, N_SCALAR::GetKernels());
#endif
  return all;
}

}  // namespace

const std::vector<IsaStatus>& all_isas() {
  static const std::vector<IsaStatus> isas = detect();
  return isas;
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> usable = [] {
    std::vector<Isa> isas;
    for (const IsaStatus& status : all_isas()) {
      if (status.why_not.empty()) isas.push_back(status.isa);
    }
    return isas;
  }();
  return usable;
}

const Kernels* emulated_amx_kernels() {
#if (HWY_TARGETS) & HWY_AVX3
  const bool runs = (runnable_targets() & HWY_AVX3) != 0 && has_avx512_vnni() && has_avx512_bf16();
  return runs ? N_AVX3::GetEmulatedAmxKernels() : nullptr;
#else
  return nullptr;
#endif
}

const Isa& find_isa(std::string_view name) {
  const std::vector<Isa>& isas = available_isas();
  if (name.empty()) return isas.front();
  std::string names;
  for (const Isa& isa : isas) {
    if (isa.name == name) return isa;
    names += (names.empty() ? "" : ", ") + std::string(isa.name);
  }
  std::string reason;
  for (const IsaStatus& status : all_isas()) {
    if (status.isa.name == name) reason = status.why_not;
  }
  throw Error{{.where = "--isa",
               .field = {},
               .wanted = "an instruction set that this build has and this CPU can run (" + names + ")",
               .found = "\"" + std::string(name) + "\"",
               .hint = reason}};
}

}  // namespace m3vit
#endif
