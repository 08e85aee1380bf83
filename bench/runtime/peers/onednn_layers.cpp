/// The layers of OneDnnNetwork: each appends primitives to a list of steps.
#include "onednn_impl.h"

namespace m3vit {

using dnnl::algorithm;
using dnnl::memory;

memory OneDnnNetwork::Impl::converted(const memory& m, const memory::desc& wanted) {
  if (m.get_desc() == wanted) return m;
  memory out(wanted, engine);
  dnnl::reorder(m, out).execute(stream, {{DNNL_ARG_FROM, m}, {DNNL_ARG_TO, out}});
  stream.wait();
  return out;
}

float OneDnnNetwork::Impl::scale_of(const std::string& name) const {
  const auto found = ranges.find(name);
  if (found == ranges.end() || found->second == 0.0F) return 1.0F;
  const bool positive = name.starts_with("decoders.") && !name.ends_with("conv_0");  // after ReLU: u8
  return found->second / (positive ? 255.0F : 127.0F);
}

void OneDnnNetwork::Impl::run(std::vector<Step>& steps) {
  for (Step& step : steps) step.primitive.execute(stream, step.arguments);
  stream.wait();
}

memory OneDnnNetwork::Impl::quantised(std::vector<Step>& steps, const memory& m, Type wanted, float scale) {
  const Dims dims = m.get_desc().dims();
  memory out = make(dims, wanted, dims.size() == 2 ? Tag::ab : Tag::nhwc);
  dnnl::primitive_attr attr;
  if (wanted == Type::s8 || wanted == Type::u8) attr.set_output_scales(0, {1.0F / scale});
  const dnnl::reorder::primitive_desc pd(engine, m.get_desc(), engine, out.get_desc(), attr);
  add(steps, dnnl::reorder(pd), {{DNNL_ARG_FROM, m}, {DNNL_ARG_TO, out}});
  return out;
}

void OneDnnNetwork::Impl::layer_norm(std::vector<Step>& steps, const memory& from, const memory& to,
                                     const std::string& name) {
  const std::int64_t n = from.get_desc().dims()[1];
  std::vector<float> both = get(name + ".weight");
  const std::vector<float> bias = get(name + ".bias");
  both.insert(both.end(), bias.begin(), bias.end());
  const memory scale_shift = filled({2, n}, Tag::ab, both);
  const dnnl::layer_normalization_forward::desc d(dnnl::prop_kind::forward_inference, from.get_desc(), 1e-6F,
                                                  dnnl::normalization_flags::use_scale_shift);
  add(steps, dnnl::layer_normalization_forward({d, engine}),
      {{DNNL_ARG_SRC, from}, {DNNL_ARG_DST, to}, {DNNL_ARG_SCALE_SHIFT, scale_shift}});
}

std::vector<std::int8_t> OneDnnNetwork::Impl::quantise_weights(const std::vector<float>& raw, std::int64_t channels,
                                                               std::vector<float>& scales) {
  const std::size_t each = raw.size() / size(channels);
  std::vector<std::int8_t> q(raw.size());
  scales.assign(size(channels), 1.0F);
  for (std::size_t c = 0; c < size(channels); ++c) {
    float most = 0.0F;
    for (std::size_t i = 0; i < each; ++i) most = std::max(most, std::abs(raw[c * each + i]));
    if (most > 0.0F) scales[c] = most / 127.0F;
    for (std::size_t i = 0; i < each; ++i) {
      q[c * each + i] = static_cast<std::int8_t>(std::lround(raw[c * each + i] / scales[c]));
    }
  }
  return q;
}

void OneDnnNetwork::Impl::product(std::vector<Step>& steps, const memory& from, const memory& to, Dense& w, bool gelu,
                                  bool residual, float in_scale, float out_scale) {
  const Type kind = from.get_desc().data_type();
  const bool int8 = kind == Type::s8;
  const memory::desc any({w.k, w.n}, int8 ? Type::s8 : kind, Tag::any);
  const memory::desc bias_desc({1, w.n}, Type::f32, Tag::ab);
  dnnl::primitive_attr attr;
  dnnl::post_ops post;
  if (int8 && w.scales.empty()) quantised_raw[&w] = quantise_weights(w.raw, w.n, w.scales);
  std::vector<float> bias = w.raw_bias;
  bias.resize(size(w.n), 0.0F);
  if (int8) {
    std::vector<float> scales = w.scales;
    for (std::size_t i = 0; i < scales.size(); ++i) {
      scales[i] *= in_scale;
      bias[i] /= scales[i];  // oneDNN 2 scales the sum with its bias
    }
    attr.set_output_scales(1 << 1, scales);
  }
  if (gelu) post.append_eltwise(1.0F, algorithm::eltwise_gelu_erf, 0.0F, 0.0F);
  if (to.get_desc().data_type() == Type::s8) {
    post.append_eltwise(1.0F, algorithm::eltwise_linear, 1.0F / out_scale, 0.0F);
  }
  if (residual) post.append_sum(1.0F);
  attr.set_post_ops(post);
  const dnnl::matmul::primitive_desc pd({from.get_desc(), any, bias_desc, to.get_desc()}, attr, engine);
  if (!w.weights || w.weights.get_desc() != pd.weights_desc()) {
    memory plain = make({w.k, w.n}, int8 ? Type::s8 : Type::f32, Tag::ba);
    if (int8) {
      const auto& q = quantised_raw[&w];
      std::memcpy(plain.get_data_handle(), q.data(), q.size());
    } else {
      std::copy(w.raw.begin(), w.raw.end(), floats(plain));
    }
    w.weights = converted(plain, pd.weights_desc());
  }
  if (!w.bias) w.bias = filled({1, w.n}, Tag::ab, bias);
  add(steps, dnnl::matmul(pd),
      {{DNNL_ARG_SRC, from}, {DNNL_ARG_WEIGHTS, w.weights}, {DNNL_ARG_BIAS, w.bias}, {DNNL_ARG_DST, to}});
}

memory OneDnnNetwork::Impl::part(const memory& whole, const Dims& dims, const Dims& strides,
                                 std::int64_t offset) const {
  const memory::desc d(dims, whole.get_desc().data_type(), strides);
  const std::size_t bytes = whole.get_desc().data_type() == Type::f32 ? 4 : 2;
  return {d, engine, static_cast<std::byte*>(whole.get_data_handle()) + size(offset) * bytes};
}

memory OneDnnNetwork::Impl::convolution(const memory& source_map, const std::vector<float>& weight,
                                        const std::vector<float>& bias, std::int64_t channels, std::int64_t in,
                                        std::int64_t h, std::int64_t w, std::int64_t side, bool relu, float in_scale,
                                        float out_scale) {
  const Type kind = source_map.get_desc().data_type();
  const bool int8 = type == PeerType::kInt8;
  const Type out_kind = !relu ? Type::f32 : int8 ? Type::u8 : act();
  const memory::desc any_source({1, in, h, w}, kind, Tag::any);
  const memory::desc any_weights({channels, in, side, side}, int8 ? Type::s8 : act(), Tag::any);
  const memory::desc any_out({1, channels, h, w}, out_kind, Tag::any);
  const memory::desc bias_desc({channels}, Type::f32, Tag::x);
  dnnl::primitive_attr attr;
  std::vector<float> scaled_bias = bias, scales;
  memory plain = make({channels, in, side, side}, int8 ? Type::s8 : Type::f32, Tag::oihw);
  if (int8) {
    const std::vector<std::int8_t> q = quantise_weights(weight, channels, scales);
    std::memcpy(plain.get_data_handle(), q.data(), q.size());
    for (std::size_t c = 0; c < scales.size(); ++c) {
      scaled_bias[c] /= scales[c] * in_scale;
      scales[c] *= relu ? in_scale / out_scale : in_scale;
    }
    attr.set_output_scales(1 << 1, scales);
  } else {
    std::copy(weight.begin(), weight.end(), floats(plain));
  }
  if (relu) {
    dnnl::post_ops post;
    post.append_eltwise(1.0F, algorithm::eltwise_relu, 0.0F, 0.0F);
    attr.set_post_ops(post);
  }
  const auto described = [&](algorithm how) {
    const dnnl::convolution_forward::desc d(dnnl::prop_kind::forward_inference, how, any_source, any_weights, bias_desc,
                                            any_out, {1, 1}, {side / 2, side / 2}, {side / 2, side / 2});
    return dnnl::convolution_forward::primitive_desc(d, attr, engine, /*allow_empty=*/true);
  };
  dnnl::convolution_forward::primitive_desc pd;
  if (winograd && side == 3) pd = described(algorithm::convolution_winograd);
  if (!pd) pd = described(type == PeerType::kF32 ? algorithm::convolution_auto : algorithm::convolution_direct);
  memory from = source_map;
  if (pd.src_desc() != from.get_desc()) {
    from = memory(pd.src_desc(), engine);
    add(head_steps, dnnl::reorder(source_map, from), {{DNNL_ARG_FROM, source_map}, {DNNL_ARG_TO, from}});
  }
  memory out(pd.dst_desc(), engine);
  implementations += (implementations.empty() ? "" : ", ") + std::string(pd.impl_info_str());
  add(head_steps, dnnl::convolution_forward(pd),
      {{DNNL_ARG_SRC, from},
       {DNNL_ARG_WEIGHTS, converted(plain, pd.weights_desc())},
       {DNNL_ARG_BIAS, filled({channels}, Tag::x, scaled_bias)},
       {DNNL_ARG_DST, out}});
  return out;
}

}  // namespace m3vit
