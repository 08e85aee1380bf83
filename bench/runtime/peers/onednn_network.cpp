/// The network put together from these layers, and how it runs.
#include <functional>
#include <numeric>

#include "onednn_impl.h"
#include "runtime/layout.h"

namespace m3vit {
namespace {

__attribute__((target_clones("avx512f", "avx2", "default"))) void add_scaled(float* to, const float* from, float scale,
                                                                             std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += scale * from[i];
}

}  // namespace

using dnnl::algorithm;
using dnnl::memory;

void OneDnnNetwork::Impl::build() {
  tokens = model.tokens();
  dim = model.embed_dim;
  x = make({tokens, dim}, Type::f32, Tag::ab);
  const Type wide = act();
  const memory normed = make({tokens, dim}, Type::f32, Tag::ab);
  const memory qkv = make({tokens, 3 * dim}, wide, Tag::ab);
  const memory attended = make({tokens, dim}, wide, Tag::ab);
  const std::int64_t heads = model.num_heads, each = dim / heads;
  const memory scores = make({heads, tokens, tokens}, wide, Tag::abc);
  build_embed();
  blocks.resize(size(model.depth));
  for (int i = 0; i < model.depth; ++i) {
    Block& b = blocks[size(i)];
    const std::string name = "backbone.blocks." + std::to_string(i) + ".";
    layer_norm(b.steps, x, normed, name + "norm1");
    watch(name + "qkv", normed);
    b.qkv = linear(name + "attn.qkv", dim, 3 * dim);
    product(b.steps, layer_input(b.steps, normed, name + "qkv"), qkv, *b.qkv, false, false, scale_of(name + "qkv"), 1);

    const memory q = part(qkv, {heads, tokens, each}, {each, 3 * dim, 1}, 0);
    const memory k = part(qkv, {heads, each, tokens}, {each, 1, 3 * dim}, dim);
    const memory v = part(qkv, {heads, tokens, each}, {each, 3 * dim, 1}, 2 * dim);
    const memory out = part(attended, {heads, tokens, each}, {each, dim, 1}, 0);
    dnnl::primitive_attr scaled;
    scaled.set_output_scales(0, {1.0F / std::sqrt(static_cast<float>(each))});
    const dnnl::matmul::primitive_desc qk({q.get_desc(), k.get_desc(), scores.get_desc()}, scaled, engine);
    add(b.steps, dnnl::matmul(qk), {{DNNL_ARG_SRC, q}, {DNNL_ARG_WEIGHTS, k}, {DNNL_ARG_DST, scores}});
    const dnnl::softmax_forward::desc soft(dnnl::prop_kind::forward_inference, scores.get_desc(), 2);
    add(b.steps, dnnl::softmax_forward({soft, engine}), {{DNNL_ARG_SRC, scores}, {DNNL_ARG_DST, scores}});
    const dnnl::matmul::primitive_desc pv({scores.get_desc(), v.get_desc(), out.get_desc()}, engine);
    add(b.steps, dnnl::matmul(pv), {{DNNL_ARG_SRC, scores}, {DNNL_ARG_WEIGHTS, v}, {DNNL_ARG_DST, out}});

    watch(name + "proj", attended);
    memory to_proj = attended;
    if (type == PeerType::kInt8) to_proj = layer_input(b.steps, attended, name + "proj");
    b.proj = linear(name + "attn.proj", dim, dim);
    product(b.steps, to_proj, x, *b.proj, false, true, scale_of(name + "proj"), 1);

    if (model.is_moe(i)) {
      build_moe(b, name, normed);
      continue;
    }
    layer_norm(b.steps, x, normed, name + "norm2");
    watch(name + "fc1", normed);
    const std::int64_t hidden = model.mlp_hidden();
    const memory inner = make({tokens, hidden}, type == PeerType::kInt8 ? Type::s8 : wide, Tag::ab);
    b.fc1 = linear(name + "mlp.fc1", dim, hidden);
    b.fc2 = linear(name + "mlp.fc2", hidden, dim);
    product(b.steps, layer_input(b.steps, normed, name + "fc1"), inner, *b.fc1, true, false, scale_of(name + "fc1"),
            scale_of(name + "fc2"));
    watch(name + "fc2", inner);
    product(b.steps, inner, x, *b.fc2, false, true, scale_of(name + "fc2"), 1);
  }
  build_head();
}

void OneDnnNetwork::Impl::build_embed() {
  const std::int64_t p = model.patch_size, h = model.grid_h(), w = model.grid_w();
  image = make({1, 3, model.height(), model.width()}, Type::f32, Tag::nchw);
  const memory patches({{1, dim, h, w}, Type::f32, Tag::nhwc}, engine, floats(x) + dim);
  const memory bias = filled({dim}, Tag::x, get("backbone.patch_embed.proj.bias"));
  position = get("backbone.pos_embed");
  const std::vector<float> cls = get("backbone.cls_token");
  for (std::size_t i = 0; i < cls.size(); ++i) position[i] += cls[i];
  dnnl::post_ops post;
  post.append_sum(1.0F);
  dnnl::primitive_attr attr;
  attr.set_post_ops(post);
  const memory::desc any_weights({dim, 3, p, p}, act(), Tag::any), any_source(image.get_desc().dims(), act(), Tag::any);
  const dnnl::convolution_forward::desc d(dnnl::prop_kind::forward_inference, algorithm::convolution_direct, any_source,
                                          any_weights, bias.get_desc(), patches.get_desc(), {p, p}, {0, 0}, {0, 0});
  const dnnl::convolution_forward::primitive_desc pd(d, attr, engine);
  memory source_map = image;
  if (pd.src_desc() != image.get_desc()) {
    source_map = memory(pd.src_desc(), engine);
    add(embed, dnnl::reorder(image, source_map), {{DNNL_ARG_FROM, image}, {DNNL_ARG_TO, source_map}});
  }
  const memory weights =
      converted(filled({dim, 3, p, p}, Tag::oihw, get("backbone.patch_embed.proj.weight")), pd.weights_desc());
  add(embed, dnnl::convolution_forward(pd),
      {{DNNL_ARG_SRC, source_map}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, patches}});
}

