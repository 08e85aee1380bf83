/// One MoE layer by precision and schedule: milliseconds of its router and of its experts, and the experts' share of
/// what the machine's multipliers can do, which is measured in the same run. Schedules first agree bit for bit; then
/// they run in turns. JSON on stdout, a table on stderr.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/peak.h"
#include "core/model_cost.h"
#include "core/rng.h"
#include "m3vit/m3vit.hpp"
#include "runtime/pack.h"
#include "timing.h"

namespace m3vit {
namespace {

using timing::median;

struct Shape {
  int height = 512, width = 512, dim = 384, experts = 16, top_k = 4, hidden = 384;
  std::size_t tokens() const {
    return static_cast<std::size_t>(height / 16) * static_cast<std::size_t>(width / 16) + 1;
  }
};

/// One block, an MoE one, and the smallest head.
Config config_of(const Shape& s) {
  Config c;
  c.model.image_size = {s.height, s.width};
  c.model.embed_dim = s.dim;
  c.model.depth = 1;
  c.model.num_heads = s.dim / 64;
  c.model.head.channels = 4;
  c.model.moe->every = 1;
  c.model.moe->num_experts = s.experts;
  c.model.moe->top_k = s.top_k;
  c.model.moe->expert_hidden = s.hidden;
  c.tasks = {{"depth", 1, 1.0}};
  return c;
}

TensorSource random_weights(const Config& config) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const TensorSpec& spec : expected_tensors(config)) shapes[spec.name] = spec.shape;
  return [shapes](const std::string& name) {
    const std::vector<std::int64_t>& shape = shapes.at(name);
    std::size_t numel = 1;
    for (const std::int64_t n : shape) numel *= static_cast<std::size_t>(n);
    Rng rng{7, numel};
    std::vector<float> values(numel);
    // A router of this spread loads the experts unevenly, as trained ones do.
    const bool norm = shape.size() == 1 && name.ends_with("weight");
    const double spread = 1.0 / std::sqrt(static_cast<double>(shape.back()));
    for (float& v : values) v = static_cast<float>(norm ? 1.0 : spread * rng.normal());
    if (name.ends_with("running_var")) std::fill(values.begin(), values.end(), 1.0F);
    return values;
  };
}

const std::map<std::string, MoeSchedule> kSchedules{{"expert_order", MoeSchedule::kExpertOrder},
                                                    {"token_order", MoeSchedule::kTokenOrder},
                                                    {"dense", MoeSchedule::kDense}};

