#include "accel/golden/golden.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "runtime/resample.h"

namespace m3vit::accel {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

/// Rows of int8, and of accumulators.
using Rows = std::vector<std::int8_t>;
using Sums = std::vector<std::int32_t>;

/// Exact dot products of every row of x with every weight row of m: [rows][out].
Sums multiply(const QLinear& m, std::span<const std::int8_t> x) {
  const std::size_t in = size(m.in);
  const std::size_t out = size(m.out);
  const std::size_t rows = x.size() / in;
  assert(rows * in == x.size());
  const std::vector<std::int16_t> wide_x(x.begin(), x.end());  // 16 bit: compilers have a dot product for it
  const std::vector<std::int16_t> wide_w(m.weight.begin(), m.weight.end());
  Sums y(rows * out);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::int16_t* a = wide_x.data() + r * in;
    for (std::size_t o = 0; o < out; ++o) {
      const std::int16_t* w = wide_w.data() + o * in;
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < in; ++i) sum += std::int32_t{a[i]} * std::int32_t{w[i]};
      y[r * out + o] = sum;
    }
  }
  return y;
}

Rows linear(const QLinear& m, std::span<const std::int8_t> x, Act act = Act::kNone, const ActTable& table = {}) {
  const Sums sums = multiply(m, x);
  Rows y(sums.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = activate(sat8(requantise(sums[i], m.params[i % size(m.out)])), act, table);
  }
  return y;
}

Rows norm(const QNorm& n, std::span<const std::int16_t> x) {
  const std::size_t d = n.params.size();
  Rows y(x.size());
  for (std::size_t r = 0; r < x.size(); r += d) {
    RowStats s;
    for (std::size_t c = 0; c < d; ++c) {
      s.sum += x[r + c];
      s.squares += std::int64_t{x[r + c]} * x[r + c];
    }
    const InverseSqrt scale = norm_scale(s, static_cast<int>(d), n.eps);
    for (std::size_t c = 0; c < d; ++c) {
      y[r + c] = norm_affine(normalise(x[r + c], s, static_cast<int>(d), scale), n.params[c], n.shift);
    }
  }
  return y;
}

Rows upsampled(std::span<const std::int8_t> x, int height, int width, int channels) {
  Rows y(4 * x.size());
  const auto at = [&](int r, int c) {
    return x.data() + size(std::clamp(r, 0, height - 1) * width + std::clamp(c, 0, width - 1)) * size(channels);
  };
  for (int r = 0; r < 2 * height; ++r) {
    for (int c = 0; c < 2 * width; ++c) {
      const int fr = r / 2 + (r % 2 == 0 ? -1 : 1);
      const int fc = c / 2 + (c % 2 == 0 ? -1 : 1);
      for (std::size_t i = 0; i < size(channels); ++i) {
        y[size(r * 2 * width + c) * size(channels) + i] =
            upsample(at(r / 2, c / 2)[i], at(r / 2, fc)[i], at(fr, c / 2)[i], at(fr, fc)[i]);
      }
    }
  }
  return y;
}

Rows convolve(const QLinear& conv, std::span<const std::int8_t> x, int height, int width) {
  const auto channels = static_cast<std::ptrdiff_t>(conv.in / 9);
  Rows y;
  y.reserve(size(height * width) * size(conv.out));
  Rows rows(size(width) * size(conv.in));  // of one line of the map
  for (int r = 0; r < height; ++r) {
    std::fill(rows.begin(), rows.end(), std::int8_t{0});
    for (int c = 0; c < width; ++c) {
      for (int tap = 0; tap < 9; ++tap) {
        const int sr = r + tap / 3 - 1;
        const int sc = c + tap % 3 - 1;
        if (sr < 0 || sr >= height || sc < 0 || sc >= width) continue;
        std::copy_n(x.begin() + (sr * width + sc) * channels, channels, rows.begin() + (c * 9 + tap) * channels);
      }
    }
    const Rows line = linear(conv, rows, Act::kRelu);
    y.insert(y.end(), line.begin(), line.end());
  }
  return y;
}

void add_row(const QLinear& m, std::span<const std::int32_t> sums, std::uint16_t gate, std::span<std::int16_t> x,
             std::uint64_t& clamped) {
  for (std::size_t c = 0; c < x.size(); ++c) {
    x[c] = add_residual(x[c], gated(requantise(sums[c], m.params[c]), gate), clamped);
  }
}