void OneDnnNetwork::Impl::build_moe(Block& b, const std::string& name, const memory& normed) {
  b.moe = std::make_unique<Moe>();
  Moe& m = *b.moe;
  m.name = name;
  m.normed = normed;
  layer_norm(m.before, x, normed, name + "norm2");
  watch(name + "fc1", normed);
  const ExpertWindow window = expert_window(config, task);
  const std::string gate =
      model.moe->gate == Gate::kMulti ? "mlp.gate." + std::to_string(task) + ".w_gate" : std::string("mlp.gate.w_gate");
  const std::vector<float> columns = get(name + gate);  // [D, E]
  std::vector<float> rows(columns.size());
  const std::size_t experts = size(window.count);
  for (std::size_t i = 0; i < size(dim); ++i) {
    for (std::size_t e = 0; e < experts; ++e) rows[e * size(dim) + i] = columns[i * experts + e];
  }
  m.gate = dense(rows, {}, dim, window.count);
  m.probabilities = make({tokens, window.count}, Type::f32, Tag::ab);
  product(m.before, normed, m.probabilities, m.gate, false, false, 1, 1);
  const dnnl::softmax_forward::desc soft(dnnl::prop_kind::forward_inference, m.probabilities.get_desc(), 1);
  add(m.before, dnnl::softmax_forward({soft, engine}),
      {{DNNL_ARG_SRC, m.probabilities}, {DNNL_ARG_DST, m.probabilities}});
  m.input = layer_input(m.before, normed, name + "fc1");
  const std::int64_t hidden = model.expert_hidden();
  const std::string e = name + "mlp.experts.";
  const std::vector<float> w1 = get(e + "htoh4.weight"), b1 = get(e + "htoh4.bias");
  const std::vector<float> w2 = get(e + "h4toh.weight"), b2 = get(e + "h4toh.bias");
  const auto slice = [](const std::vector<float>& all, std::int64_t i, std::int64_t n) {
    return std::vector<float>(all.begin() + i * n, all.begin() + (i + 1) * n);
  };
  for (int i = window.first; i < window.first + window.count; ++i) {
    m.experts.push_back({dense(slice(w1, i, hidden * dim), slice(b1, i, hidden), dim, hidden),
                         dense(slice(w2, i, hidden * dim), slice(b2, i, dim), hidden, dim)});
  }
  m.rows.resize(m.experts.size());
  const Type in = m.input.get_desc().data_type();
  if (gathered) return;
  gathered = make({tokens, dim}, in, Tag::ab);
  hidden_rows = make({tokens, hidden}, type == PeerType::kInt8 ? Type::s8 : act(), Tag::ab);
  expert_out = make({tokens, dim}, Type::f32, Tag::ab);
}

