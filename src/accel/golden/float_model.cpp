#include "accel/golden/float_model.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "runtime/head_plan.h"
#include "runtime/kernels/kernels.h"

namespace m3vit::accel {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

/// One section's tensors.
class SectionView {
 public:
  SectionView(const M3vFile& file, const SectionLayout& layout) : layout_(layout) {
    const M3vSection* section = file.find(layout.name);
    assert(section != nullptr && section->bytes.size() == layout.bytes);
    file.check(*section, section->bytes);
    if (layout.precision != Precision::kF32) {
      throw Error{{.where = file.where(),
                   .field = layout.name,
                   .wanted = "f32, which quantisation for the accelerator starts from",
                   .found = std::string(precision_name(layout.precision)),
                   .hint = "export from the .safetensors"}};
    }
    bytes_ = section->bytes;
  }

  std::vector<float> vector(const std::string& name, int n) const {
    std::vector<float> values(size(n));
    std::memcpy(values.data(), bytes_.data() + layout_.field(name).offset, values.size() * sizeof(float));
    return values;
  }
  FNorm norm(int channels) const { return {vector("norm_weight", channels), vector("norm_bias", channels)}; }
  /// The matrix `name` and its bias; nine segments in the order of kTapOrder when `taps`.
  FLinear linear(const std::string& name, int in, int out, bool taps = false) const {
    const std::size_t segments = taps ? 9 : 1;
    FLinear m{static_cast<int>(segments) * in, out, std::vector<float>(segments * size(in) * size(out)),
              vector(name + "_bias", out)};
    const std::vector<float> panels = vector(name, static_cast<int>(layout_.field(name).bytes / sizeof(float)));
    const std::size_t lines = groups(size(in), Precision::kF32);
    for (std::size_t s = 0; s < segments; ++s) {
      const std::size_t tap = taps ? size(kTapOrder[s]) : 0;
      for (std::size_t k = 0; k < size(in); ++k) {
        for (std::size_t n = 0; n < size(out); ++n) {
          const std::size_t line = ((n / kPanel) * segments + s) * lines + k;
          m.weight[(tap * size(in) + k) * size(out) + n] = panels[line * kPanel + n % kPanel];
        }
      }
    }
    return m;
  }

 private:
  const SectionLayout& layout_;
  std::span<const std::byte> bytes_;
};

/// y [rows][out] = x [rows][in] · W + b.
std::vector<float> linear(const FLinear& m, std::span<const float> x) {
  const std::size_t in = size(m.in);
  const std::size_t out = size(m.out);
  const std::size_t rows = x.size() / in;
  std::vector<float> y(rows * out);
  for (std::size_t r = 0; r < rows; ++r) {
    float* to = y.data() + r * out;
    std::copy(m.bias.begin(), m.bias.end(), to);
    for (std::size_t i = 0; i < in; ++i) {
      const float v = x[r * in + i];
      if (v == 0.0F) continue;
      const float* w = m.weight.data() + i * out;
      for (std::size_t o = 0; o < out; ++o) to[o] += v * w[o];
    }
  }
  return y;
}

std::vector<float> layer_norm(const FNorm& norm, std::span<const float> x) {
  const std::size_t d = norm.weight.size();
  std::vector<float> y(x.size());
  for (std::size_t r = 0; r < x.size(); r += d) {
    double mean = 0.0;
    double variance = 0.0;
    for (std::size_t c = 0; c < d; ++c) mean += double{x[r + c]};
    mean /= static_cast<double>(d);
    for (std::size_t c = 0; c < d; ++c) variance += (double{x[r + c]} - mean) * (double{x[r + c]} - mean);
    const double inverse = 1.0 / std::sqrt(variance / static_cast<double>(d) + 1e-6);
    for (std::size_t c = 0; c < d; ++c) {
      y[r + c] = static_cast<float>((double{x[r + c]} - mean) * inverse) * norm.weight[c] + norm.bias[c];
    }
  }
  return y;
}

void softmax(std::span<float> x) {
  const float most = *std::max_element(x.begin(), x.end());
  double sum = 0.0;
  for (float& v : x) sum += double{v = std::exp(v - most)};
  for (float& v : x) v = static_cast<float>(double{v} / sum);
}

std::vector<float> attention(std::span<const float> qkv, int dim, int heads) {
  const std::size_t d = size(dim);
  const std::size_t tokens = qkv.size() / (3 * d);
  const std::size_t width = d / size(heads);
  const float scale = 1.0F / std::sqrt(static_cast<float>(width));
  std::vector<float> y(tokens * d);
  std::vector<float> p(tokens);
  for (std::size_t h = 0; h < size(heads); ++h) {
    for (std::size_t t = 0; t < tokens; ++t) {
      const float* q = qkv.data() + t * 3 * d + h * width;
      for (std::size_t j = 0; j < tokens; ++j) {
        const float* k = qkv.data() + j * 3 * d + d + h * width;
        p[j] = scale * std::inner_product(q, q + width, k, 0.0F);
      }
      softmax(p);
      float* to = y.data() + t * d + h * width;
      for (std::size_t j = 0; j < tokens; ++j) {
        const float* v = qkv.data() + j * 3 * d + 2 * d + h * width;
        for (std::size_t c = 0; c < width; ++c) to[c] += p[j] * v[c];
      }
    }
  }
  return y;
}

void add(std::span<float> x, std::span<const float> y, float weight = 1.0F) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += weight * y[i];
}

