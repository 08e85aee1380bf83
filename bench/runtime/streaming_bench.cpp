/// Streaming: a frame's latency and bytes read at budgets from the smallest to all-resident, expert order and token
/// order, frames alone and together, beside the all-resident latency and what the drive alone needs for the same bytes
/// past the page cache.
/// Every budget first gives the bits of the all-resident session. Random weights; JSON on stdout, a table on stderr.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/drive_rate.h"
#include "core/config_codec.h"
#include "core/error.h"
#include "m3vit/m3vit.hpp"
#include "runtime/pack.h"
#include "runtime/random_weights.h"
#include "timing.h"

namespace m3vit {
namespace {

using timing::median;
using timing::seconds_of;

constexpr double kMiB = 1024.0 * 1024.0;

struct Options {
  std::string preset = "small", dtype = "bf16", folder = std::filesystem::temp_directory_path().string();
  int threads = 2, pairs = 11, experts = 0;
  bool token_order = true;
  std::vector<int> batches{1, 2, 4};
  std::vector<double> parts{0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0};
};

void bench(const Options& o) {
  Config config;
  apply_preset(o.preset, config.model);
  if (o.experts > 0) config.model.moe->num_experts = o.experts;
  config.tasks = {{"semseg", 40, 1.0}};
  const std::filesystem::path path =
      std::filesystem::path(o.folder) / ("m3vit_streaming_" + std::to_string(::getpid()) + ".m3v");
  {
    std::ofstream out(path, std::ios::binary);
    pack_model(config, testing::random_weights_source(config), {.dtype = *find_precision(o.dtype)}, out, path.string());
  }
  const double rate = cli::drive_rate(path);
  const Model model = Model::open(path);
  const std::size_t pixels = static_cast<std::size_t>(model.height()) * static_cast<std::size_t>(model.width());
  std::vector<std::uint8_t> picture(3 * pixels), classes(pixels);
  Rng rng(1);
  for (std::uint8_t& v : picture) v = static_cast<std::uint8_t>(rng.below(256));
  const RgbView view{picture.data(), model.height(), model.width()};
  Session resident = model.session({.threads = o.threads});
  // Of the same picture `batch` times: seconds a frame.
  const auto frame = [&](Session& session, std::size_t batch) {
    const std::vector<RgbView> views(batch, view);
    const std::vector<std::span<std::uint8_t>> outs(batch, classes);
    return seconds_of([&] { session.run_batch_classes("semseg", views, outs); }) / static_cast<double>(batch);
  };
  frame(resident, 1);
  const std::vector<std::uint8_t> want = classes;
  const std::size_t smallest = resident.memory().smallest;
  const std::size_t all = resident.memory().total();
  nlohmann::json rows = nlohmann::json::array();
  std::cerr << fmt::format("{} {}, {} threads; drive {:.2f} GB/s a section at a time; all resident {:.1f} MiB\n",
                           o.preset, o.dtype, o.threads, rate / 1e9, static_cast<double>(all) / kMiB);
  std::cerr << "budget MiB  order        together  read MiB  frame ms  resident ms  ratio  reading alone ms\n";
  const auto row = [&](std::size_t budget, MoeSchedule schedule, const char* order, int batch, int pairs) {
    Session session =
        model.session({.threads = o.threads, .schedule = schedule, .memory_budget = budget, .batch = batch});
    const auto together = static_cast<std::size_t>(batch);
    std::fill(classes.begin(), classes.end(), std::uint8_t{255});
    frame(session, together);
    if (classes != want) throw Error{{.where = "streaming_bench", .wanted = "equal classes", .found = "others"}};
    const std::uint64_t before = session.bytes_read();
    std::vector<double> streamed, kept, ratios;
    for (int i = 0; i < pairs; ++i) {
      const bool first = i % 2 == 0;  // A B B A
      if (first) streamed.push_back(frame(session, together));
      kept.push_back(frame(resident, 1));
      if (!first) streamed.push_back(frame(session, together));
      ratios.push_back(streamed.back() / kept.back());
    }
    const double read = static_cast<double>(session.bytes_read() - before) / (pairs * batch);
    std::cerr << fmt::format("{:10.1f}  {:12} {:8}  {:8.1f}  {:8.1f}  {:11.1f}  {:5.2f}  {:8.1f}  {}\n",
                             static_cast<double>(budget) / kMiB, order, batch, read / kMiB, 1e3 * median(streamed),
                             1e3 * median(kept), median(ratios), 1e3 * read / rate, session.io());
    rows.push_back({{"budget", budget},
                    {"planned", session.memory().total()},
                    {"order", order},
                    {"batch", batch},
                    {"bytes_read", read},
                    {"ms", 1e3 * median(streamed)},
                    {"best_ms", 1e3 * *std::min_element(streamed.begin(), streamed.end())},
                    {"resident_ms", 1e3 * median(kept)},
                    {"ratio", median(ratios)},
                    {"reading_alone_ms", 1e3 * read / rate}});
  };
  for (const int batch : o.batches) {
    const std::size_t least = model.session({.threads = o.threads, .batch = batch}).memory().smallest;
    row(least, MoeSchedule::kExpertOrder, "expert order", batch, o.pairs);
  }
  for (const double part : o.parts) {
    row(smallest + static_cast<std::size_t>(part * static_cast<double>(all - smallest)), MoeSchedule::kExpertOrder,
        "expert order", 1, o.pairs);
  }
  if (o.token_order) row(smallest, MoeSchedule::kTokenOrder, "token order", 1, 1);
  std::cout << nlohmann::json{{"preset", o.preset},
                              {"dtype", o.dtype},
                              {"threads", o.threads},
                              {"drive_bytes_per_second", rate},
                              {"rows", rows}}
                   .dump()
            << '\n';
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) {
  m3vit::Options options;
  CLI::App app("weights streamed from the file against all-resident, over budgets");
  app.add_option("--preset", options.preset)->capture_default_str();
  app.add_option("--dtype", options.dtype)->check(CLI::IsMember({"f32", "bf16", "int8"}))->capture_default_str();
  app.add_option("--folder", options.folder, "where the model file is written: the drive that is measured");
  app.add_option("--threads", options.threads)->capture_default_str();
  app.add_option("--pairs", options.pairs)->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--experts", options.experts, "instead of the preset's");
  app.add_option("--batches", options.batches, "frames together, each at its smallest budget")->delimiter(',');
  app.add_option("--budgets", options.parts, "from the smallest (0) to all resident (1), of frames alone")
      ->delimiter(',');
  app.add_flag("!--no-token-order", options.token_order, "leave out token order, which takes minutes");
  CLI11_PARSE(app, argc, argv);
  try {
    m3vit::bench(options);
  } catch (const std::exception& e) {
    std::cerr << "streaming_bench: " << e.what() << '\n';
    return 1;
  }
  return 0;
}
