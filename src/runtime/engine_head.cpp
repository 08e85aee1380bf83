// The head of one task, by HeadRun.
#include <string>

#include "runtime/engine.h"

namespace m3vit {
namespace {

/// `scale` and `sums` are of int8 only. Names are short: they lie in the string object itself.
Matrix matrix(const WeightStore::Held& w, const std::string& name) {
  Matrix m;
  m.panels = w.at<std::byte>(name);
  if (w.layout().precision == Precision::kInt8) {
    m.scale = w[name + "_scale"];
    m.sums = w.at<std::int32_t>(name + "_sums");
  }
  return m;
}

}  // namespace

void Engine::head(int task, std::span<const Frame> frames) {
  const WeightStore::Held w = store_.hold(sections_.heads[static_cast<std::size_t>(task)]);
  HeadWeights& h = head_weights_;
  h.norm_weight = w["norm_weight"];
  h.norm_bias = w["norm_bias"];
  for (std::size_t s = 0; s < h.conv.size(); ++s) {
    const std::string name = "conv" + std::to_string(s);
    h.conv[s] = matrix(w, name);
    h.conv_bias[s] = w[name + "_bias"];
  }
  h.last = matrix(w, "last");
  h.last_bias = w["last_bias"];
  h.outputs = static_cast<std::size_t>(task_outputs(config_.tasks[static_cast<std::size_t>(task)], file_.where()));
  HeadRun& run = heads_.at(w.layout().precision);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const float* const patches = at<float>(plan_.x) + (i * tokens_ + 1) * stride_;  // without CLS
    run.run(h, patches, stride_ * sizeof(float), frames[i].out);
  }
}

}  // namespace m3vit
