// The published sizes on the shipped array, 2048 MAC a cycle: whole frames, encoder and head, in simulation, equal to
// the golden model bit for bit; and what the encoder takes. Weights are random. Cycles do not depend on the machine
// that simulates, so they are asserted.
#include <cstdio>

#include "accel/compiler/host_io.h"
#include "accel/quantised_case.h"
#include "accel/report/frame_cost.h"
#include "accel32.h"
#include "core/config_yaml.h"
#include "rtl/run_image.h"

namespace m3vit::rtl {
namespace {

constexpr DdrModel kDdr{.bytes_per_cycle = 61.44};  // 19.2 GB/s, four fifths of it, at 250 MHz

void print(const std::string& what, const Counters& c) {
  const auto cycles = static_cast<double>(c[kCycles]);
  const auto share = [&](Counter i) { return 100 * static_cast<double>(c[i]) / cycles; };
  std::printf(
      "%-28s %9.0f cycles %7.3f ms; busy %%: LOAD %5.1f GEMM %5.1f VEC %5.1f STORE %5.1f array %5.1f; MAC %5.1f %%; "
      "waits for a tile %4.1f %%, for a slot %4.1f %%; DDR %.1f MB\n",
      what.c_str(), cycles, cycles / 250e3, share(kLoadBusy), share(kGemmBusy), share(kVecBusy), share(kStoreBusy),
      share(kArrayCycles), 100 * static_cast<double>(c[kMacs]) / (2048 * cycles), share(kWaitTile), share(kWaitSlot),
      static_cast<double>(c[kDdrWeights] + c[kDdrExperts] + c[kDdrOther] + c[kDdrWritten]) / 1e6);
  std::fflush(stdout);
}

class Published {
 public:
  explicit Published(const Config& config)
      : case_(accel::quantised_case(config, 1)), compiled_(compile(case_.model, {})) {}

  /// Every task, or only the first.
  void expect_frames_equal_the_golden_model(bool all, DdrModel ddr) {
    for (const accel::TaskProgram& program : compiled_.programs) {
      SCOPED_TRACE(name(program));
      std::vector<std::byte> image = compiled_.image;
      accel::write_input(compiled_, program, case_.pixels, image);
      print(name(program) + (ddr.stalls != 0 ? ", stalls" : ""), run(program, image, ddr));
      EXPECT_EQ(accel::read_output(compiled_, program, image),
                accel::golden_run(case_.model, program.task, case_.pixels).output);
      if (!all) return;
    }
  }
  Counters encoder() {
    const accel::TaskProgram& program = compiled_.programs[0];
    std::vector<std::byte> image = compiled_.image;
    accel::write_input(compiled_, program, case_.pixels, image);
    const std::vector<accel::AnyOp> ops = accel::encoder_ops(program);
    const accel::MicroOp end = accel::encode(ops.back());
    std::memcpy(image.data() + 64 * (program.program + ops.size() - 1), end.data(), sizeof end);
    const Counters c = run(program, image, kDdr);
    print("encoder", c);
    return c;
  }

 private:
  std::string name(const accel::TaskProgram& program) const {
    return case_.model.config.tasks[static_cast<std::size_t>(program.task)].name;
  }
  static Counters run(const accel::TaskProgram& program, std::vector<std::byte>& image, DdrModel ddr) {
    return run_image<accel32>(image, program.program, ddr, 200'000'000);
  }

  accel::QuantisedCase case_;
  accel::Compiled compiled_;
};

Config published(const char* recipe, int top_k) {
  return load_config(std::string(M3VIT_SOURCE_DIR) + "/configs/" + recipe,
                     {"model.moe.top_k=" + std::to_string(top_k)});
}
double milliseconds(const Counters& c) { return static_cast<double>(c[kCycles]) / 250e3; }
double utilisation(const Counters& c) {
  return static_cast<double>(c[kMacs]) / (2048 * static_cast<double>(c[kCycles]));
}

TEST(PublishedSizes, TinyEqualsTheGoldenModelInEveryTaskAndKeepsItsTime) {
  Published tiny(published("cityscapes/tiny_m3vit.yaml", 2));
  tiny.expect_frames_equal_the_golden_model(/*all=*/true, kDdr);
  tiny.expect_frames_equal_the_golden_model(/*all=*/false, {.latency = 40, .bytes_per_cycle = 61.44, .stalls = 7});
  const Counters c = tiny.encoder();
  EXPECT_LE(milliseconds(c), 2.5);
  EXPECT_GE(utilisation(c), 0.60);
}

// Minutes: run by name, with --gtest_also_run_disabled_tests.
TEST(PublishedSizes, DISABLED_SmallEqualsTheGoldenModelAndKeepsItsTime) {
  Published small(published("pascal/small_m3vit.yaml", 4));
  const Counters c = small.encoder();
  EXPECT_LE(milliseconds(c), 70);
  EXPECT_GE(utilisation(c), 0.95);
  small.expect_frames_equal_the_golden_model(/*all=*/false, kDdr);
}

}  // namespace
}  // namespace m3vit::rtl