nlohmann::json measure(const Shape& shape, Precision precision, int threads, int pairs, const std::string& isa) {
  const Config config = config_of(shape);
  const Model model =
      Model::from_bytes(pack_model(config, random_weights(config),
                                   {.dtype = precision, .layers = {{"head.depth", Precision::kF32}}}, "bench"),
                        "bench");
  std::vector<float> image(3 * static_cast<std::size_t>(shape.height) * static_cast<std::size_t>(shape.width));
  Rng rng{11};
  for (float& v : image) v = static_cast<float>(rng.normal());
  std::map<std::string, Session> sessions;
  std::map<std::string, std::vector<double>> router;
  std::map<std::string, std::vector<double>> experts;
  std::vector<float> want(model.output_size("depth"));
  std::vector<float> got(want.size());
  for (const auto& [name, schedule] : kSchedules) {
    Session& session =
        sessions
            .emplace(name, model.session({.threads = threads, .schedule = schedule, .isa = isa, .keep_times = true}))
            .first->second;
    session.run("depth", image, name == kSchedules.begin()->first ? want : got);
    if (name != kSchedules.begin()->first && std::memcmp(want.data(), got.data(), got.size() * sizeof(float)) != 0) {
      throw std::runtime_error(name + " differs from " + kSchedules.begin()->first);
    }
  }
  const std::string ran(sessions.begin()->second.isa());
  double peak = 0.0;
  for (int i = 0; i < pairs; ++i) {
    peak = std::max(peak, measured_peak(ran, precision));
    for (auto& [name, session] : sessions) {
      session.run("depth", image, got);
      router[name].push_back(session.times().router * 1e3);
      experts[name].push_back(session.times().experts * 1e3);
    }
  }
  const double operations = 2.0 * 2.0 * static_cast<double>(shape.tokens()) * shape.top_k * shape.dim * shape.hidden;
  nlohmann::json result{{"precision", precision_name(precision)},
                        {"tokens", shape.tokens()},
                        {"experts", shape.experts},
                        {"top_k", shape.top_k},
                        {"threads", threads},
                        {"isa", ran},
                        {"peak_gops_a_core", peak * 1e-9}};
  for (const auto& [name, schedule] : kSchedules) {
    const double ms = median(experts[name]);
    const double best = *std::min_element(experts[name].begin(), experts[name].end());
    result[name] = {{"router_ms", median(router[name])}, {"experts_ms", ms}, {"experts_best_ms", best}};
    if (peak > 0.0) {
      result[name]["share_of_peak"] = operations / (ms * 1e-3) / (peak * threads);
      result[name]["share_of_peak_best"] = operations / (best * 1e-3) / (peak * threads);
    }
  }
  fmt::print(stderr, "{:<5} {:>5} tokens, top-{} of {}, {} threads ({}): router {:.3f} ms, experts {:.3f} ms",
             precision_name(precision), shape.tokens(), shape.top_k, shape.experts, threads, ran,
             median(router["expert_order"]), median(experts["expert_order"]));
  if (peak > 0.0) {
    fmt::print(stderr, " ({:.0f} % of peak, best {:.0f} %)",
               100.0 * result["expert_order"]["share_of_peak"].get<double>(),
               100.0 * result["expert_order"]["share_of_peak_best"].get<double>());
  }
  fmt::print(stderr, "; token order {:.2f} x, dense {:.2f} x\n",
             median(experts["token_order"]) / median(experts["expert_order"]),
             median(experts["dense"]) / median(experts["expert_order"]));
  return result;
}

int run(int argc, char** argv) {
  CLI::App app{"one MoE layer by precision and schedule"};
  int pairs = 31;
  std::vector<int> threads{1, 2};
  std::vector<std::string> precisions{"f32", "bf16", "int8"};
  std::string isa;
  Shape shape;
  bool one = false;
  app.add_option("--pairs", pairs)->capture_default_str();
  app.add_option("--threads", threads)->capture_default_str();
  app.add_option("--precisions", precisions)->capture_default_str();
  app.add_option("--isa", isa, "default: the best here");
  app.add_option("--embed-dim", shape.dim)->capture_default_str();
  app.add_option("--experts", shape.experts)->capture_default_str();
  app.add_option("--expert-hidden", shape.hidden)->capture_default_str();
  auto* size = app.add_option(
      "--size",
      [&](const std::vector<std::string>& v) {
        one = true;
        return std::sscanf(v[0].c_str(), "%dx%d", &shape.height, &shape.width) == 2;
      },
      "HxW of one image instead of 512x512 with top-4 and 128x256 with top-2");
  app.add_option("--top-k", shape.top_k)->needs(size);
  CLI11_PARSE(app, argc, argv);
  std::vector<Shape> shapes{shape};
  if (!one) {
    Shape small = shape;
    small.height = 128;
    small.width = 256;
    small.top_k = 2;
    shapes.push_back(small);
  }
  nlohmann::json results = nlohmann::json::array();
  for (const Shape& s : shapes) {
    for (const std::string& precision : precisions) {
      const std::optional<Precision> p = find_precision(precision);
      if (!p) throw std::runtime_error("--precisions: f32, bf16 or int8");
      for (const int t : threads) results.push_back(measure(s, *p, t, pairs, isa));
    }
  }
  std::cout << results.dump(1) << '\n';
  return 0;
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) {
  try {
    return m3vit::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "moe_bench: {}\n", e.what());
    return 1;
  }
}
