// The head of one task: LayerNorm, 3×3 convolutions with ×2 between them, 1×1, ×2, and a resize where the image asks
// for another size. Maps are channels-last, so that a convolution is nine taps of the one matrix kernel.
#include <algorithm>
#include <string>

#include "runtime/engine.h"

namespace m3vit {

void Engine::head(int task, std::span<float> out) {
  const WeightStore::Held w = store_.hold(sections_.heads[static_cast<std::size_t>(task)]);
  const auto channels = static_cast<std::size_t>(model_.head.channels);
  float* zeros = at<float>(plan_.zeros);
  std::fill_n(zeros, std::max(dim_, channels), 0.0F);
  float* features = at<float>(plan_.features);
  layer_norm(at<float>(plan_.x) + stride_, tokens_ - 1, w["norm_weight"], w["norm_bias"], features);  // without CLS

  const float* in = features;
  std::size_t in_channels = dim_;
  for (std::size_t s = 0; s < plan_.stages.size(); ++s) {
    const FramePlan::Stage& stage = plan_.stages[s];
    const std::string name = "conv" + std::to_string(s);  // short: lies in the string object itself
    Gemm conv;
    conv.m = static_cast<std::size_t>(stage.height) * static_cast<std::size_t>(stage.width);
    conv.n = channels;
    conv.a.kind = RowSource::Kind::kConv3x3;
    conv.a.base = in;
    conv.a.stride = row_stride(in_channels) * sizeof(float);
    conv.a.segments = 9;
    conv.a.segment_k = in_channels;
    conv.a.height = stage.height;
    conv.a.width = stage.width;
    conv.a.zeros = zeros;
    conv.b.panels = w[name];
    conv.out.bias = w[name + "_bias"];
    conv.out.activation = Epilogue::Activation::kRelu;
    conv.out.c = at<float>(stage.conv);
    conv.out.stride = row_stride(channels) * sizeof(float);
    gemm(conv);
    in = at<float>(stage.conv);
    in_channels = channels;
    if (stage.up == FramePlan::kNone) continue;
    float* up = at<float>(stage.up);
    team_.run(2 * static_cast<std::size_t>(stage.height), [&](std::size_t line, std::size_t) {
      const int y = static_cast<int>(line);
      kernels_.upsample2(Precision::kF32, conv.out.c, conv.out.stride, stage.height, stage.width, channels, up,
                         conv.out.stride, y, y + 1);
    });
    in = up;
  }

  const FramePlan::Stage& final_stage = plan_.stages.back();
  const std::size_t outputs =
      out.size() / (static_cast<std::size_t>(model_.height()) * static_cast<std::size_t>(model_.width()));
  Gemm last;
  last.m = static_cast<std::size_t>(final_stage.height) * static_cast<std::size_t>(final_stage.width);
  last.n = outputs;
  last.a.base = in;
  last.a.stride = row_stride(channels) * sizeof(float);
  last.a.segment_k = channels;
  last.b.panels = w["last"];
  last.out.bias = w["last_bias"];
  last.out.c = at<float>(plan_.last);
  last.out.stride = row_stride(outputs) * sizeof(float);
  gemm(last);

  float* lines = at<float>(plan_.lines);
  const auto line_floats = 2 * static_cast<std::size_t>(final_stage.width);
  const auto resample = [&](const MapView& map, const ResampleAxis& y, const ResampleAxis& x, float* planes) {
    const auto height = static_cast<std::size_t>(y.out());
    const auto width = static_cast<std::size_t>(x.out());
    team_.run(height, [&](std::size_t line, std::size_t worker) {
      for (std::size_t c = 0; c < outputs; ++c) {
        resample_line(map, c, y, x, static_cast<int>(line), lines + worker * line_floats,
                      planes + (c * height + line) * width);
      }
    });
  };
  const MapView low{at<float>(plan_.last), 1, row_stride(outputs)};
  if (plan_.doubled == FramePlan::kNone) {
    resample(low, double_y_, double_x_, out.data());
    return;
  }
  float* doubled = at<float>(plan_.doubled);
  resample(low, double_y_, double_x_, doubled);
  const std::size_t plane = static_cast<std::size_t>(double_y_.out()) * static_cast<std::size_t>(double_x_.out());
  resample({doubled, plane, 1}, final_y_, final_x_, out.data());
}

}  // namespace m3vit
