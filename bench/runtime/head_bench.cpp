/// One head by form, precision and threads: milliseconds, the ratio to the direct form of the same precision in pairs,
/// and the time that the direct algorithm would need at the rate which this kernel reaches out of the nearest cache.
/// Every form first agrees with the direct one. JSON on stdout, a table on stderr.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "runtime/random_head.h"
#include "timing.h"

namespace m3vit {
namespace {

using timing::median;
using timing::seconds_of;

using testing::RandomHead;
using testing::Runner;
using testing::size;

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0.0;
  double scale = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
    scale = std::max(scale, std::abs(double{b[i]}));
  }
  return most / scale;
}

/// Multiply-adds of the head as it is written down: every convolution on its upsampled map.
double direct_macs(const HeadShape& s) {
  double macs = 0.0;
  double pixels = s.grid_h * s.grid_w;
  for (int stage = 0; stage < s.stages; ++stage, pixels *= 4) {
    macs += pixels * 9.0 * static_cast<double>((stage == 0 ? s.dim : s.channels) * s.channels);
  }
  return macs + pixels / 4 * static_cast<double>(s.channels * s.outputs);
}

/// Multiply-adds a second of the matrix kernel on tiles that stay in the nearest cache, all threads at once.
double peak_macs(const Kernels& kernels, Precision precision, int threads) {
  constexpr std::size_t kRows = 48;
  const std::size_t k = 192 * group_of(precision);
  Team team(threads);
  std::vector<std::vector<float>> buffers(size(threads));
  for (auto& b : buffers)
    b.assign(64 + (packed_bytes(k, kPanel, precision) + kRows * row_bytes(k, precision)) / 4, 0.0F);
  std::vector<std::vector<float>> c(size(threads), std::vector<float>(kRows * kPanel + 64));
  const std::vector<float> scales(kRows, 1.0F);
  const std::vector<std::int32_t> sums(kPanel);
  const int repeats = 400;
  double best = 1e30;
  for (int round = 0; round < 8; ++round) {
    best = std::min(best, seconds_of([&] {
                      team.run(size(threads), [&](std::size_t t, std::size_t) {
                        const auto* base = reinterpret_cast<const std::byte*>(buffers[t].data());
                        base += (64 - reinterpret_cast<std::uintptr_t>(base) % 64) % 64;
                        Gemm g;
                        g.precision = precision;
                        g.m = kRows;
                        g.n = kPanel;
                        g.b = {base, scales.data(), sums.data(), 0};
                        g.a.base = base + packed_bytes(k, kPanel, precision);
                        g.a.stride = row_bytes(k, precision);
                        g.a.segment_k = k;
                        g.a.scale = scales.data();
                        g.out.c = c[t].data();
                        g.out.stride = kPanel * sizeof(float);
                        for (int i = 0; i < repeats; ++i) kernels.gemm(g, 0, kRows, 0, 1);
                      });
                    }));
  }
  return threads * repeats * static_cast<double>(kRows * k * kPanel) / best;
}

int run(int argc, char** argv) {
  CLI::App app{"one head by form, precision and threads"};
  int grid = 32, dim = 384, channels = 256, stages = 4, outputs = 40, pairs = 11, lines = 0;
  std::vector<int> threads{1, 2};
  std::vector<std::string> precisions{"f32", "bf16", "int8"};
  std::string isa;
  app.add_option("--grid", grid, "tokens along an edge; the image has 16 pixels a token")->capture_default_str();
  app.add_option("--embed-dim", dim)->capture_default_str();
  app.add_option("--channels", channels)->capture_default_str();
  app.add_option("--stages", stages)->capture_default_str();
  app.add_option("--outputs", outputs)->capture_default_str();
  app.add_option("--pairs", pairs)->capture_default_str();
  app.add_option("--lines", lines, "input lines a stage takes at a time; 0: by work")->capture_default_str();
  app.add_option("--threads", threads)->capture_default_str();
  app.add_option("--precisions", precisions)->capture_default_str();
  app.add_option("--isa", isa, "default: the best here");
  CLI11_PARSE(app, argc, argv);
  const HeadShape shape{grid, grid, size(dim), size(channels), stages, size(outputs), 16 * grid, 16 * grid};
  const Isa& chosen = find_isa(isa);
  const double macs = direct_macs(shape);
  nlohmann::json results = nlohmann::json::array();
  fmt::print(stderr, "{}: {}x{} tokens of {}, {} stages of {}, {} outputs at {}x{}: {:.1f} G multiply-adds\n",
             chosen.name, grid, grid, dim, stages, channels, outputs, shape.height, shape.width, macs * 1e-9);
  fmt::print(stderr, "{:<6} {:>7} {:<10} {:>10} {:>12} {:>16} {:>14} {:>10}\n", "", "threads", "form", "ms", "÷ direct",
             "direct at peak", "÷ that", "lines MiB");
  for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    const char* const names[] = {"f32", "bf16", "int8"};
    const std::string name = names[static_cast<int>(precision)];
    if (std::find(precisions.begin(), precisions.end(), name) == precisions.end()) continue;
    const RandomHead head(shape, precision, 1);
    for (const int t : threads) {
      const double limit = 1e3 * macs / peak_macs(*chosen.kernels, precision, t);
      Runner direct(shape, {HeadForm::kDirect, precision, lines}, t, chosen.name);
      const std::vector<float> want = direct.planes(head);
      std::vector<float> out(want.size());
      const auto once = [&](Runner& r) {
        return seconds_of([&] {
          r.run->run(head.weights, head.tokens.data(), shape.dim * sizeof(float), {out.data(), nullptr});
        });
      };
      for (const auto& [form_name, form] :
           {std::pair{"direct", HeadForm::kDirect}, {"commuted", HeadForm::kCommuted}}) {
        Runner runner(shape, {form, precision, lines}, t, chosen.name);
        const double error = largest_difference(runner.planes(head), want);
        if (!(error <= (precision == Precision::kF32 ? 1e-4 : 6e-2))) {
          fmt::print(stderr, "head_bench: {} {} differs from direct by {}\n", name, form_name, error);
          return 1;
        }
        std::vector<double> times, ratios;
        for (int i = 0; i < pairs; ++i) {
          if (form == HeadForm::kDirect) {
            times.push_back(once(runner));
            ratios.push_back(1.0);
            continue;
          }
          const double first = i % 2 == 0 ? once(runner) : once(direct);
          const double second = i % 2 == 0 ? once(direct) : once(runner);
          times.push_back(i % 2 == 0 ? first : second);
          ratios.push_back(i % 2 == 0 ? first / second : second / first);
        }
        const double ms = 1e3 * median(times);
        const double mib = static_cast<double>(runner.plan.bytes) / (1 << 20);
        fmt::print(stderr, "{:<6} {:>7} {:<10} {:>10.1f} {:>12.3f} {:>16.1f} {:>14.2f} {:>10.2f}\n", name, t, form_name,
                   ms, median(ratios), limit, ms / limit, mib);
        results.push_back({{"precision", name},
                           {"threads", t},
                           {"form", form_name},
                           {"ms", ms},
                           {"best_ms", 1e3 * *std::min_element(times.begin(), times.end())},
                           {"ratio_to_direct", median(ratios)},
                           {"direct_at_peak_ms", limit},
                           {"lines_mib", mib}});
      }
    }
  }
  std::cout << nlohmann::json{{"isa", chosen.name}, {"macs", macs}, {"pairs", pairs}, {"results", results}}.dump()
            << '\n';
  return 0;
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) { return m3vit::run(argc, argv); }