/// Bilinear ×2 of [height][width][c].
std::vector<float> upsampled(std::span<const float> x, int height, int width, int channels) {
  std::vector<float> y(4 * x.size());
  const auto at = [&](int r, int c) {
    return x.data() + size(std::clamp(r, 0, height - 1) * width + std::clamp(c, 0, width - 1)) * size(channels);
  };
  for (int r = 0; r < 2 * height; ++r) {
    for (int c = 0; c < 2 * width; ++c) {
      const int fr = r / 2 + (r % 2 == 0 ? -1 : 1);
      const int fc = c / 2 + (c % 2 == 0 ? -1 : 1);
      float* to = y.data() + size(r * 2 * width + c) * size(channels);
      for (std::size_t i = 0; i < size(channels); ++i) {
        to[i] =
            (9.0F * at(r / 2, c / 2)[i] + 3.0F * at(r / 2, fc)[i] + 3.0F * at(fr, c / 2)[i] + at(fr, fc)[i]) / 16.0F;
      }
    }
  }
  return y;
}

std::vector<float> conv_relu(const FLinear& conv, std::span<const float> x, int height, int width) {
  const std::size_t channels = size(conv.in / 9);
  std::vector<float> y;
  y.reserve(size(height * width) * size(conv.out));
  std::vector<float> rows(size(width) * size(conv.in));
  for (int r = 0; r < height; ++r) {
    std::fill(rows.begin(), rows.end(), 0.0F);
    for (int c = 0; c < width; ++c) {
      for (int tap = 0; tap < 9; ++tap) {
        const int sr = r + tap / 3 - 1;
        const int sc = c + tap % 3 - 1;
        if (sr < 0 || sr >= height || sc < 0 || sc >= width) continue;
        std::copy_n(x.begin() + (sr * width + sc) * static_cast<std::ptrdiff_t>(channels), channels,
                    rows.begin() + static_cast<std::ptrdiff_t>(size(c) * size(conv.in) + size(tap) * channels));
      }
    }
    const std::vector<float> line = linear(conv, rows);
    y.insert(y.end(), line.begin(), line.end());
  }
  for (float& v : y) v = std::max(v, 0.0F);
  return y;
}