void OneDnnNetwork::Impl::run_moe(Moe& m) {
  run(m.before);
  const std::size_t experts = m.experts.size(), k = size(model.moe->top_k);
  const float* p = floats(m.probabilities);
  std::vector<std::vector<std::pair<std::int64_t, float>>> queues(experts);
  std::vector<int> order(experts);
  for (std::int64_t t = 0; t < tokens; ++t) {
    const float* row = p + size(t) * experts;
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(),
                      [&](int a, int b) { return row[a] > row[b] || (row[a] == row[b] && a < b); });
    for (std::size_t i = 0; i < k; ++i) {
      const float gate = row[order[i]];
      if (gate >= static_cast<float>(model.moe->prune_below)) queues[size(order[i])].emplace_back(t, gate);
    }
  }
  const std::size_t bytes = size(dim) * (type == PeerType::kF32 ? 4 : type == PeerType::kBf16 ? 2 : 1);
  for (std::size_t e = 0; e < experts; ++e) {
    const auto rows = static_cast<std::int64_t>(queues[e].size());
    if (rows == 0) continue;
    auto* to = static_cast<std::byte*>(gathered.get_data_handle());
    const auto* from = static_cast<const std::byte*>(m.input.get_data_handle());
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(to + size(r) * bytes, from + size(queues[e][size(r)].first) * bytes, bytes);
    }
    Rows& steps = m.rows[e][rows];
    if (steps.steps.empty()) {
      const memory inner = head_rows(hidden_rows, rows);
      product(steps.steps, head_rows(gathered, rows), inner, m.experts[e].fc1, true, false, scale_of(m.name + "fc1"),
              scale_of(m.name + "fc2"));
      product(steps.steps, inner, head_rows(expert_out, rows), m.experts[e].fc2, false, false, scale_of(m.name + "fc2"),
              1);
    }
    run(steps.steps);
    if (calibrate) note(m.name + "fc2", head_rows(hidden_rows, rows));
    const float* out = floats(expert_out);
    float* residual = floats(x);
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r) {
      add_scaled(residual + queues[e][size(r)].first * dim, out + r * dim, queues[e][size(r)].second, dim);
    }
  }
}

