/// The matrix and attention kernels on the shapes of ViT-small at 512², against the multipliers' measured peak. Every
/// shape is first checked against double-precision loops. Medians of pairs peak, kernel, so that a change of clock or a
/// busy machine moves both.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cli/peak.h"
#include "core/error.h"
#include "runtime/gemm_case.h"
#include "runtime/kernels/kernels.h"
#include "runtime/team.h"
#include "timing.h"

namespace m3vit {
namespace {

using timing::median;
using timing::seconds_of;

using testing::GemmCase;
using testing::GemmProblem;

constexpr int kPairs = 15;

struct Shape {
  const char* name;
  GemmProblem problem;  ///< its precision and bf16_out are set by the bench: bf16 and int8 layers feed bf16 rows
};

std::vector<Shape> vit_small_shapes() {
  using Kind = RowSource::Kind;
  constexpr auto kNone = Epilogue::Activation::kNone;
  constexpr auto kGelu = Epilogue::Activation::kGelu;
  constexpr auto kRelu = Epilogue::Activation::kRelu;
  constexpr auto kSet = Epilogue::Store::kSet;
  constexpr auto kAdd = Epilogue::Store::kAdd;
  constexpr auto kScatter = Epilogue::Store::kScatterAdd;
  const Precision p = Precision::kF32;
  return {{"qkv", {p, Kind::kRows, 1025, 1152, 384, 0, 0, 0, kNone, kSet}},
          {"proj", {p, Kind::kRows, 1025, 384, 384, 0, 0, 0, kNone, kAdd}},
          {"fc1", {p, Kind::kRows, 1025, 1536, 384, 0, 0, 0, kGelu, kSet}},
          {"fc1 without GELU", {p, Kind::kRows, 1025, 1536, 384, 0, 0, 0, kNone, kSet}},
          {"fc2", {p, Kind::kRows, 1025, 384, 1536, 0, 0, 0, kNone, kAdd}},
          {"expert fc1, 256 tokens", {p, Kind::kIndexed, 256, 384, 384, 0, 0, 0, kGelu, kSet}},
          {"expert fc2, 256 tokens", {p, Kind::kRows, 256, 384, 384, 0, 0, 0, kNone, kScatter}},
          {"expert fc1, 16 tokens", {p, Kind::kIndexed, 16, 384, 384, 0, 0, 0, kGelu, kSet}},
          {"expert fc1, 1 token", {p, Kind::kIndexed, 1, 384, 384, 0, 0, 0, kGelu, kSet}},
          {"conv 3×3, 256, 64²", {p, Kind::kTaps, 4096, 256, 256, 64, 64, 0, kRelu, kSet}},
          {"conv 1×1, 256 → 40, 64²", {p, Kind::kRows, 4096, 40, 256, 0, 0, 0, kNone, kSet}}};
}

double peak_of(Team& team, std::string_view isa, Precision precision) {
  std::vector<double> each(static_cast<std::size_t>(team.threads()));
  std::vector<std::jthread> others;  // the team hands items out freely; every thread must run exactly one here
  for (std::size_t i = 1; i < each.size(); ++i)
    others.emplace_back([&, i] { each[i] = measured_peak(isa, precision); });
  each[0] = measured_peak(isa, precision);
  others.clear();
  double sum = 0.0;
  for (const double v : each) sum += v;
  return sum;
}

/// Median milliseconds, operations a second, and share of the peak measured beside each run.
void report(const std::string& name, Team& team, std::string_view isa, Precision precision, double operations,
            const std::function<void()>& run) {
  run();
  const double once = std::max(seconds_of(run), 1e-7);
  const int repeats = std::clamp(static_cast<int>(2e-3 / once), 1, 10000);
  std::vector<double> seconds;
  std::vector<double> share;
  for (int pair = 0; pair < kPairs; ++pair) {
    const double peak = peak_of(team, isa, precision);
    seconds.push_back(seconds_of([&] {
                        for (int i = 0; i < repeats; ++i) run();
                      }) /
                      repeats);
    share.push_back(peak > 0 ? operations / seconds.back() / peak : 0.0);
  }
  const double s = median(seconds);
  fmt::print("| {} | {} | {} | {} | {:.4f} | {:.0f} | {} |\n", isa, precision_name(precision), team.threads(), name,
             s * 1e3, operations / s * 1e-9, median(share) > 0 ? fmt::format("{:.0f} %", 100 * median(share)) : "–");
}

/// As the engine splits a GEMM among its team.
void run_gemm(Team& team, const Kernels& kernels, const Gemm& g) {
  constexpr std::size_t kBlockRows = 8 * kTileRows;
  const std::size_t row_blocks = (g.m + kBlockRows - 1) / kBlockRows;
  const std::size_t all = panels(g.n);
  const std::size_t wanted = team.threads() == 1 ? 1 : 4 * static_cast<std::size_t>(team.threads());
  const std::size_t split = std::clamp<std::size_t>((wanted + row_blocks - 1) / row_blocks, 1, all);
  const std::size_t each = (all + split - 1) / split;
  team.run(row_blocks * split, [&](std::size_t item, std::size_t) {
    const std::size_t row = item / split * kBlockRows;
    const std::size_t panel = item % split * each;
    if (panel < all) {
      kernels.gemm(g, row, std::min(row + kBlockRows, g.m), panel, std::min(panel + each, all));
    }
  });
}

void bench_gemm(const Isa& isa, Precision precision, Team& team, const Shape& shape) {
  GemmProblem problem = shape.problem;
  problem.precision = precision;
  problem.bf16_out = precision != Precision::kF32 && problem.store == Epilogue::Store::kSet;
  GemmCase c(problem, 1);
  run_gemm(team, *isa.kernels, c.gemm());
  if (const std::string wrong = c.check(37); !wrong.empty()) {
    throw Error{{.where = "kernels_bench", .field = std::string(isa.name), .wanted = "equality", .found = wrong}};
  }
  report(shape.name, team, isa.name, precision,
         2.0 * static_cast<double>(problem.m) * static_cast<double>(problem.n) * static_cast<double>(problem.k()),
         [&] { run_gemm(team, *isa.kernels, c.gemm()); });
}

void bench_attention(const Isa& isa, Precision precision, Team& team) {
  constexpr std::size_t kTokens = 1025;
  constexpr std::size_t kHeads = 6;
  constexpr std::size_t kHeadDim = 64;
  constexpr std::size_t kWidth = kHeads * kHeadDim;
  const std::size_t element = element_bytes(precision);
  Rng rng(3);
  std::vector<std::byte> qkv(kTokens * 3 * kWidth * element);
  for (std::size_t i = 0; i < kTokens * 3 * kWidth; ++i) {
    const auto v = static_cast<float>(rng.normal());
    const std::uint16_t bits = to_bf16(v);
    std::memcpy(qkv.data() + i * element, precision == Precision::kF32 ? static_cast<const void*>(&v) : &bits, element);
  }
  Attention a;
  a.precision = precision;
  a.qkv = qkv.data();
  a.stride = 3 * kWidth * element;
  a.tokens = kTokens;
  a.heads = kHeads;
  a.head_dim = kHeadDim;
  testing::Guarded<std::uint8_t> keys(kHeads * a.key_bytes());
  testing::Guarded<std::uint8_t> values(kHeads * a.value_bytes());
  std::vector<std::byte> out(kTokens * kWidth * element);
  a.keys = keys.data();
  a.values = values.data();
  a.out = out.data();
  a.out_stride = kWidth * element;
  constexpr std::size_t kQueries = 4 * kTileRows;
  constexpr std::size_t kBlocks = (kTokens + kQueries - 1) / kQueries;
  const std::size_t floats = (attention_scratch(kHeadDim) + 15) / 16 * 16;
  testing::Guarded<float> scratch(floats * static_cast<std::size_t>(team.threads()));
  const double operations = 4.0 * kTokens * kTokens * kWidth;
  report("attention, 1025 tokens", team, isa.name, precision, operations, [&] {
    team.run(kHeads, [&](std::size_t head, std::size_t) { isa.kernels->attention_pack(a, head); });
    team.run(kHeads * kBlocks, [&](std::size_t item, std::size_t worker) {
      const std::size_t begin = item % kBlocks * kQueries;
      isa.kernels->attention_rows(a, item / kBlocks, begin, std::min(begin + kQueries, kTokens),
                                  scratch.data() + worker * floats);
    });
  });
}

void run(const std::string& isa_name, const std::vector<int>& threads, const std::string& filter) {
  fmt::print("| ISA | precision | threads | kernel | ms | GFLOP/s | of peak |\n|---|---|---|---|---|---|---|\n");
  std::vector<Isa> isas = available_isas();
  if (isa_name != "all") isas = {find_isa(isa_name)};
  for (const Isa& isa : isas) {
    for (const int n : threads) {
      Team team(n);
      for (const Precision precision : testing::kPrecisions) {
        for (const Shape& shape : vit_small_shapes()) {
          if (std::string(shape.name).find(filter) != std::string::npos) bench_gemm(isa, precision, team, shape);
        }
        if (precision != Precision::kInt8 && std::string("attention").find(filter) != std::string::npos) {
          bench_attention(isa, precision, team);
        }
      }
    }
  }
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) {
  CLI::App app("The runtime's kernels against the measured peak of their multipliers");
  std::string isa;
  std::string filter;
  std::vector<int> threads{1, 2};
  app.add_option("--isa", isa, "An instruction set, or all; best here by default");
  app.add_option("--threads", threads, "Thread counts")->delimiter(',');
  app.add_option("--filter", filter, "Only kernels whose name holds this");
  CLI11_PARSE(app, argc, argv);
  try {
    m3vit::run(isa, threads, filter);
  } catch (const std::exception& e) {
    fmt::print(stderr, "kernels_bench: {}\n", e.what());
    return 2;
  }
  return 0;
}