std::vector<float> patch_rows(const ModelConfig& m, std::span<const float> image) {
  const std::size_t p = size(m.patch_size);
  const std::size_t width = size(m.width());
  std::vector<float> rows;
  rows.reserve(image.size());
  for (std::size_t y = 0; y < size(m.grid_h()); ++y) {
    for (std::size_t x = 0; x < size(m.grid_w()); ++x) {
      for (std::size_t plane = 0; plane < 3; ++plane) {
        for (std::size_t line = 0; line < p; ++line) {
          const float* from = image.data() + (plane * size(m.height()) + y * p + line) * width + x * p;
          rows.insert(rows.end(), from, from + p);
        }
      }
    }
  }
  return rows;
}

class Forward {
 public:
  Forward(const FloatModel& model, int task, const Observer& observe)
      : model_(model), m_(model.config.model), task_(task), observe_(observe) {}

  std::vector<float> run(std::span<const float> image) {
    const std::size_t d = size(m_.embed_dim);
    x_ = model_.position;
    add(std::span(x_).subspan(d), linear(model_.patch, patch_rows(m_, image)));
    show(Probe::kResidual, -1, x_, m_.embed_dim);
    for (int b = 0; b < m_.depth; ++b) {
      const FBlock& block = model_.blocks[size(b)];
      const std::vector<float> n1 = layer_norm(block.norm1, x_);
      show(Probe::kNorm1, b, n1, m_.embed_dim);
      const std::vector<float> qkv = linear(block.qkv, n1);
      show(Probe::kQkv, b, qkv, 3 * m_.embed_dim);
      const std::vector<float> mixed = attention(qkv, m_.embed_dim, m_.num_heads);
      show(Probe::kAttention, b, mixed, m_.embed_dim);
      add(x_, linear(block.proj, mixed));
      show(Probe::kResidual, b, x_, m_.embed_dim);
      const std::vector<float> n2 = layer_norm(block.norm2, x_);
      show(Probe::kNorm2, b, n2, m_.embed_dim);
      if (block.routers.empty()) {
        add(x_, mlp(block.mlp, n2, b));
      } else {
        experts(block, n2, b);
      }
      show(Probe::kResidual, b, x_, m_.embed_dim);
    }
    return head();
  }

 private:
  void show(Probe probe, int index, std::span<const float> values, int channels) const {
    if (observe_) observe_(probe, index, values, channels);
  }

  std::vector<float> mlp(const FMlp& w, std::span<const float> rows, int block) const {
    std::vector<float> hidden = linear(w.fc1, rows);
    show(Probe::kHidden, block, hidden, w.fc1.out);
    for (float& v : hidden) v = gelu(v);
    return linear(w.fc2, hidden);
  }

  void experts(const FBlock& block, std::span<const float> rows, int b) {
    const MoeConfig& moe = *m_.moe;
    const std::size_t d = size(m_.embed_dim);
    const FRouter& router = block.routers.at(task_);
    std::vector<float> logits = linear(router.gate, rows);
    const std::size_t columns = size(router.gate.out);
    std::map<int, std::vector<std::pair<std::size_t, float>>> queues;
    std::vector<std::size_t> order(columns);
    for (std::size_t t = 0; t < rows.size() / d; ++t) {
      const std::span<float> p = std::span(logits).subspan(t * columns, columns);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t c) { return p[a] > p[c]; });
      softmax(p);
      for (std::size_t j = 0; j < size(moe.top_k); ++j) {
        if (double{p[order[j]]} < moe.prune_below) continue;
        queues[router.first + static_cast<int>(order[j])].emplace_back(t, p[order[j]]);
      }
    }
    for (const auto& [expert, queue] : queues) {
      std::vector<float> gathered;
      for (const auto& [t, weight] : queue) {
        gathered.insert(gathered.end(), rows.begin() + static_cast<std::ptrdiff_t>(t * d),
                        rows.begin() + static_cast<std::ptrdiff_t>((t + 1) * d));
      }
      const std::vector<float> y = mlp(block.experts.at(expert), gathered, b);
      for (std::size_t i = 0; i < queue.size(); ++i) {
        add(std::span(x_).subspan(queue[i].first * d, d), std::span(y).subspan(i * d, d), queue[i].second);
      }
    }
  }

  std::vector<float> head() const {
    const FHead& head = model_.heads.at(task_);
    int height = m_.grid_h();
    int width = m_.grid_w();
    std::vector<float> map = layer_norm(head.norm, std::span(x_).subspan(size(m_.embed_dim)));
    show(Probe::kHeadNorm, 0, map, m_.embed_dim);
    for (std::size_t s = 0; s < head.convs.size(); ++s) {
      if (s > 0) {
        map = upsampled(map, height, width, m_.head.channels);
        height *= 2;
        width *= 2;
      }
      map = conv_relu(head.convs[s], map, height, width);
      show(Probe::kConv, static_cast<int>(s), map, m_.head.channels);
    }
    std::vector<float> out = linear(head.last, map);
    show(Probe::kOutput, 0, out, head.last.out);
    return out;
  }

  const FloatModel& model_;
  const ModelConfig& m_;
  int task_;
  const Observer& observe_;
  std::vector<float> x_;
};

}  // namespace

