#include "reference/naive_m3vit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace m3vit::naive {

namespace {

std::string block_name(int i) { return "backbone.blocks." + std::to_string(i) + "."; }

// x = [cls; conv_p×p(image)] + pos_embed, one row a token.
Matrix embed(const ModelConfig& m, const Weights& w, const std::vector<double>& image) {
  const int p = m.patch_size;
  const int d = m.embed_dim;
  const Tensor& kernel = w.get("backbone.patch_embed.proj.weight");  // [D, 3, p, p]
  const Tensor& bias = w.get("backbone.patch_embed.proj.bias");
  Matrix x;
  x.push_back(w.get("backbone.cls_token").data);
  for (int gy = 0; gy < m.grid_h(); ++gy) {
    for (int gx = 0; gx < m.grid_w(); ++gx) {
      Row token(d);
      for (int o = 0; o < d; ++o) {
        double sum = bias.data[o];
        for (int c = 0; c < 3; ++c) {
          for (int ky = 0; ky < p; ++ky) {
            for (int kx = 0; kx < p; ++kx) {
              const int y = gy * p + ky;
              const int col = gx * p + kx;
              sum += kernel.data[((o * 3 + c) * p + ky) * p + kx] * image[(c * m.height() + y) * m.width() + col];
            }
          }
        }
        token[o] = sum;
      }
      x.push_back(token);
    }
  }
  const Tensor& pos = w.get("backbone.pos_embed");  // [1, tokens, D]
  for (int t = 0; t < m.tokens(); ++t) {
    for (int o = 0; o < d; ++o) x[t][o] += pos.data[t * d + o];
  }
  return x;
}

// What the router sees beside the token: f(one-hot task); empty unless gate = task_conditioned.
Row task_feature(const Config& config, const Weights& w, int task) {
  if (config.model.moe->gate != Gate::kTaskConditioned) return {};
  Row one_hot(config.tasks.size(), 0.0);
  one_hot[task] = 1.0;
  const std::string n = "backbone.gate_task_represent.";
  Row h = linear(one_hot, w.get(n + "fc1.weight"), w.get(n + "fc1.bias"));
  for (double& v : h) v = gelu(v);
  h = linear(h, w.get(n + "fc2.weight"), w.get(n + "fc2.bias"));
  return layer_norm(h, w.get(n + "norm.weight"), w.get(n + "norm.bias"));
}

// One expert's two-layer MLP: h4toh(gelu(htoh4(x))).
Row expert(const Weights& w, const std::string& prefix, int e, const Row& x) {
  const auto layer = [&](const std::string& name, const Row& in) {
    const Tensor& weight = w.get(prefix + name + ".weight");  // [E, out, in]
    const Tensor& bias = w.get(prefix + name + ".bias");      // [E, out]
    const int outs = static_cast<int>(weight.shape[1]);
    const int ins = static_cast<int>(weight.shape[2]);
    Row y(outs);
    for (int o = 0; o < outs; ++o) {
      double sum = bias.data[e * outs + o];
      for (int i = 0; i < ins; ++i) sum += weight.data[(e * outs + o) * ins + i] * in[i];
      y[o] = sum;
    }
    return y;
  };
  Row h = layer("htoh4", x);
  for (double& v : h) v = gelu(v);
  return layer("h4toh", h);
}

// y_t = Σ_k p_tk · expert_{e_tk}(x_t), p = softmax(x_t · w_gate).
Matrix moe(const Config& config, const Weights& w, int block, int task, const Matrix& x, Routing& routing) {
  const MoeConfig& c = *config.model.moe;
  const std::string prefix = block_name(block) + "mlp.";
  const std::string router = c.gate == Gate::kMulti ? "gate." + std::to_string(task) + ".w_gate" : "gate.w_gate";
  const Tensor& w_gate = w.get(prefix + router);  // [D (+ G), columns]
  const int columns = static_cast<int>(w_gate.shape[1]);
  const int first = c.experts_per_task > 0 ? task * c.experts_per_task : 0;
  const Row feature = task_feature(config, w, task);

  routing.block = block;
  routing.margin = std::numeric_limits<double>::infinity();
  Row importance(columns, 0.0);
  Row load(columns, 0.0);
  Matrix y;
  for (const Row& token : x) {
    Row seen = token;
    seen.insert(seen.end(), feature.begin(), feature.end());
    Row logits(columns, 0.0);
    for (int e = 0; e < columns; ++e) {
      for (std::size_t i = 0; i < seen.size(); ++i) logits[e] += seen[i] * w_gate.data[i * columns + e];
    }
    const Row p = softmax(logits);
    const std::vector<int> chosen = top_k(p, c.top_k);

    Row sorted = p;
    std::sort(sorted.rbegin(), sorted.rend());
    for (int k = 0; k < c.top_k && k + 1 < columns; ++k) {
      routing.margin = std::min(routing.margin, sorted[k] - sorted[k + 1]);
    }

    Row out(token.size(), 0.0);
    std::vector<int> experts;
    Row weights;
    for (const int e : chosen) {
      importance[e] += p[e];
      load[e] += 1.0;
      const double weight = p[e] < c.prune_below ? 0.0 : p[e];
      if (c.prune_below > 0.0) routing.margin = std::min(routing.margin, std::abs(p[e] - c.prune_below));
      const Row v = expert(w, prefix + "experts.", first + e, token);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += weight * v[i];
      experts.push_back(first + e);
      weights.push_back(weight);
    }
    y.push_back(out);
    routing.experts.push_back(experts);
    routing.weights.push_back(weights);
  }
  routing.balance_loss = cv_squared(importance) + cv_squared(load);
  return y;
}

void add(Matrix& x, const Matrix& y) {
  for (std::size_t t = 0; t < x.size(); ++t) {
    for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
  }
}

// VisionTransformerUpHead.
Map head(const Config& config, const Weights& w, int task, const Matrix& x) {
  const ModelConfig& m = config.model;
  const std::string n = "decoders." + config.tasks[task].name + ".";
  Map f(m.embed_dim, m.grid_h(), m.grid_w());
  for (int t = 1; t < m.tokens(); ++t) {  // without CLS
    const Row token = layer_norm(x[t], w.get(n + "norm.weight"), w.get(n + "norm.bias"));
    for (int c = 0; c < m.embed_dim; ++c) f.at(c, (t - 1) / m.grid_w(), (t - 1) % m.grid_w()) = token[c];
  }
  for (int s = 0; s < m.head.stages; ++s) {
    const std::string conv = n + "conv_" + std::to_string(s);
    const std::string bn = n + "syncbn_fc_" + std::to_string(s);
    f = conv2d(f, w.get(conv + ".weight"), w.get(conv + ".bias"));
    const Row& mean = w.get(bn + ".running_mean").data;
    const Row& var = w.get(bn + ".running_var").data;
    const Row& scale = w.get(bn + ".weight").data;
    const Row& shift = w.get(bn + ".bias").data;
    for (int c = 0; c < f.channels; ++c) {
      for (int y = 0; y < f.height; ++y) {
        for (int col = 0; col < f.width; ++col) {
          const double v = (f.at(c, y, col) - mean[c]) / std::sqrt(var[c] + 1e-5) * scale[c] + shift[c];
          f.at(c, y, col) = std::max(v, 0.0);
        }
      }
    }
    if (s + 1 < m.head.stages) f = resize_bilinear(f, 2 * f.height, 2 * f.width);
  }
  const std::string last = n + "conv_" + std::to_string(m.head.stages);
  f = conv2d(f, w.get(last + ".weight"), w.get(last + ".bias"));
  f = resize_bilinear(f, 2 * f.height, 2 * f.width);
  if (f.height != m.height() || f.width != m.width()) f = resize_bilinear(f, m.height(), m.width());
  return f;
}

}  // namespace

