#pragma once
/// What OneDnnNetwork is made of: memories, primitives with their arguments, and the layers that these make up.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "onednn_network.h"

namespace m3vit {

struct OneDnnNetwork::Impl {
  using memory = dnnl::memory;
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  using Dims = memory::dims;

  /// A primitive and what it reads and writes.
  struct Step {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
  };

  static std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

  Impl(const Config& c, const TensorSource& s, int t, PeerType p, const Ranges& r, bool w)
      : config(c),
        model(config.model),
        source(s),
        task(t),
        type(p),
        ranges(r),
        winograd(w),
        engine(dnnl::engine::kind::cpu, 0),
        stream(engine) {
    build();
  }

  // --- memory -------------------------------------------------------------------------------------------------
  memory make(const Dims& dims, Type data, Tag tag) const { return memory({dims, data, tag}, engine); }
  static float* floats(const memory& m) { return static_cast<float*>(m.get_data_handle()); }
  memory filled(const Dims& dims, Tag tag, const std::vector<float>& values) {
    memory m = make(dims, Type::f32, tag);
    std::copy(values.begin(), values.end(), floats(m));
    return m;
  }
  /// `m` in another layout or type, once.
  memory converted(const memory& m, const memory::desc& wanted);
  std::vector<float> get(const std::string& name) const { return source(name); }

  Type act() const { return type == PeerType::kF32 ? Type::f32 : Type::bf16; }
  float scale_of(const std::string& name) const;

  // --- steps --------------------------------------------------------------------------------------------------
  void add(std::vector<Step>& to, dnnl::primitive primitive, std::unordered_map<int, memory> arguments) {
    to.push_back({std::move(primitive), std::move(arguments)});
  }
  void run(std::vector<Step>& steps);

  /// `m` of f32 or bf16 into the type a quantised layer reads, as a step; the same memory where nothing is to do.
  memory quantised(std::vector<Step>& steps, const memory& m, Type wanted, float scale);
  memory layer_input(std::vector<Step>& steps, const memory& m, const std::string& name) {
    if (type == PeerType::kF32) return m;
    return quantised(steps, m, type == PeerType::kInt8 ? Type::s8 : Type::bf16, scale_of(name));
  }
  /// Calibration in f32: remembers the largest magnitude that reaches `name`.
  void watch(const std::string& name, const memory& m) {
    if (type != PeerType::kF32) return;
    watched.emplace_back(name, m);
  }

  void layer_norm(std::vector<Step>& steps, const memory& from, const memory& to, const std::string& name);

  struct Dense {
    memory weights, bias;       ///< in the layout the product asked for
    std::vector<float> scales;  ///< int8: of each output channel
    std::vector<float> raw, raw_bias;
    std::int64_t k = 0, n = 0;
  };
  static Dense dense(std::vector<float> weight, std::vector<float> bias, std::int64_t k, std::int64_t n) {
    Dense d;
    d.raw = std::move(weight);  // [n, k]
    d.raw_bias = std::move(bias);
    d.k = k;
    d.n = n;
    return d;
  }
  /// Symmetric, a scale an output channel; rows of `raw` are channels.
  static std::vector<std::int8_t> quantise_weights(const std::vector<float>& raw, std::int64_t channels,
                                                   std::vector<float>& scales);

  /// to (+)= f(from · wᵀ + b). `in_scale` and `out_scale` count in int8 only (out_scale where `to` is s8).
  void product(std::vector<Step>& steps, const memory& from, const memory& to, Dense& w, bool gelu, bool residual,
               float in_scale, float out_scale);

  // --- the network --------------------------------------------------------------------------------------------
  struct Expert {
    Dense fc1, fc2;
  };
  struct Rows {  ///< one expert's products for one number of tokens
    std::vector<Step> steps;
  };
  struct Moe {
    memory normed, input, probabilities;
    std::vector<Step> before;  ///< norm, router, softmax, conversion
    Dense gate;
    std::vector<Expert> experts;
    std::vector<std::map<std::int64_t, Rows>> rows;
    std::string name;
  };
  struct Block {
    std::vector<Step> steps;
    std::unique_ptr<Dense> qkv, proj, fc1, fc2;
    std::unique_ptr<Moe> moe;
  };

  std::unique_ptr<Dense> linear(const std::string& name, std::int64_t k, std::int64_t n) {
    return std::make_unique<Dense>(dense(get(name + ".weight"), get(name + ".bias"), k, n));
  }
  memory part(const memory& whole, const Dims& dims, const Dims& strides, std::int64_t offset) const;

  void build();

  void build_embed();

  void build_moe(Block& b, const std::string& name, const memory& normed);

  memory head_rows(const memory& m, std::int64_t rows) const {
    const memory::desc d({rows, m.get_desc().dims()[1]}, m.get_desc().data_type(), Tag::ab);
    return {d, engine, m.get_data_handle()};
  }

  void run_moe(Moe& m);

  void build_head();

  memory convolution(const memory& source_map, const std::vector<float>& weight, const std::vector<float>& bias,
                     std::int64_t channels, std::int64_t in, std::int64_t h, std::int64_t w, std::int64_t side,
                     bool relu, float in_scale, float out_scale);

  /// Largest magnitude in `m` (f32) so far.
  void note(const std::string& name, const memory& m) {
    const std::size_t count = m.get_desc().get_size() / sizeof(float);
    float& most = ranges[name];
    for (std::size_t i = 0; i < count; ++i) most = std::max(most, std::abs(floats(m)[i]));
  }

  /// Runs the steps; with `calibrate`, one by one, looking at each watched memory right after it was written.
  void run_watched(std::vector<Step>& steps);
  bool watching(const std::string& name) const { return name.starts_with(prefix); }

  Config config;
  const ModelConfig& model;
  TensorSource source;
  int task;
  PeerType type;
  Ranges ranges;
  bool winograd;
  dnnl::engine engine;
  dnnl::stream stream;
  std::int64_t tokens = 0, dim = 0;
  memory x, image, gathered, hidden_rows, expert_out, result_map;
  std::vector<float> position, result;
  std::vector<Step> embed, head_steps;
  std::vector<Block> blocks;
  std::map<const Dense*, std::vector<std::int8_t>> quantised_raw;
  std::vector<std::pair<std::string, memory>> watched;
  bool calibrate = false;
  std::string prefix, implementations;
};

}  // namespace m3vit
