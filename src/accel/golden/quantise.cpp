#include "accel/golden/quantise.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace m3vit::accel {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

constexpr double kResidualHeadroom = 4.0;  ///< times the largest residual of calibration, so that none is clamped
constexpr double kOutputHeadroom = 2.0;
constexpr double kMean[3] = {0.485, 0.456, 0.406};  // docs/formats.md, "Network input"
constexpr double kDeviation[3] = {0.229, 0.224, 0.225};

double largest(std::span<const float> values) {
  double most = 0.0;
  for (const float v : values) most = std::max(most, std::abs(double{v}));
  return most;
}

std::int8_t quantised(double v, double step) {
  return static_cast<std::int8_t>(std::clamp(std::floor(v / step + 0.5), -127.0, 127.0));
}
/// What int8 of this step makes of v.
double rounded(double v, double step) { return quantised(v, step) * step; }

/// The step with the least Σ error(v, step) among `most` / 127 and smaller ones that clamp.
template <class F>
double best_step(double most, const F& error) {
  if (most == 0.0) return 1.0;
  double best = most / 127.0;
  double least = error(best);
  for (int i = 1; i < 24; ++i) {
    const double step = most / 127.0 * (1.0 - 0.03 * i);
    const double e = error(step);
    if (e < least) {
      least = e;
      best = step;
    }
  }
  return best;
}

/// Step for a sample of values.
double sample_step(std::span<const float> values, double most) {
  return best_step(most, [&](double step) {
    double sum = 0.0;
    for (const float v : values) {
      const double d = rounded(double{v}, step) - double{v};
      sum += d * d;
    }
    return sum;
  });
}

/// Columns [first, first + n) of sampled rows.
std::vector<float> columns(const Samples& s, int first, int n) {
  std::vector<float> values;
  values.reserve(size(s.count()) * size(n));
  for (int r = 0; r < s.count(); ++r) {
    const auto* row = s.rows.data() + size(r) * size(s.channels) + size(first);
    values.insert(values.end(), row, row + n);
  }
  return values;
}

/// A step for each channel of `s`, balanced against the weights that read the channel: `reads[c]` is the largest
/// magnitude among them.
std::vector<double> balanced_steps(const Samples& s, const std::vector<double>& reads) {
  std::vector<double> steps(size(s.channels), 1.0);
  double floor = 0.0;
  for (const float a : s.absmax) floor = std::max(floor, 1e-4 * double{a});
  for (std::size_t c = 0; c < steps.size(); ++c) {
    const double a = std::max(double{s.absmax[c]}, floor);
    if (a > 0.0 && reads[c] > 0.0) steps[c] = std::sqrt(a / reads[c]);
  }
  std::vector<float> scaled = s.rows;
  double most = 0.0;
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] /= static_cast<float>(steps[i % steps.size()]);
  for (std::size_t c = 0; c < steps.size(); ++c) most = std::max(most, double{s.absmax[c]} / steps[c]);
  const double common = sample_step(scaled, most);
  for (double& step : steps) step *= common;
  return steps;
}

/// Largest weight by input channel; a convolution's taps share a channel.
void read_by(std::vector<double>& reads, const FLinear& m) {
  for (std::size_t i = 0; i < size(m.in); ++i) {
    double& most = reads[i % reads.size()];
    most = std::max(most, largest(std::span(m.weight).subspan(i * size(m.out), size(m.out))));
  }
}

class Quantiser {
 public:
  explicit Quantiser(const FloatModel& model) : model_(model), m_(model.config.model) {}

  QuantModel run(const Ranges& ranges) {
    QuantModel q;
    q.config = model_.config;
    q.tasks = model_.tasks;
    q.gate_table = gate_table();
    double most = 0.0;
    for (int b = -1; b < m_.depth; ++b) {
      for (const float a : ranges.at(Probe::kResidual, b).absmax) most = std::max(most, double{a});
    }
    residual_ = std::max(most, 1e-6) * kResidualHeadroom / 32767.0;
    q.residual_scale = residual_;
    embed(q);
    for (int b = 0; b < m_.depth; ++b) q.blocks.push_back(block(ranges, b));
    for (const int t : model_.tasks) q.heads[t] = head(ranges, t);
    return q;
  }

 private:
  [[noreturn]] void fail(const std::string& field, const std::string& wanted, double found) const {
    throw Error{{.where = "accelerator", .field = field, .wanted = wanted, .found = std::to_string(found), .hint = {}}};
  }

