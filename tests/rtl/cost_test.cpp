// The cost model against the RTL's counters, on whole random models: bytes, MACs and tiles equal; cycles of GEMM and
// VEC equal where nothing else runs beside them; whole programs, where engines meet at a memory's port, within two per
// cent.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "accel/machine/timeline.h"
#include "rtl/whole_model.h"

namespace m3vit::rtl {
namespace {

struct Both {
  Counters rtl;
  accel::Timeline model;
};

Both run_both(const accel::QuantisedCase& c, const accel::CompileOptions& options, std::size_t task, DdrModel ddr) {
  const accel::Compiled compiled = accel::compile(c.model, options);
  const accel::TaskProgram& program = compiled.programs[task];
  std::vector<std::byte> image = compiled.image;
  accel::write_input(compiled, program, c.pixels, image);
  const Counters rtl = run_image<accel8>(image, program.program, ddr, 20'000'000);
  EXPECT_EQ(accel::read_output(compiled, program, image), accel::golden_run(c.model, program.task, c.pixels).output);
  const std::vector<accel::Entries> routing = accel::run_machine(compiled, program, c.pixels, {}).routing;
  const accel::CostModel cost{.ddr_bytes_per_cycle = ddr.bytes_per_cycle, .ddr_latency = ddr.latency};
  return {rtl, accel::timeline(
                   program.ops, compiled.array, cost,
                   [&](std::size_t layer, const accel::RouteOp&) { return routing[layer]; }, program.program)};
}

void expect_same_traffic(const Both& b) {
  const accel::Timeline& m = b.model;
  const std::pair<Counter, double> pairs[] = {
      {kArrayCycles, m.array_cycles},
      {kMacs, m.macs},
      {kDdrWeights, static_cast<double>(m.weight_bytes)},
      {kDdrExperts, static_cast<double>(m.expert_bytes)},
      {kDdrOther, static_cast<double>(m.data_bytes)},
      {kDdrWritten, static_cast<double>(m.written_bytes)},
      {kWeightRead, static_cast<double>(m.weight_read)},
      {kActRead, static_cast<double>(m.act_read)},
      {kResRead, static_cast<double>(m.res_read)},
      {kRowRead, static_cast<double>(m.row_read)},
      {kTiles, static_cast<double>(m.tiles_loaded)},
      {kTileHits, static_cast<double>(m.tiles_found)},
      {kEntries, static_cast<double>(m.entries)},
      {kNonEmpty, static_cast<double>(m.experts)},
      {kWeightWritten, static_cast<double>(m.weight_written)},
      {kActWritten, static_cast<double>(m.act_written)},
      {kResWritten, static_cast<double>(m.res_written)},
      {kRowWritten, static_cast<double>(m.row_written)},
  };
  for (const auto& [counter, want] : pairs) {
    EXPECT_EQ(static_cast<double>(b.rtl[counter]), want) << "counter " << static_cast<int>(counter);
  }
}

/// Where M3VIT_PRINT is set, what model and RTL say.
void print(const char* what, std::uint32_t seed, const Both& b) {
  if (std::getenv("M3VIT_PRINT") == nullptr) return;
  const auto rtl = [&](Counter c) { return static_cast<double>(b.rtl[c]); };
  std::printf(
      "%-9s seed %3u  cycles %8.0f model %+6.2f %%  LOAD %7.0f %+6.0f  GEMM %7.0f %+5.0f  VEC %7.0f %+5.0f  "
      "STORE %7.0f %+6.0f  wait %6.0f %+5.0f\n",
      what, seed, rtl(kCycles), 100 * (b.model.cycles / rtl(kCycles) - 1), rtl(kLoadBusy),
      b.model.busy[0] - rtl(kLoadBusy), rtl(kGemmBusy), b.model.busy[1] - rtl(kGemmBusy), rtl(kVecBusy),
      b.model.busy[2] - rtl(kVecBusy), rtl(kStoreBusy), b.model.busy[3] - rtl(kStoreBusy), rtl(kWaitTile),
      b.model.wait_tile - rtl(kWaitTile));
}

constexpr accel::ExpertMode kModes[] = {accel::ExpertMode::kExpert, accel::ExpertMode::kToken,
                                        accel::ExpertMode::kTokenCached, accel::ExpertMode::kTokenPairs};

TEST(CostModel, CountsEveryEngineCycleOfGemmAndVecWhereNothingRunsBesideThem) {
  for (const std::uint32_t seed : seeds(24)) {
    SCOPED_TRACE("repeat: M3VIT_SEED=" + std::to_string(seed));
    const accel::QuantisedCase c = accel::quantised_case(naive::random_config(seed), seed);
    accel::CompileOptions options{.array = narrow_array(), .mode = kModes[seed % 4]};
    options.overlap = false;
    const Both b = run_both(c, options, 0, {});
    print("serial", seed, b);
    expect_same_traffic(b);
    EXPECT_EQ(static_cast<double>(b.rtl[kGemmBusy] - b.rtl[kWaitTile]), b.model.busy[1] - b.model.wait_tile);
    EXPECT_EQ(static_cast<double>(b.rtl[kVecBusy]), b.model.busy[2]);
    EXPECT_LE(std::abs(b.model.cycles / static_cast<double>(b.rtl[kCycles]) - 1), 0.02);
  }
}

TEST(CostModel, KnowsAWholeProgramWithinTwoPerCent) {
  for (const std::uint32_t seed : seeds(24)) {
    SCOPED_TRACE("repeat: M3VIT_SEED=" + std::to_string(seed));
    const accel::QuantisedCase c = accel::quantised_case(naive::random_config(seed), seed);
    const DdrModel ddr{.latency = static_cast<int>(20 + seed % 3 * 40), .bytes_per_cycle = seed % 5 == 0 ? 16.0 : 57.6};
    const Both b = run_both(c, {.array = narrow_array(), .mode = kModes[seed / 2 % 4]}, 0, ddr);
    print("parallel", seed, b);
    expect_same_traffic(b);
    EXPECT_LE(std::abs(b.model.cycles / static_cast<double>(b.rtl[kCycles]) - 1), 0.02);
  }
}

}  // namespace
}  // namespace m3vit::rtl