class Frame {
 public:
  Frame(const QuantModel& model, int task, ExpertOrder order)
      : model_(model), m_(model.config.model), d_(size(m_.embed_dim)), task_(task), order_(order) {}

  GoldenFrame run(std::span<const std::int8_t> pixels) {
    x_ = model_.position;
    add_rows(model_.patch, pixels, /*first=*/1);
    for (const QBlock& block : model_.blocks) {
      attention(block);
      const Rows n = norm(block.norm2, x_);
      for (const QMlp& slice : block.slices) add_rows(slice.fc2, linear(slice.fc1, n, Act::kTable, block.gelu), 0);
      if (block.routers.empty()) continue;
      out_.routing.push_back(
          golden_moe(block, block.routers.at(task_), m_.moe->top_k, model_.gate_table, n, x_, order_, out_.clamped));
    }
    head();
    out_.residual = std::move(x_);
    return std::move(out_);
  }

 private:
  /// x[first + r] += post(W · row r).
  void add_rows(const QLinear& m, std::span<const std::int8_t> rows, std::size_t first) {
    const Sums sums = multiply(m, rows);
    for (std::size_t r = 0; r < sums.size() / d_; ++r) {
      add_row(m, std::span(sums).subspan(r * d_, d_), kGateOne, std::span(x_).subspan((first + r) * d_, d_),
              out_.clamped);
    }
  }

  void attention(const QBlock& block) {
    const Rows n = norm(block.norm1, x_);
    const std::size_t tokens = x_.size() / d_;
    Rows mixed(x_.size());
    const std::size_t width = d_ / block.heads.size();
    std::vector<std::int16_t> scores(tokens);
    std::vector<std::uint8_t> p(tokens);
    for (std::size_t h = 0; h < block.heads.size(); ++h) {
      const QHeadAttention& head = block.heads[h];
      const Rows q = linear(head.q, n);
      const Rows v = linear(head.v, n);
      const QLinear keys{static_cast<int>(width), static_cast<int>(tokens), linear(head.k, n), {}};
      const Sums products = multiply(keys, q);
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t j = 0; j < tokens; ++j) scores[j] = sat16(requantise(products[t * tokens + j], head.score));
        const Reciprocal share = reciprocal(softmax_row(scores, p), head.gain);
        for (std::size_t c = 0; c < width; ++c) {
          std::int32_t sum = 0;
          for (std::size_t j = 0; j < tokens; ++j) sum += p[j] * v[j * width + c];
          mixed[t * d_ + h * width + c] = sat8(rshift(std::int64_t{sum} * share.r, head.shift_out - share.n));
        }
      }
    }
    add_rows(block.proj, mixed, 0);
  }

  void head() {
    const QHead& head = model_.heads.at(task_);
    int height = m_.grid_h();
    int width = m_.grid_w();
    Rows map = norm(head.norm, std::span(x_).subspan(d_));
    for (std::size_t s = 0; s < head.convs.size(); ++s) {
      if (s > 0) {
        map = upsampled(map, height, width, m_.head.channels);
        height *= 2;
        width *= 2;
      }
      map = convolve(head.convs[s], map, height, width);
    }
    const Sums sums = multiply(head.last, map);
    out_.height = height;
    out_.width = width;
    out_.outputs = head.last.out;
    out_.output.resize(sums.size());
    for (std::size_t i = 0; i < sums.size(); ++i) {
      out_.output[i] = sat16(requantise(sums[i], head.last.params[i % size(head.last.out)]));
    }
  }

  const QuantModel& model_;
  const ModelConfig& m_;
  std::size_t d_;
  int task_;
  ExpertOrder order_;
  std::vector<std::int16_t> x_;
  GoldenFrame out_;
};

}  // namespace

Entries route(std::span<const std::int32_t> logits, int top_k, const QRouter& router, const GateTable& table,
              int token) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[size(a)] > logits[size(b)]; });
  const std::int32_t most = logits[size(order[0])];
  std::vector<std::uint16_t> p(logits.size());
  std::uint32_t sum = 0;
  for (std::size_t e = 0; e < p.size(); ++e) {
    const auto below = static_cast<std::uint32_t>(std::int64_t{most} - logits[e]);
    p[e] = gate_weight(below, router.logit.mul, router.logit.shift, table);
    sum += p[e];
  }
  const Reciprocal share = reciprocal(sum, 1U << 14U);
  Entries entries;
  for (std::size_t j = 0; j < size(top_k); ++j) {
    const std::uint16_t g = gate_share(p[size(order[j])], share);
    if (g >= router.prune) entries.push_back({token, router.first + order[j], g});
  }
  return entries;
}

