/// The runtime against the same network put together from oneDNN primitives: random weights, one task, backbone and
/// head apart, every round ours and theirs in turn. Results are compared with our f32 output first.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/bench_measure.h"
#include "cli/paired.h"
#include "cli/random_weights.h"
#include "core/config_codec.h"
#include "onednn_network.h"

namespace m3vit {
namespace {

using nlohmann::json;

struct Kind {
  const char* name;
  Precision ours;
  PeerType theirs;
  double tolerance;       ///< of theirs against our f32
  bool winograd = false;  ///< theirs: not as they choose, but Winograd wherever they have it
};
constexpr Kind kKinds[] = {{"f32", Precision::kF32, PeerType::kF32, 1e-3},
                           {"winograd", Precision::kF32, PeerType::kF32, 1e-3, true},
                           {"bf16", Precision::kBf16, PeerType::kBf16, 0.1},
                           {"int8", Precision::kInt8, PeerType::kInt8, 0.5}};

int run(int argc, char** argv) {
  CLI::App app{"the runtime against the same network of oneDNN primitives"};
  std::string preset = "small";
  int height = 512, width = 512, threads = 2, pairs = 11;
  app.add_option("--preset", preset)->capture_default_str();
  app.add_option("--height", height)->capture_default_str();
  app.add_option("--width", width)->capture_default_str();
  app.add_option("--threads", threads)->capture_default_str();
  app.add_option("--pairs", pairs)->capture_default_str();
  std::vector<std::string> kinds;
  app.add_option("--kinds", kinds, "of f32, winograd (f32, theirs by Winograd), bf16, int8; default: all")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(threads);

  Config config;
  if (!apply_preset(preset, config.model)) {
    std::cerr << "onednn_bench: no preset " << preset << '\n';
    return 2;
  }
  config.model.image_size = {height, width};
  config.tasks = {{"semseg", 21, 1.0}};
  const TensorSource source = cli::random_weights(config, 1);
  const auto model_of = [&](Precision dtype) {
    return Model::from_bytes(pack_model(config, source, {.tasks = {}, .producer = "bench", .dtype = dtype}, "bench"),
                             "bench");
  };
  const SessionOptions options{.threads = threads, .keep_times = true};
  std::vector<float> want, planes;
  OneDnnNetwork::Ranges ranges;
  json results = json::array();
  fmt::print("{} at {}x{}, semseg of 21 classes, {} threads, {} rounds; ms as backbone + head\n", preset, width, height,
             threads, pairs);
  fmt::print("{:<9} {:>22} {:>22} {:>16} {:>14} {:>14}\n", "", "ours", "oneDNN", "oneDNN ÷ ours", "of backbone",
             "of head");
  for (const Kind& kind : kKinds) {
    const bool wanted = kinds.empty() || std::find(kinds.begin(), kinds.end(), kind.name) != kinds.end();
    if (!wanted && !want.empty()) continue;  // the first gives the others their reference and ranges
    const Model model = model_of(kind.ours);
    cli::BenchSession ours(model, options, {"semseg"});
    const std::vector<float> result = ours.run("semseg");
    if (want.empty()) {
      want = result;
      planes = ours.planes();
    }
    OneDnnNetwork theirs(config, source, 0, kind.theirs, ranges, kind.winograd);
    theirs.backbone(planes);
    const double difference = cli::relative_difference(theirs.head(), want);
    if (ranges.empty()) ranges = theirs.ranges();
    if (!(difference <= kind.tolerance)) {
      std::cerr << fmt::format("onednn_bench: {} differs from our f32 by {}\n", kind.name, difference);
      return 1;
    }
    if (!wanted) continue;
    std::vector<double> our_backbone, our_head;
    const auto ms = cli::take_turns({{"ours",
                                      [&] {
                                        ours.run("semseg");
                                        const PhaseTimes& t = ours.session().times();
                                        our_head.push_back(1e3 * t.head);
                                        our_backbone.push_back(1e3 * (t.total() - t.head));
                                      }},
                                     {"backbone", [&] { theirs.backbone(planes); }},
                                     {"head", [&] { theirs.head(); }}},
                                    pairs);
    our_backbone.erase(our_backbone.begin());  // the round that take_turns does not count
    our_head.erase(our_head.begin());
    std::vector<double> frame;
    for (std::size_t i = 0; i < ms[1].size(); ++i) frame.push_back(ms[1][i] + ms[2][i]);
    const json row{
        {"dtype", kind.name},
        {"ours_ms",
         {{"backbone", cli::median(our_backbone)}, {"head", cli::median(our_head)}, {"frame", cli::median(ms[0])}}},
        {"onednn_ms", {{"backbone", cli::median(ms[1])}, {"head", cli::median(ms[2])}, {"frame", cli::median(frame)}}},
        {"ratio", cli::median_ratio(frame, ms[0])},
        {"ratio_backbone", cli::median_ratio(ms[1], our_backbone)},
        {"ratio_head", cli::median_ratio(ms[2], our_head)},
        {"onednn_difference", difference},
        {"our_difference", cli::relative_difference(result, want)},
        {"onednn_head", theirs.head_implementations()}};
    fmt::print("{:<9} {:>10.2f} + {:>9.2f} {:>10.2f} + {:>9.2f} {:>16.2f} {:>14.2f} {:>14.2f}\n", kind.name,
               row["ours_ms"]["backbone"].get<double>(), row["ours_ms"]["head"].get<double>(),
               row["onednn_ms"]["backbone"].get<double>(), row["onednn_ms"]["head"].get<double>(),
               row["ratio"].get<double>(), row["ratio_backbone"].get<double>(), row["ratio_head"].get<double>());
    std::cout.flush();
    results.push_back(row);
  }
  std::cout << json{{"preset", preset},
                    {"image_size", {height, width}},
                    {"threads", threads},
                    {"pairs", pairs},
                    {"results", results}}
                   .dump()
            << '\n';
  return 0;
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) {
  try {
    return m3vit::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "onednn_bench: " << e.what() << '\n';
    return 1;
  }
}
