#include "runtime/kernels/kernels.h"

// Left out: targets whose f32 kernels would equal a neighbour's (SSSE3, AVX3_DL), and the scalable vectors, which
// cannot stand in arrays.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "runtime/kernels/attention-inl.h"
#include "runtime/kernels/gemm-inl.h"
#include "runtime/kernels/head-inl.h"
#include "runtime/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace m3vit::HWY_NAMESPACE {
namespace {

constexpr Kernels kKernels{GemmRows<PortableTiles>,
                           AttentionPack,
                           AttentionRows<PortableTiles>,
                           LayerNormRows,
                           QuantizeRows,
                           ToBf16Rows,
                           SoftmaxRow,
                           GeluRow,
                           Upsample2,
                           ConvTailRow,
                           CommutedTailRows,
                           UpsampleLine,
                           DoubleLine,
                           StreamLine,
                           ArgmaxLine};

}  // namespace

const Kernels* GetKernels() { return &kKernels; }

}  // namespace m3vit::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <string>

#include "core/error.h"
#include "runtime/kernels/cpu.h"

namespace m3vit {
namespace {

struct Entry {
  std::int64_t target;
  Isa isa;
};

// Best first; "scalar" (Highway's fallback without vectors) is what every other is tested against.
std::vector<Isa> detect() {
  const std::vector<Entry> built = {
#if (HWY_TARGETS) & HWY_AVX3
    {HWY_AVX3, {"avx512", N_AVX3::GetKernels()}},
#endif
#if (HWY_TARGETS) & HWY_AVX2
    {HWY_AVX2, {"avx2", N_AVX2::GetKernels()}},
#endif
#if (HWY_TARGETS) & HWY_SSE4
    {HWY_SSE4, {"sse4", N_SSE4::GetKernels()}},
#endif
#if (HWY_TARGETS) & HWY_NEON
    {HWY_NEON, {"neon", N_NEON::GetKernels()}},
#endif
#if (HWY_TARGETS) & HWY_EMU128
    {HWY_EMU128, {"scalar", N_EMU128::GetKernels()}},
#endif
#if (HWY_TARGETS) & HWY_SCALAR
    {HWY_SCALAR, {"scalar", N_SCALAR::GetKernels()}},
#endif
  };
  const std::int64_t here = runnable_targets();
  std::vector<Isa> usable;
  for (const Entry& e : built) {
    if ((e.target & here) != 0) usable.push_back(e.isa);
  }
  return usable;
}

}  // namespace

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

const Isa& find_isa(std::string_view name) {
  const std::vector<Isa>& isas = available_isas();
  if (name.empty()) return isas.front();
  std::string names;
  for (const Isa& isa : isas) {
    if (isa.name == name) return isa;
    names += (names.empty() ? "" : ", ") + std::string(isa.name);
  }
  throw Error{{.where = "--isa",
               .field = {},
               .wanted = "an instruction set that this build has and this CPU can run (" + names + ")",
               .found = "\"" + std::string(name) + "\"",
               .hint = {}}};
}

}  // namespace m3vit
#endif