float gelu(float x) { return 0.5F * x * (1.0F + std::erf(x * 0.70710678F)); }

FloatModel FloatModel::read(const M3vFile& file) {
  const Config& config = file.config();
  const ModelConfig& m = config.model;
  const Packing& packing = file.packing();
  if (!packing.pruned.empty()) {
    throw Error{{.where = file.where(), .field = "pruned", .wanted = "none for the accelerator", .found = "some"}};
  }
  const int d = m.embed_dim;
  FloatModel model;
  model.config = config;
  model.tasks = packing.tasks;
  const SectionLayout embed_section = embed_layout(m, packing);
  const SectionView embed(file, embed_section);
  model.patch = embed.linear("patch", 3 * m.patch_size * m.patch_size, d);
  model.position = embed.vector("position", m.tokens() * d);
  for (int b = 0; b < m.depth; ++b) {
    FBlock& block = model.blocks.emplace_back();
    const SectionLayout attention_section = attention_layout(m, packing, b);
    const SectionView attention(file, attention_section);
    block.norm1 = attention.norm(d);
    block.qkv = attention.linear("qkv", d, 3 * d);
    block.proj = attention.linear("proj", d, d);
    const auto mlp = [&](const SectionView& s, int hidden) {
      return FMlp{s.linear("fc1", d, hidden), s.linear("fc2", hidden, d)};
    };
    if (!m.is_moe(b)) {
      const SectionLayout section = dense_mlp_layout(m, packing, b);
      const SectionView view(file, section);
      block.norm2 = view.norm(d);
      block.mlp = mlp(view, m.mlp_hidden());
      continue;
    }
    const SectionLayout norm_section = moe_norm_layout(m, b);
    block.norm2 = SectionView(file, norm_section).norm(d);
    for (const int t : packing.tasks) {
      const ExpertWindow window = expert_window(config, t);
      const SectionLayout section = router_layout(config, b, t);
      block.routers[t] = {SectionView(file, section).linear("gate", d, window.count), window.first};
    }
    for (const int e : packed_experts(config, packing, b)) {
      const SectionLayout section = expert_layout(m, packing, b, e);
      block.experts[e] = mlp(SectionView(file, section), m.expert_hidden());
    }
  }
  for (const int t : packing.tasks) {
    const SectionLayout section = head_layout(config, packing, t, file.where());
    const SectionView view(file, section);
    FHead& head = model.heads[t];
    head.norm = view.norm(d);
    int in = d;
    for (int s = 0; s < m.head.stages; ++s, in = m.head.channels) {
      head.convs.push_back(view.linear("conv" + std::to_string(s), in, m.head.channels, /*taps=*/true));
    }
    head.last = view.linear("last", in, task_outputs(config.tasks[size(t)], file.where()));
  }
  return model;
}

std::vector<float> float_forward(const FloatModel& model, int task, std::span<const float> image,
                                 const Observer& observe) {
  return Forward(model, task, observe).run(image);
}

}  // namespace m3vit::accel