  /// Columns [first, first + n) of m. in_steps: value of one unit of each input; out_steps: of each output.
  QLinear linear(const FLinear& m, std::span<const double> in_steps, std::span<const double> out_steps, int first,
                 int n) const {
    QLinear q{m.in, n, std::vector<std::int8_t>(size(m.in) * size(n)), std::vector<Param>(size(n))};
    std::vector<float> w(size(m.in));
    for (std::size_t o = 0; o < size(n); ++o) {
      const std::size_t column = size(first) + o;
      for (std::size_t i = 0; i < w.size(); ++i) {
        w[i] = static_cast<float>(double{m.weight[i * size(m.out) + column]} * in_steps[i % in_steps.size()]);
      }
      const double bias = double{m.bias[column]};
      double step = sample_step(w, largest(w));
      if (largest(w) == 0.0) step = out_steps[o];  // a bias alone
      step = std::max(step, std::abs(bias) / double{1U << 30U});
      for (std::size_t i = 0; i < w.size(); ++i) {
        q.weight[o * w.size() + i] = quantised(double{w[i]}, step);
      }
      q.params[o] = encode_gain(step / out_steps[o]);
      q.params[o].bias = static_cast<std::int32_t>(std::lround(bias / step));
    }
    return q;
  }
  QLinear linear(const FLinear& m, std::span<const double> in_steps, double out_step) const {
    return linear(m, in_steps, std::vector<double>(size(m.out), out_step), 0, m.out);
  }

  QNorm norm(const FNorm& n, const std::vector<double>& steps) const {
    QNorm q;
    const std::size_t d = n.weight.size();
    double most = 0.0;
    double offset = 0.0;
    for (std::size_t c = 0; c < d; ++c) {
      most = std::max(most, std::abs(double{n.weight[c]}) / steps[c] / 1024.0);
      offset = std::max(offset, std::abs(double{n.bias[c]}) / steps[c]);
    }
    while (q.shift < 30 && most * std::ldexp(1.0, q.shift + 1) < 32767.0 &&
           offset * std::ldexp(1.0, q.shift + 1) < 0x1p30) {
      ++q.shift;
    }
    const double one = std::ldexp(1.0, q.shift);
    for (std::size_t c = 0; c < d; ++c) {
      const auto mul = static_cast<std::int16_t>(
          std::clamp(std::nearbyint(double{n.weight[c]} / steps[c] / 1024.0 * one), -32767.0, 32767.0));
      const double bias = double{n.bias[c]} / steps[c] * one;
      if (std::abs(bias) > 0x1.fp30) fail("norm", "biases within 2^30 steps", bias);
      q.params.push_back({static_cast<std::int32_t>(std::lround(bias)), static_cast<std::uint16_t>(mul), 0});
    }
    const double eps = 1e-6 * double(d) * double(d) / (residual_ * residual_);
    q.eps = static_cast<std::uint32_t>(std::clamp(std::nearbyint(eps), 1.0, 4294967295.0));
    return q;
  }

  void embed(QuantModel& q) const {
    // Inputs are pixels − 128: x = ((u + 128) / 255 − mean) / deviation.
    FLinear patch = model_.patch;
    const int plane = m_.patch_size * m_.patch_size;
    std::vector<double> steps;
    std::vector<double> offset(size(patch.out));
    for (int i = 0; i < patch.in; ++i) {
      steps.push_back(1.0 / (255.0 * kDeviation[i / plane]));
      const double zero = (128.0 / 255.0 - kMean[i / plane]) / kDeviation[i / plane];
      for (std::size_t o = 0; o < offset.size(); ++o)
        offset[o] += zero * double{patch.weight[size(i) * offset.size() + o]};
    }
    for (std::size_t o = 0; o < offset.size(); ++o) patch.bias[o] += static_cast<float>(offset[o]);
    q.patch = linear(patch, steps, residual_);
    for (const float v : model_.position) q.position.push_back(sat16(std::lround(double{v} / residual_)));
  }

