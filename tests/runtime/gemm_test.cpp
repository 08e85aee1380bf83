/// The matrix kernel of every instruction set over the table of gemm_case.h, and the packing it reads.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "runtime/gemm_case.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/panels.h"

namespace m3vit {
namespace {

using testing::GemmCase;
using testing::GemmProblem;
using testing::kPrecisions;

class GemmPerIsa : public ::testing::TestWithParam<Isa> {
 protected:
  const Kernels& kernels() const { return *GetParam().kernels; }
};
std::vector<Isa> isas_and_emulated_amx() {
  std::vector<Isa> isas = available_isas();
  if (emulated_amx_kernels() != nullptr) isas.push_back({"amx_emulated", emulated_amx_kernels()});
  return isas;
}
INSTANTIATE_TEST_SUITE_P(All, GemmPerIsa, ::testing::ValuesIn(isas_and_emulated_amx()),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_P(GemmPerIsa, EqualsLoopsForEveryPrecisionRowKindEpilogueAndTileEdge) {
  std::uint64_t seed = 11;
  for (const GemmProblem& problem : testing::gemm_problems()) {
    GemmCase c(problem, seed++);
    kernels().gemm(c.gemm(), 0, problem.m, 0, panels(problem.n));
    ASSERT_EQ(c.check(), "");
  }
}

TEST_P(GemmPerIsa, WritesNothingForNoRowsOrNoPanels) {
  for (const Precision precision : kPrecisions) {
    GemmCase c({.precision = precision, .m = 3, .n = 40, .segment_k = 5}, 1);
    const std::vector<std::uint8_t> before(c.c().data(), c.c().data() + c.c().size());
    kernels().gemm(c.gemm(), 1, 1, 0, 2);
    kernels().gemm(c.gemm(), 0, 3, 1, 1);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), c.c().data()));
  }
}

TEST_P(GemmPerIsa, BitsDoNotDependOnTheSplit) {
  Rng rng(12);
  for (const Precision precision : kPrecisions) {
    for (const auto kind : {RowSource::Kind::kRows, RowSource::Kind::kTaps}) {
      for (const bool bf16_out : {false, true}) {
        GemmProblem problem{precision, kind, 42, 100, 77, 6, 7};
        problem.activation = Epilogue::Activation::kGelu;
        problem.bf16_out = bf16_out;
        GemmCase c(problem, 12);
        kernels().gemm(c.gemm(), 0, problem.m, 0, panels(problem.n));
        const std::vector<std::uint8_t> whole(c.c().data(), c.c().data() + c.c().size());
        c.reset();
        for (std::size_t row = 0; row < problem.m;) {
          const std::size_t rows = std::min<std::size_t>(1 + rng.below(15), problem.m - row);
          for (std::size_t p = 0; p < panels(problem.n); ++p) kernels().gemm(c.gemm(), row, row + rows, p, p + 1);
          row += rows;
        }
        EXPECT_TRUE(std::equal(whole.begin(), whole.end(), c.c().data())) << problem.to_string();
      }
    }
  }
}

TEST(GemmCases, TheCheckSeesASmallMistakeANanAndAStrayByte) {
  const GemmProblem problem{.m = 3, .n = 5, .segment_k = 4};
  GemmCase c(problem, 1);
  const Kernels& kernels = *find_isa("scalar").kernels;
  const auto spoil = [&](float factor) {
    c.reset();
    kernels.gemm(c.gemm(), 0, problem.m, 0, 1);
    auto* first = static_cast<float*>(c.gemm().out.c);
    *first *= factor;
    return c.check();
  };
  EXPECT_EQ(spoil(1.0F), "");
  EXPECT_NE(spoil(-1.0F), "");
  EXPECT_NE(spoil(1.001F), "");
  EXPECT_NE(spoil(std::numeric_limits<float>::quiet_NaN()), "");
  EXPECT_EQ(spoil(1.0F), "");
  c.c()[problem.n * sizeof(float)] ^= 1;
  EXPECT_NE(c.check(), "");
}

TEST(Panels, Bf16RoundsToNearestEvenAndKeepsNanAndInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(from_bf16(to_bf16(1.0F)), 1.0F);
  EXPECT_EQ(from_bf16(to_bf16(1.0F + 0x1p-8F)), 1.0F);                // a half: to even
  EXPECT_EQ(from_bf16(to_bf16(1.0F + 3 * 0x1p-8F)), 1.0F + 0x1p-6F);  // a half: to even
  EXPECT_EQ(from_bf16(to_bf16(-1.0F - 0x1.02p-8F)), -1.0F - 0x1p-7F);
  EXPECT_EQ(from_bf16(to_bf16(std::numeric_limits<float>::max())), kInfinity);
  EXPECT_EQ(from_bf16(to_bf16(-kInfinity)), -kInfinity);
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7F800001U)))));
}

TEST(Panels, EverySegmentIsPaddedToWholeGroupsAndInt8KeepsItsSums) {
  // Two segments of 3, one column: 1, −2, 3 | 4, 0, −127, so that q = w.
  const std::vector<float> w = {1, -2, 3, 4, 0, -127};
  std::vector<std::int8_t> q(packed_bytes(3, 1, Precision::kInt8, 2), 99);
  std::vector<float> scale(padded_columns(1), 99.0F);
  std::vector<std::int32_t> sums(2 * padded_columns(1), 99);
  pack_panels(Precision::kInt8, 2, 3, 1, [&](std::size_t i, std::size_t) { return w[i]; },
              {.panels = q.data(), .scale = scale.data(), .sums = sums.data()});
  EXPECT_EQ(std::vector<std::int8_t>(q.begin(), q.begin() + 8), (std::vector<std::int8_t>{1, -2, 3, 0, 0, 0, 0, 0}));
  EXPECT_EQ(std::vector<std::int8_t>(q.begin() + 128, q.begin() + 136),
            (std::vector<std::int8_t>{4, 0, -127, 0, 0, 0, 0, 0}));
  EXPECT_EQ(scale[0], 1.0F);
  EXPECT_EQ(scale[1], 0.0F);
  EXPECT_EQ(sums[0], 2);
  EXPECT_EQ(sums[1], 0);
  EXPECT_EQ(sums[padded_columns(1)], -123);
}

}  // namespace
}  // namespace m3vit