void OneDnnNetwork::Impl::build_head() {
  const std::string name = "decoders." + config.tasks[size(task)].name + ".";
  std::int64_t h = model.grid_h(), w = model.grid_w(), in = dim;
  const memory without_cls({{h * w, dim}, Type::f32, Tag::ab}, engine, floats(x) + dim);
  const memory normed = make({h * w, dim}, Type::f32, Tag::ab);
  layer_norm(head_steps, without_cls, normed, name + "norm");
  watch(name + "conv_0", normed);
  memory map({{1, dim, h, w}, Type::f32, Tag::nhwc}, engine, floats(normed));
  if (type != PeerType::kF32) {
    map = quantised(head_steps, map, type == PeerType::kInt8 ? Type::s8 : Type::bf16, scale_of(name + "conv_0"));
  }
  const std::int64_t channels = model.head.channels;
  for (int s = 0; s < model.head.stages; ++s, in = channels) {
    const std::string conv = name + "conv_" + std::to_string(s), norm = name + "syncbn_fc_" + std::to_string(s);
    std::vector<float> weight = get(conv + ".weight"), bias = get(conv + ".bias");
    const std::vector<float> gamma = get(norm + ".weight"), beta = get(norm + ".bias");
    const std::vector<float> mean = get(norm + ".running_mean"), variance = get(norm + ".running_var");
    for (std::size_t c = 0; c < size(channels); ++c) {
      const float scale = gamma[c] / std::sqrt(variance[c] + 1e-5F);
      for (std::size_t i = 0; i < size(in * 9); ++i) weight[c * size(in * 9) + i] *= scale;
      bias[c] = (bias[c] - mean[c]) * scale + beta[c];
    }
    const std::string next = name + "conv_" + std::to_string(s + 1);
    map = convolution(map, weight, bias, channels, in, h, w, 3, true, scale_of(conv), scale_of(next));
    if (s + 1 == model.head.stages) break;
    h *= 2;
    w *= 2;
    const dnnl::resampling_forward::desc up(dnnl::prop_kind::forward_inference, algorithm::resampling_linear,
                                            map.get_desc(),
                                            memory::desc({1, channels, h, w}, map.get_desc().data_type(), Tag::any));
    const dnnl::resampling_forward::primitive_desc pd(up, engine);
    const memory doubled(pd.dst_desc(), engine);
    add(head_steps, dnnl::resampling_forward(pd), {{DNNL_ARG_SRC, map}, {DNNL_ARG_DST, doubled}});
    watch(next, doubled);
    map = doubled;
  }
  const std::string last = name + "conv_" + std::to_string(model.head.stages);
  watch(last, map);
  const std::int64_t outputs = task_outputs(config.tasks[size(task)], "peer");
  map = convolution(map, get(last + ".weight"), get(last + ".bias"), outputs, in, h, w, 1, false, scale_of(last), 0);
  memory planes = make({1, outputs, h, w}, Type::f32, Tag::nchw);
  add(head_steps, dnnl::reorder(map, planes), {{DNNL_ARG_FROM, map}, {DNNL_ARG_TO, planes}});
  for (int pass = 0; pass < 2; ++pass) {  // ×2, then to the image's size
    const std::int64_t to_h = pass == 0 ? 2 * h : model.height(), to_w = pass == 0 ? 2 * w : model.width();
    if (pass == 1 && to_h == 2 * h && to_w == 2 * w) break;
    const memory out = make({1, outputs, to_h, to_w}, Type::f32, Tag::nchw);
    const dnnl::resampling_forward::desc up(dnnl::prop_kind::forward_inference, algorithm::resampling_linear,
                                            planes.get_desc(), out.get_desc());
    add(head_steps, dnnl::resampling_forward({up, engine}), {{DNNL_ARG_SRC, planes}, {DNNL_ARG_DST, out}});
    planes = out;
  }
  result_map = planes;
  result.resize(size(outputs) * size(model.height()) * size(model.width()));
}

void OneDnnNetwork::Impl::run_watched(std::vector<Step>& steps) {
  if (!calibrate) {
    run(steps);
    return;
  }
  for (Step& step : steps) {
    step.primitive.execute(stream, step.arguments);
    stream.wait();
    const void* written = step.arguments.at(DNNL_ARG_DST).get_data_handle();
    for (const auto& [name, m] : watched) {
      if (m.get_data_handle() == written && watching(name)) note(name, m);
    }
  }
}

OneDnnNetwork::OneDnnNetwork(const Config& config, const TensorSource& source, int task, PeerType type,
                             const Ranges& ranges, bool winograd)
    : impl_(std::make_unique<Impl>(config, source, task, type, ranges, winograd)) {}
OneDnnNetwork::~OneDnnNetwork() = default;

void OneDnnNetwork::backbone(const std::vector<float>& planes) {
  Impl& n = *impl_;
  n.calibrate = n.type == PeerType::kF32 && n.ranges.empty();
  std::copy(planes.begin(), planes.end(), Impl::floats(n.image));
  std::copy(n.position.begin(), n.position.end(), Impl::floats(n.x));
  n.run(n.embed);
  for (std::size_t b = 0; b < n.blocks.size(); ++b) {
    n.prefix = "backbone.blocks." + std::to_string(b) + ".";
    n.run_watched(n.blocks[b].steps);
    if (n.blocks[b].moe) {
      if (n.calibrate) n.run_watched(n.blocks[b].moe->before);
      n.run_moe(*n.blocks[b].moe);
    }
  }
}

const std::vector<float>& OneDnnNetwork::head() {
  Impl& n = *impl_;
  n.prefix = "decoders.";
  n.run_watched(n.head_steps);
  const float* out = Impl::floats(n.result_map);
  std::copy(out, out + n.result.size(), n.result.begin());
  return n.result;
}

const OneDnnNetwork::Ranges& OneDnnNetwork::ranges() const { return impl_->ranges; }
std::string OneDnnNetwork::head_implementations() const { return impl_->implementations; }

}  // namespace m3vit
