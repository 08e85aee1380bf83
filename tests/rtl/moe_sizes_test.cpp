// One MoE layer of the tiny (128×256) and the small (512²) model at the shipped array, 2048 MAC a cycle: bits equal to
// the golden model, and the counters that compare the orders of experts. Prints the table of docs/accelerator.md.
#include <cstdio>

#include "accel/machine/timeline.h"
#include "accel32.h"
#include "rtl/moe_layer.h"

namespace m3vit::rtl {
namespace {

struct Order {
  const char* name;
  int mode, slots;
};

/// Cycles of the layer's program by the cost model, with the layer's own lists.
double modelled(const MoeLayer& layer, const std::vector<std::uint8_t>& image) {
  std::vector<accel::AnyOp> ops;
  do {
    accel::MicroOp words;
    std::memcpy(words.data(), image.data() + ops.size() * sizeof words, sizeof words);
    ops.push_back(accel::decode(words).value());
  } while (!std::holds_alternative<accel::EndOp>(ops.back()));
  const accel::CostModel cost{.ddr_bytes_per_cycle = DdrModel{}.bytes_per_cycle, .ddr_latency = DdrModel{}.latency};
  return accel::timeline(ops, accel::kZcu104, cost, [&](std::size_t, const accel::RouteOp&) { return layer.entries(); })
      .cycles;
}

class MoeSizes : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::printf("%-6s %7s  %-22s %11s %10s %9s %10s %10s %8s %8s\n", "model", "experts", "order", "cycles", "DDR bytes",
                "tiles", "on-chip rd", "on-chip wr", "array %", "MAC %");
  }

  Counters run(const char* model, const LayerShape& shape, const Order& order) {
    MoeLayer layer(shape, 32, 1);
    const std::vector<std::uint8_t> image = layer.image(order.mode, order.slots);
    std::uint64_t clamped = 0;
    const auto want = layer.golden(order.mode == 0 ? accel::ExpertOrder::kExpert : accel::ExpertOrder::kToken, clamped);
    EXPECT_EQ(clamped, 0U);
    Machine<accel32> machine(image.size() + 4096, {});
    std::ranges::copy(image, machine.memory.begin());
    const Counters c = machine.run(0, 100'000'000);
    EXPECT_EQ(layer.output(machine.memory), want) << model << ' ' << order.name;
    const double cycles = static_cast<double>(c[kCycles]);
    EXPECT_NEAR(modelled(layer, image), cycles, 0.001 * cycles) << model << ' ' << order.name;
    std::printf("%-6s %7d  %-22s %11llu %10llu %9llu %10llu %10llu %8.1f %8.1f\n", model, shape.experts, order.name,
                static_cast<unsigned long long>(c[kCycles]),
                static_cast<unsigned long long>(c[kDdrWeights] + c[kDdrExperts] + c[kDdrOther] + c[kDdrWritten]),
                static_cast<unsigned long long>(c[kTiles]),
                static_cast<unsigned long long>(c[kWeightRead] + c[kActRead] + c[kResRead] + c[kRowRead]),
                static_cast<unsigned long long>(c[kWeightWritten] + c[kActWritten] + c[kResWritten] + c[kRowWritten]),
                100 * static_cast<double>(c[kArrayCycles]) / cycles,
                100 * static_cast<double>(c[kMacs]) / (2048 * cycles));
    std::fflush(stdout);
    return c;
  }
};

constexpr Order kExpert{"expert order", 0, 2}, kToken{"token order, reload", 1, 2},
    kCached{"token order, cached", 2, 14}, kPairs{"token pairs", 3, 2};

TEST_F(MoeSizes, TinyEqualsTheGoldenModelAndExpertOrderLoadsLeast) {
  for (const int experts : {16, 64, 256}) {
    const LayerShape shape{129, 192, 192, experts, 2};
    const Counters e = run("tiny", shape, kExpert);
    const Counters t = run("tiny", shape, kToken);
    const Counters c = run("tiny", shape, kCached);
    const Counters p = run("tiny", shape, kPairs);
    EXPECT_EQ(e[kTiles], 2 * e[kNonEmpty]);
    EXPECT_EQ(t[kTiles], 2 * t[kEntries]);
    for (const Counters* other : {&t, &c, &p}) {
      EXPECT_LE(e[kDdrExperts], (*other)[kDdrExperts]);
      EXPECT_LT(e[kCycles], (*other)[kCycles]);
    }
  }
}

TEST_F(MoeSizes, SmallEqualsTheGoldenModelInExpertOrder) {
  for (const int experts : {16, 64, 256}) run("small", {1025, 384, 384, experts, 4}, kExpert);
}

TEST_F(MoeSizes, SmallEqualsTheGoldenModelInTokenOrder) { run("small", {1025, 384, 384, 16, 4}, kToken); }

}  // namespace
}  // namespace m3vit::rtl