const Tensor& Weights::get(const std::string& name) const {
  const auto it = tensors.find(name);
  if (it == tensors.end()) throw std::out_of_range("naive_m3vit: no tensor " + name);
  return it->second;
}

Map::Map(int c, int h, int w) : channels(c), height(h), width(w), data(static_cast<std::size_t>(c) * h * w, 0.0) {}
double& Map::at(int c, int y, int x) { return data[(static_cast<std::size_t>(c) * height + y) * width + x]; }
double Map::at(int c, int y, int x) const { return data[(static_cast<std::size_t>(c) * height + y) * width + x]; }

double gelu(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }

Row softmax(const Row& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  Row y;
  double sum = 0.0;
  for (const double v : x) {
    y.push_back(std::exp(v - largest));
    sum += y.back();
  }
  for (double& v : y) v /= sum;
  return y;
}

Row layer_norm(const Row& x, const Tensor& weight, const Tensor& bias, double eps) {
  const double n = static_cast<double>(x.size());
  double mean = 0.0;
  for (const double v : x) mean += v / n;
  double var = 0.0;
  for (const double v : x) var += (v - mean) * (v - mean) / n;
  Row y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back((x[i] - mean) / std::sqrt(var + eps) * weight.data[i] + bias.data[i]);
  }
  return y;
}

