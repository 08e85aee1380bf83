#include "accel/report/shape_model.h"

#include <algorithm>

#include "runtime/layout.h"

namespace m3vit::accel {
namespace {

QLinear matrix(int in, int out) { return {in, out, {}, {}}; }

Config published(int height, int width, int dim, int heads, int top_k) {
  Config config;
  ModelConfig& m = config.model;
  m.image_size = {height, width};
  m.embed_dim = dim;
  m.num_heads = heads;
  m.moe->top_k = top_k;
  config.tasks = {{"depth", 1, 1.0}};
  return config;
}

}  // namespace

QuantModel shape_model(const Config& config) {
  QuantModel q;
  q.config = config;
  const ModelConfig& m = config.model;
  const int dim = m.embed_dim;
  q.patch = matrix(3 * m.patch_size * m.patch_size, dim);
  for (int t = 0; t < static_cast<int>(config.tasks.size()); ++t) q.tasks.push_back(t);
  for (int b = 0; b < m.depth; ++b) {
    QBlock& block = q.blocks.emplace_back();
    const QLinear part = matrix(dim, dim / m.num_heads);
    block.heads.assign(static_cast<std::size_t>(m.num_heads), {part, part, part, {}, 1U << 14U, 0});
    block.proj = matrix(dim, dim);
    if (m.is_moe(b)) {
      for (const int t : q.tasks) {
        const ExpertWindow window = expert_window(config, t);
        block.routers[t] = {matrix(dim, window.count), window.first, {}, 0};
      }
      block.experts[0] = {matrix(dim, m.expert_hidden()), matrix(m.expert_hidden(), dim)};  // one speaks for all
    } else {
      for (int first = 0; first < m.mlp_hidden(); first += dim) {
        const int hidden = std::min(dim, m.mlp_hidden() - first);
        block.slices.push_back({matrix(dim, hidden), matrix(hidden, dim)});
      }
    }
  }
  for (const int t : q.tasks) {
    QHead& head = q.heads[t];
    for (int s = 0; s < m.head.stages; ++s) {
      head.convs.push_back(matrix(9 * (s == 0 ? dim : m.head.channels), m.head.channels));
    }
    head.last = matrix(m.head.channels, config.tasks[static_cast<std::size_t>(t)].outputs);
  }
  return q;
}

Config published_tiny() { return published(128, 256, 192, 3, 2); }
Config published_small() { return published(512, 512, 384, 6, 4); }

}  // namespace m3vit::accel
