#include "cli/bench_measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

#include "cli/latency.h"
#include "core/error.h"
#include "core/image_io.h"
#include "core/model_cost.h"
#include "core/rng.h"

namespace m3vit::cli {

using nlohmann::json;

BenchSession::BenchSession(const Model& model, const SessionOptions& options, const std::vector<std::string>& tasks)
    : model_(model), session_(model.session(options)), tasks_(tasks) {
  picture_.resize(3 * static_cast<std::size_t>(model.height()) * static_cast<std::size_t>(model.width()));
  Rng rng(1);
  for (std::uint8_t& v : picture_) v = static_cast<std::uint8_t>(rng.below(256));
  for (const std::string& task : tasks_) outputs_.emplace_back(model.output_size(task));
}

const std::vector<float>& BenchSession::output(const std::string& task) const {
  return outputs_[static_cast<std::size_t>(std::find(tasks_.begin(), tasks_.end(), task) - tasks_.begin())];
}

const std::vector<float>& BenchSession::run(const std::string& task) {
  auto& out = const_cast<std::vector<float>&>(output(task));
  session_.run(task, RgbView{picture_.data(), model_.height(), model_.width()}, out);
  return out;
}

std::vector<float> BenchSession::planes() const {
  ImageU8 image(model_.height(), model_.width(), 3);
  image.data = picture_;
  std::vector<float> planes(picture_.size());
  normalise_rgb(image, planes);
  return planes;
}

void BenchSession::run_all() {
  const std::vector<std::string_view> names(tasks_.begin(), tasks_.end());
  const std::vector<std::span<float>> outs(outputs_.begin(), outputs_.end());
  session_.run(names, RgbView{picture_.data(), model_.height(), model_.width()}, outs);
}

void require_same_bits(const std::string& what, const std::string& task, const std::vector<float>& got,
                       const std::vector<float>& want) {
  if (got.size() == want.size() && std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0) return;
  throw Error{{.where = "m3vit bench: " + what,
               .field = task,
               .wanted = "the same bits as expert_order",
               .found = "a relative difference of " + std::to_string(relative_difference(got, want))}};
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0.0;
  double scale = std::numeric_limits<double>::min();
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::abs(double{a[i]} - double{b[i]});
    most = std::isfinite(d) ? std::max(most, d) : std::numeric_limits<double>::infinity();
    scale = std::max(scale, std::abs(double{b[i]}));
  }
  return a.size() == b.size() ? most / scale : std::numeric_limits<double>::infinity();
}

json spread(const std::vector<double>& milliseconds) {
  return {
      {"median", median(milliseconds)}, {"p10", percentile(milliseconds, 10)}, {"p90", percentile(milliseconds, 90)}};
}

json part_macs(const Config& config, const std::string& task) {
  json parts{{"embed", 0}, {"attention", 0}, {"dense_mlp", 0}, {"router", 0}, {"experts", 0}, {"head", 0}};
  for (const TaskCost& cost : model_cost(config).tasks) {
    if (cost.task != task) continue;
    for (const LayerCost& layer : cost.layers) {
      const bool attn = layer.kind == "attention" || layer.name.find(".attn") != std::string::npos;
      const std::string part = layer.kind == "patch_embed" ? "embed"
                               : attn                      ? "attention"
                               : layer.kind == "linear"    ? "dense_mlp"
                                                           : layer.kind;
      parts[part] = parts[part].get<std::int64_t>() + layer.macs;
    }
  }
  return parts;
}

json part_ms(const PhaseTimes& t) {
  return {{"input", 1e3 * t.input},
          {"embed", 1e3 * t.embed},
          {"attention", 1e3 * t.attention},
          {"dense_mlp", 1e3 * t.dense_mlp},
          {"router", 1e3 * t.router},
          {"experts", 1e3 * t.experts},
          {"head", 1e3 * t.head}};
}

json measure_switch(BenchSession& session, const std::vector<std::string>& tasks, int rounds) {
  const auto timed = [&](const std::string& task) {
    const auto begin = std::chrono::steady_clock::now();
    session.run(task);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    for (const std::string& task : tasks) {
      const double first = timed(task);
      ratios.push_back(first / timed(task));
    }
  }
  return {{"first_over_steady", median(ratios)}, {"p90", percentile(ratios, 90)}, {"rounds", rounds}};
}

json measure_shared(const Model& model, const SessionOptions& options, const std::vector<std::string>& tasks,
                    int rounds) {
  SessionOptions sharing = options;
  sharing.share_prefix = true;
  BenchSession shared(model, sharing, tasks);
  BenchSession separate(model, options, tasks);
  shared.run_all();
  for (const std::string& task : tasks) {
    separate.run(task);
    require_same_bits("tasks of one frame together", task, shared.output(task), separate.output(task));
  }
  const auto ms = take_turns({{"shared", [&] { shared.run_all(); }},
                              {"separate",
                               [&] {
                                 for (const std::string& task : tasks) separate.run(task);
                               }}},
                             rounds);
  return {{"tasks", tasks},
          {"shared_ms", median(ms[0])},
          {"separate_ms", median(ms[1])},
          {"separate_over_shared", median_ratio(ms[1], ms[0])}};
}

}  // namespace m3vit::cli