  QHeadAttention attention_head(const Samples& qkv, const Samples& mixed, const FLinear& w,
                                const std::vector<double>& in, int h, double& out_step) const {
    const int width = m_.embed_dim / m_.num_heads;
    const int d = m_.embed_dim;
    // Channel c of q and of k share one product of steps: balance the two against each other.
    std::vector<double> q_steps;
    std::vector<double> k_steps;
    std::vector<float> scaled_q = columns(qkv, h * width, width);
    std::vector<float> scaled_k = columns(qkv, d + h * width, width);
    double q_most = 0.0;
    double k_most = 0.0;
    for (int c = 0; c < width; ++c) {
      const double a = std::max(double{qkv.absmax[size(h * width + c)]}, 1e-6);
      const double b = std::max(double{qkv.absmax[size(d + h * width + c)]}, 1e-6);
      q_steps.push_back(std::sqrt(a / b));
      k_steps.push_back(std::sqrt(b / a));
      q_most = std::max(q_most, a / q_steps.back());
      k_most = std::max(k_most, b / k_steps.back());
    }
    for (std::size_t i = 0; i < scaled_q.size(); ++i) scaled_q[i] /= static_cast<float>(q_steps[i % size(width)]);
    for (std::size_t i = 0; i < scaled_k.size(); ++i) scaled_k[i] /= static_cast<float>(k_steps[i % size(width)]);
    const double sq = sample_step(scaled_q, q_most);
    const double sk = sample_step(scaled_k, k_most);
    for (double& s : q_steps) s *= sq;
    for (double& s : k_steps) s *= sk;
    const auto most = [&](const Samples& s, int first) {
      return largest(std::span(s.absmax).subspan(size(first), size(width)));
    };
    const double v_step = sample_step(columns(qkv, 2 * d + h * width, width), most(qkv, 2 * d + h * width));
    out_step = std::max(sample_step(columns(mixed, h * width, width), most(mixed, h * width)), v_step * 0x1p-7);

    QHeadAttention q;
    q.q = linear(w, in, q_steps, h * width, width);
    q.k = linear(w, in, k_steps, d + h * width, width);
    q.v = linear(w, in, std::vector<double>(size(width), v_step), 2 * d + h * width, width);
    q.score = encode_gain(sq * sk / std::sqrt(double(width)) * std::numbers::log2e * 32.0);
    const double gain = v_step / out_step;
    const int exponent = 14 - static_cast<int>(std::floor(std::log2(gain)));
    q.gain = static_cast<std::uint16_t>(std::min(std::lround(std::ldexp(gain, exponent)), 32767L));
    q.shift_out = 26 + exponent;
    if (q.shift_out < 19 || q.shift_out > 63) fail("attention", "an output gain of 2^-23 … 2^20", gain);
    return q;
  }

  /// GELU's table, and the steps before and after it.
  ActTable gelu_steps(const Samples& hidden, double& before, double& after) const {
    std::vector<float> out;
    double out_most = 0.0;
    for (const float v : hidden.rows) out.push_back(gelu(v));
    for (const float a : hidden.absmax) out_most = std::max(out_most, double{gelu(a)});
    out_most = std::max(out_most, 0.17);  // gelu's smallest value is −0.17
    after = sample_step(out, out_most);
    before = best_step(largest(hidden.absmax), [&](double step) {
      double sum = 0.0;
      for (std::size_t i = 0; i < out.size(); ++i) {
        const double e = double{gelu(static_cast<float>(rounded(double{hidden.rows[i]}, step)))} - double{out[i]};
        sum += e * e;
      }
      return sum;
    });
    ActTable table{};
    for (int i = 0; i < 256; ++i) {
      table[size(i)] = quantised(double{gelu(static_cast<float>((i - 128) * before))}, after);
    }
    return table;
  }

  QMlp mlp(const FMlp& w, const std::vector<double>& in, double before, double after, int first, int n) const {
    QMlp q;
    q.fc1 = linear(w.fc1, in, std::vector<double>(size(n), before), first, n);
    FLinear part{n, w.fc2.out, {}, w.fc2.bias};
    part.weight.assign(w.fc2.weight.begin() + static_cast<std::ptrdiff_t>(first) * w.fc2.out,
                       w.fc2.weight.begin() + static_cast<std::ptrdiff_t>(first + n) * w.fc2.out);
    if (first > 0) std::fill(part.bias.begin(), part.bias.end(), 0.0F);  // once, with the first slice
    const double step[] = {after};
    q.fc2 = linear(part, step, residual_);
    return q;
  }

  QRouter router(const FRouter& r, const std::vector<double>& in) const {
    const FLinear& w = r.gate;
    double most = 0.0;
    for (std::size_t i = 0; i < w.weight.size(); ++i) {
      most = std::max(most, std::abs(double{w.weight[i]}) * in[i / size(w.out)]);
    }
    double step = most > 0.0 ? most / 127.0 : 1.0;  // one for all columns: logits are compared as they are
    step = std::max(step, largest(w.bias) / double{1U << 29U});
    QRouter q{
        {w.in, w.out, std::vector<std::int8_t>(w.weight.size()), std::vector<Param>(size(w.out))}, r.first, {}, 0};
    for (std::size_t o = 0; o < size(w.out); ++o) {
      for (std::size_t i = 0; i < size(w.in); ++i) {
        q.gate.weight[o * size(w.in) + i] = quantised(double{w.weight[i * size(w.out) + o]} * in[i], step);
      }
      q.gate.params[o].bias = static_cast<std::int32_t>(std::lround(double{w.bias[o]} / step));
    }
    q.logit = encode_gain(step * std::numbers::log2e * 256.0);
    q.prune = static_cast<std::uint16_t>(std::ceil(m_.moe->prune_below * 32768.0));
    return q;
  }