Row linear(const Row& x, const Tensor& weight, const Tensor& bias) {
  const std::size_t outs = bias.data.size();
  Row y;
  for (std::size_t o = 0; o < outs; ++o) {
    double sum = bias.data[o];
    for (std::size_t i = 0; i < x.size(); ++i) sum += weight.data[o * x.size() + i] * x[i];
    y.push_back(sum);
  }
  return y;
}

Matrix attention(const Matrix& qkv, int num_heads) {
  const int tokens = static_cast<int>(qkv.size());
  const int d = static_cast<int>(qkv[0].size()) / 3;
  const int head_dim = d / num_heads;
  Matrix y(tokens, Row(d, 0.0));
  for (int h = 0; h < num_heads; ++h) {
    for (int t = 0; t < tokens; ++t) {
      Row scores(tokens, 0.0);
      for (int s = 0; s < tokens; ++s) {
        for (int i = 0; i < head_dim; ++i) scores[s] += qkv[t][h * head_dim + i] * qkv[s][d + h * head_dim + i];
        scores[s] /= std::sqrt(static_cast<double>(head_dim));
      }
      const Row p = softmax(scores);
      for (int s = 0; s < tokens; ++s) {
        for (int i = 0; i < head_dim; ++i) y[t][h * head_dim + i] += p[s] * qkv[s][2 * d + h * head_dim + i];
      }
    }
  }
  return y;
}

std::vector<int> top_k(const Row& values, int k) {
  std::vector<int> chosen;
  std::vector<bool> taken(values.size(), false);
  for (int n = 0; n < k; ++n) {
    int best = -1;
    for (int i = 0; i < static_cast<int>(values.size()); ++i) {
      if (!taken[i] && (best < 0 || values[i] > values[best])) best = i;
    }
    taken[best] = true;
    chosen.push_back(best);
  }
  return chosen;
}

double cv_squared(const Row& x) {
  if (x.size() < 2) return 0.0;
  const double n = static_cast<double>(x.size());
  double mean = 0.0;
  for (const double v : x) mean += v / n;
  double var = 0.0;
  for (const double v : x) var += (v - mean) * (v - mean) / (n - 1.0);
  return var / (mean * mean + 1e-10);
}