Entries golden_moe(const QBlock& block, const QRouter& router, int top_k, const GateTable& table,
                   std::span<const std::int8_t> rows, std::span<std::int16_t> x, ExpertOrder order,
                   std::uint64_t& clamped) {
  const Sums sums = multiply(router.gate, rows);
  const std::size_t columns = size(router.gate.out);
  const std::size_t d = size(router.gate.in);
  Entries entries;
  Sums logits(columns);
  for (std::size_t t = 0; t < sums.size() / columns; ++t) {
    for (std::size_t e = 0; e < columns; ++e) logits[e] = sums[t * columns + e] + router.gate.params[e].bias;
    const Entries chosen = route(logits, top_k, router, table, static_cast<int>(t));
    entries.insert(entries.end(), chosen.begin(), chosen.end());
  }
  Entries items = entries;
  if (order == ExpertOrder::kExpert) {
    std::stable_sort(items.begin(), items.end(), [](const Entry& a, const Entry& b) { return a.expert < b.expert; });
  }
  for (auto first = items.begin(); first != items.end();) {  // runs of one expert
    const auto last = std::find_if(first, items.end(), [&](const Entry& e) { return e.expert != first->expert; });
    const QMlp& w = block.experts.at(first->expert);
    Rows gathered;
    for (auto e = first; e != last; ++e) {
      const std::span<const std::int8_t> row = rows.subspan(size(e->token) * d, d);
      gathered.insert(gathered.end(), row.begin(), row.end());
    }
    const Sums y = multiply(w.fc2, linear(w.fc1, gathered, Act::kTable, block.gelu));
    for (std::size_t i = 0; first != last; ++first, ++i) {
      add_row(w.fc2, std::span(y).subspan(i * d, d), first->gate, x.subspan(size(first->token) * d, d), clamped);
    }
  }
  return entries;
}

std::uint32_t softmax_row(std::span<const std::int16_t> scores, std::span<std::uint8_t> p) {
  const std::int32_t most = *std::max_element(scores.begin(), scores.end());
  std::uint32_t sum = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) sum += p[j] = softmax_weight(most - scores[j]);
  return sum;
}

GoldenFrame golden_run(const QuantModel& model, int task, std::span<const std::int8_t> pixels, ExpertOrder order) {
  return Frame(model, task, order).run(pixels);
}

std::vector<std::int8_t> input_rows(const ModelConfig& m, std::span<const float> image) {
  constexpr double kMean[3] = {0.485, 0.456, 0.406};  // docs/formats.md, "Network input"
  constexpr double kDeviation[3] = {0.229, 0.224, 0.225};
  const int p = m.patch_size;
  std::vector<std::int8_t> rows;
  rows.reserve(image.size());
  for (int patch = 0; patch < m.grid_h() * m.grid_w(); ++patch) {
    const int top = patch / m.grid_w() * p;
    const int left = patch % m.grid_w() * p;
    for (int i = 0; i < 3 * p * p; ++i) {
      const int plane = i / (p * p);
      const int y = top + i / p % p;
      const int x = left + i % p;
      const double v = double{image[size((plane * m.height() + y) * m.width() + x)]};
      const double level = std::floor((v * kDeviation[plane] + kMean[plane]) * 255.0 + 0.5);
      rows.push_back(static_cast<std::int8_t>(std::clamp(level, 0.0, 255.0) - 128.0));
    }
  }
  return rows;
}

std::vector<float> output_planes(const QuantModel& model, int task, const GoldenFrame& frame) {
  const ModelConfig& m = model.config.model;
  const std::size_t pixels = size(frame.height * frame.width);
  const std::size_t outputs = size(frame.outputs);
  const double scale = model.heads.at(task).scale;
  std::vector<float> planes(pixels * outputs);
  for (std::size_t p = 0; p < pixels; ++p) {
    for (std::size_t c = 0; c < outputs; ++c) {
      planes[c * pixels + p] = static_cast<float>(frame.output[p * outputs + c] * scale);
    }
  }
  const std::vector<float> doubled =
      resize_planes(planes, frame.outputs, frame.height, frame.width, 2 * frame.height, 2 * frame.width);
  return resize_planes(doubled, frame.outputs, 2 * frame.height, 2 * frame.width, m.height(), m.width());
}

}  // namespace m3vit::accel