  QBlock block(const Ranges& ranges, int b) const {
    const FBlock& f = model_.blocks[size(b)];
    QBlock q;
    std::vector<double> reads(size(m_.embed_dim));
    read_by(reads, f.qkv);
    const std::vector<double> steps1 = balanced_steps(ranges.at(Probe::kNorm1, b), reads);
    q.norm1 = norm(f.norm1, steps1);
    std::vector<double> mixed_steps;
    const int width = m_.embed_dim / m_.num_heads;
    for (int h = 0; h < m_.num_heads; ++h) {
      double step = 1.0;
      q.heads.push_back(
          attention_head(ranges.at(Probe::kQkv, b), ranges.at(Probe::kAttention, b), f.qkv, steps1, h, step));
      mixed_steps.insert(mixed_steps.end(), size(width), step);
    }
    q.proj = linear(f.proj, mixed_steps, residual_);

    std::fill(reads.begin(), reads.end(), 0.0);
    if (f.routers.empty()) read_by(reads, f.mlp.fc1);
    for (const auto& [e, w] : f.experts) read_by(reads, w.fc1);
    const std::vector<double> steps2 = balanced_steps(ranges.at(Probe::kNorm2, b), reads);
    q.norm2 = norm(f.norm2, steps2);
    double before = 1.0;
    double after = 1.0;
    q.gelu = gelu_steps(ranges.at(Probe::kHidden, b), before, after);
    if (f.routers.empty()) {
      const int slice = m_.embed_dim;
      for (int first = 0; first < f.mlp.fc1.out; first += slice) {
        q.slices.push_back(mlp(f.mlp, steps2, before, after, first, std::min(slice, f.mlp.fc1.out - first)));
      }
    }
    for (const auto& [t, r] : f.routers) q.routers[t] = router(r, steps2);
    for (const auto& [e, w] : f.experts) q.experts[e] = mlp(w, steps2, before, after, 0, w.fc1.out);
    return q;
  }

  QHead head(const Ranges& ranges, int t) const {
    const FHead& f = model_.heads.at(t);
    QHead q;
    std::vector<double> reads(size(m_.embed_dim));
    read_by(reads, f.convs[0]);
    std::vector<double> steps = balanced_steps(ranges.at(Probe::kHeadNorm, Ranges::head_index(t, 0)), reads);
    q.norm = norm(f.norm, steps);
    for (std::size_t s = 0; s < f.convs.size(); ++s) {
      reads.assign(size(m_.head.channels), 0.0);
      read_by(reads, s + 1 < f.convs.size() ? f.convs[s + 1] : f.last);
      std::vector<double> out =
          balanced_steps(ranges.at(Probe::kConv, Ranges::head_index(t, static_cast<int>(s))), reads);
      q.convs.push_back(linear(f.convs[s], steps, out, 0, f.convs[s].out));
      steps = std::move(out);
    }
    const double most = largest(ranges.at(Probe::kOutput, Ranges::head_index(t, 0)).absmax);
    q.scale = std::max(most, 1e-6) * kOutputHeadroom / 32767.0;
    q.last = linear(f.last, steps, q.scale);
    return q;
  }

  const FloatModel& model_;
  const ModelConfig& m_;
  double residual_ = 1.0;
};

}  // namespace

Param encode_gain(double gain) {
  assert(gain >= 0.0);
  if (gain == 0.0) return {};
  const int shift = std::clamp(15 - static_cast<int>(std::floor(std::log2(gain))), 0, 47);
  const double mul = std::min(std::nearbyint(std::ldexp(gain, shift)), 65535.0);
  return {0, static_cast<std::uint16_t>(mul), static_cast<std::uint8_t>(shift)};
}

GateTable gate_table() {
  GateTable table{};
  for (std::size_t f = 0; f < table.size(); ++f) {
    table[f] = static_cast<std::uint16_t>(std::nearbyint(32768.0 * std::exp2(-static_cast<double>(f) / 256.0)));
  }
  return table;
}

QuantModel quantise(const FloatModel& model, const Ranges& ranges) { return Quantiser(model).run(ranges); }

}  // namespace m3vit::accel