Map conv2d(const Map& x, const Tensor& weight, const Tensor& bias) {
  const int outs = static_cast<int>(weight.shape[0]);  // [out, in, k, k]
  const int k = static_cast<int>(weight.shape[2]);
  Map y(outs, x.height, x.width);
  for (int o = 0; o < outs; ++o) {
    for (int r = 0; r < x.height; ++r) {
      for (int c = 0; c < x.width; ++c) {
        double sum = bias.data[o];
        for (int i = 0; i < x.channels; ++i) {
          for (int ky = 0; ky < k; ++ky) {
            for (int kx = 0; kx < k; ++kx) {
              const int yy = r + ky - k / 2;
              const int xx = c + kx - k / 2;
              if (yy < 0 || yy >= x.height || xx < 0 || xx >= x.width) continue;
              sum += weight.data[((static_cast<std::size_t>(o) * x.channels + i) * k + ky) * k + kx] * x.at(i, yy, xx);
            }
          }
        }
        y.at(o, r, c) = sum;
      }
    }
  }
  return y;
}

Map resize_bilinear(const Map& x, int height, int width) {
  struct Tap {
    int lower, upper;
    double fraction;
  };
  const auto tap = [](int out, int out_size, int in_size) {
    const double at = std::max((out + 0.5) * in_size / out_size - 0.5, 0.0);
    const int lower = std::min(static_cast<int>(at), in_size - 1);
    return Tap{lower, std::min(lower + 1, in_size - 1), at - lower};
  };
  Map y(x.channels, height, width);
  for (int c = 0; c < x.channels; ++c) {
    for (int r = 0; r < height; ++r) {
      const Tap v = tap(r, height, x.height);
      for (int q = 0; q < width; ++q) {
        const Tap u = tap(q, width, x.width);
        const double top = (1 - u.fraction) * x.at(c, v.lower, u.lower) + u.fraction * x.at(c, v.lower, u.upper);
        const double bottom = (1 - u.fraction) * x.at(c, v.upper, u.lower) + u.fraction * x.at(c, v.upper, u.upper);
        y.at(c, r, q) = (1 - v.fraction) * top + v.fraction * bottom;
      }
    }
  }
  return y;
}

Result forward(const Config& config, const Weights& w, const std::vector<double>& image, int task) {
  const ModelConfig& m = config.model;
  if (image.size() != static_cast<std::size_t>(3) * m.height() * m.width()) {
    throw std::invalid_argument("naive_m3vit: image must be [3, H, W] at image_size");
  }
  Result result;
  result.margin = std::numeric_limits<double>::infinity();
  Matrix x = embed(m, w, image);
  for (int b = 0; b < m.depth; ++b) {
    const std::string n = block_name(b);
    Matrix qkv;
    for (const Row& token : x) {
      const Row z = layer_norm(token, w.get(n + "norm1.weight"), w.get(n + "norm1.bias"));
      qkv.push_back(linear(z, w.get(n + "attn.qkv.weight"), w.get(n + "attn.qkv.bias")));
    }
    Matrix y = attention(qkv, m.num_heads);
    for (Row& token : y) token = linear(token, w.get(n + "attn.proj.weight"), w.get(n + "attn.proj.bias"));
    add(x, y);

    Matrix z;
    for (const Row& token : x) z.push_back(layer_norm(token, w.get(n + "norm2.weight"), w.get(n + "norm2.bias")));
    if (m.is_moe(b)) {
      Routing routing;
      y = moe(config, w, b, task, z, routing);
      result.balance_loss += routing.balance_loss;
      result.margin = std::min(result.margin, routing.margin);
      result.routing.push_back(routing);
    } else {
      y.clear();
      for (const Row& token : z) {
        Row h = linear(token, w.get(n + "mlp.fc1.weight"), w.get(n + "mlp.fc1.bias"));
        for (double& v : h) v = gelu(v);
        y.push_back(linear(h, w.get(n + "mlp.fc2.weight"), w.get(n + "mlp.fc2.bias")));
      }
    }
    add(x, y);
  }
  const Map f = head(config, w, task, x);
  result.channels = f.channels;
  result.height = f.height;
  result.width = f.width;
  result.raw = f.data;
  return result;
}

}  // namespace m3vit::naive
