#include "runtime/pack.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <map>
#include <span>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/model_cost.h"
#include "runtime/head_plan.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/panels.h"
#include "runtime/layout.h"
#include "runtime/m3v.h"

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

/// Named parts of one section on their way into the file.
class SectionData {
 public:
  explicit SectionData(SectionLayout layout) : layout_(std::move(layout)), data_(layout_.bytes) {}

  std::span<float> vector(const std::string& name) { return at<float>(name); }
  void vector(const std::string& name, std::span<const float> values) {
    const std::span<float> to = at<float>(name);
    assert(values.size() == to.size());
    std::copy(values.begin(), values.end(), to.begin());
  }
  /// value(k, n) of a [segments · k, n] matrix into panels of the section's precision; every segment is padded to whole
  /// groups.
  template <class F>
  void matrix(const std::string& name, std::size_t k, std::size_t n, const F& value, std::size_t segments = 1) {
    PackedMatrix to;
    to.panels = at<std::byte>(name).data();
    assert(at<std::byte>(name).size() == packed_bytes(k, n, layout_.precision, segments));
    if (layout_.precision == Precision::kInt8) {
      to.scale = at<float>(name + "_scale").data();
      to.sums = at<std::int32_t>(name + "_sums").data();
    }
    pack_panels(layout_.precision, segments, k, n, value, to);
  }
  /// A torch Linear weight [n, k].
  void linear(const std::string& name, std::size_t k, std::size_t n, std::span<const float> weight) {
    assert(weight.size() == k * n);
    matrix(name, k, n, [&](std::size_t i, std::size_t j) { return weight[j * k + i]; });
  }
  void write(M3vWriter& writer) const { writer.section(layout_, data_); }

 private:
  template <class T>
  std::span<T> at(const std::string& name) {
    const Field& f = layout_.field(name);
    return {reinterpret_cast<T*>(data_.data() + f.offset), f.bytes / sizeof(T)};
  }

  SectionLayout layout_;
  std::vector<std::byte> data_;  // new[] aligns it for any element, and fields begin at multiples of 64
};

class Packer {
 public:
  Packer(const Config& config, const Packing& packing, const TensorSource& source, const std::string& where)
      : config_(config),
        packing_(packing),
        model_(config.model),
        source_(source),
        where_(where),
        dim_(size(model_.embed_dim)) {
    for (const TensorSpec& spec : expected_tensors(config)) {
      std::size_t numel = 1;
      for (const std::int64_t n : spec.shape) numel *= static_cast<std::size_t>(n);
      sizes_[spec.name] = numel;
    }
  }

  void pack(M3vWriter& writer) {
    embed(writer);
    for (int b = 0; b < model_.depth; ++b) {
      attention(writer, b);
      if (!model_.is_moe(b)) {
        mlp(writer, b);
        continue;
      }
      SectionData norm(moe_norm_layout(model_, b));
      layer_norm(norm, block(b) + "norm2");
      norm.write(writer);
      for (const int t : packing_.tasks) router(writer, b, t);
      expert_sections(writer, b);
    }
    for (const int t : packing_.tasks) head(writer, t);
  }

 private:
  static std::string block(int b) { return "backbone.blocks." + std::to_string(b) + "."; }

  std::vector<float> get(const std::string& name) const {
    std::vector<float> values = source_(name);
    const std::size_t wanted = sizes_.at(name);
    if (values.size() != wanted) {
      throw Error{{.where = where_,
                   .field = name,
                   .wanted = std::to_string(wanted) + " values",
                   .found = std::to_string(values.size())}};
    }
    return values;
  }

  void layer_norm(SectionData& s, const std::string& name) const {
    s.vector("norm_weight", get(name + ".weight"));
    s.vector("norm_bias", get(name + ".bias"));
  }
  void linear(SectionData& s, const std::string& field, const std::string& name, std::size_t k, std::size_t n) const {
    s.linear(field, k, n, get(name + ".weight"));
    s.vector(field + "_bias", get(name + ".bias"));
  }

  void embed(M3vWriter& writer) const {
    SectionData s(embed_layout(model_, packing_));
    const std::size_t p = size(model_.patch_size);
    // [D, 3, p, p] flattens to k = (plane · p + line) · p + column: the order of RowSource::kPatch.
    linear(s, "patch", "backbone.patch_embed.proj", 3 * p * p, dim_);
    std::vector<float> position = get("backbone.pos_embed");
    const std::vector<float> cls = get("backbone.cls_token");
    for (std::size_t i = 0; i < dim_; ++i) position[i] += cls[i];
    s.vector("position", position);
    s.write(writer);
  }

  void attention(M3vWriter& writer, int b) const {
    SectionData s(attention_layout(model_, packing_, b));
    layer_norm(s, block(b) + "norm1");
    linear(s, "qkv", block(b) + "attn.qkv", dim_, 3 * dim_);
    linear(s, "proj", block(b) + "attn.proj", dim_, dim_);
    s.write(writer);
  }

  void mlp(M3vWriter& writer, int b) const {
    SectionData s(dense_mlp_layout(model_, packing_, b));
    const std::size_t hidden = size(model_.mlp_hidden());
    layer_norm(s, block(b) + "norm2");
    linear(s, "fc1", block(b) + "mlp.fc1", dim_, hidden);
    linear(s, "fc2", block(b) + "mlp.fc2", hidden, dim_);
    s.write(writer);
  }

  void router(M3vWriter& writer, int b, int task) {
    SectionData s(router_layout(config_, b, task));
    const MoeConfig& moe = *model_.moe;
    const std::string name =
        moe.gate == Gate::kMulti ? "mlp.gate." + std::to_string(task) + ".w_gate" : std::string("mlp.gate.w_gate");
    const std::vector<float> gate = get(block(b) + name);  // [D (+ gate_task_dim), columns]
    const std::size_t columns = size(expert_window(config_, task).count);
    s.matrix("gate", dim_, columns, [&](std::size_t i, std::size_t j) { return gate[i * columns + j]; });
    if (moe.gate == Gate::kTaskConditioned) {
      const std::vector<double>& feature = task_feature(task);
      const std::span<float> bias = s.vector("gate_bias");
      for (std::size_t j = 0; j < columns; ++j) {
        double sum = 0.0;
        for (std::size_t g = 0; g < feature.size(); ++g) sum += feature[g] * double{gate[(dim_ + g) * columns + j]};
        bias[j] = static_cast<float>(sum);
      }
    }
    s.write(writer);
  }

  /// f(one-hot task) of model.md: Linear, GELU, Linear, LayerNorm. The same for every image, so it is a constant here.
  const std::vector<double>& task_feature(int task) {
    std::vector<double>& feature = features_[task];
    if (!feature.empty()) return feature;
    const std::string name = "backbone.gate_task_represent.";
    const std::size_t g = size(model_.moe->gate_task_dim);
    const std::size_t tasks = config_.tasks.size();
    const std::vector<float> w1 = get(name + "fc1.weight");  // [G, tasks]
    const std::vector<float> b1 = get(name + "fc1.bias");
    const std::vector<float> w2 = get(name + "fc2.weight");  // [G, G]
    const std::vector<float> b2 = get(name + "fc2.bias");
    const std::vector<float> scale = get(name + "norm.weight");
    const std::vector<float> shift = get(name + "norm.bias");
    std::vector<double> hidden(g);
    for (std::size_t i = 0; i < g; ++i) {
      const double v = double{w1[i * tasks + size(task)]} + double{b1[i]};
      hidden[i] = 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0)));
    }
    feature.assign(b2.begin(), b2.end());
    double mean = 0.0;
    for (std::size_t i = 0; i < g; ++i) {
      for (std::size_t j = 0; j < g; ++j) feature[i] += double{w2[i * g + j]} * hidden[j];
      mean += feature[i] / static_cast<double>(g);
    }
    double variance = 0.0;
    for (const double v : feature) variance += (v - mean) * (v - mean) / static_cast<double>(g);
    const double inverse = 1.0 / std::sqrt(variance + 1e-6);
    for (std::size_t i = 0; i < g; ++i)
      feature[i] = (feature[i] - mean) * inverse * double{scale[i]} + double{shift[i]};
    return feature;
  }

  void expert_sections(M3vWriter& writer, int b) const {
    const std::string name = block(b) + "mlp.experts.";
    const std::vector<float> w1 = get(name + "htoh4.weight");  // [E, hidden, D]
    const std::vector<float> b1 = get(name + "htoh4.bias");
    const std::vector<float> w2 = get(name + "h4toh.weight");  // [E, D, hidden]
    const std::vector<float> b2 = get(name + "h4toh.bias");
    const std::size_t hidden = size(model_.expert_hidden());
    for (const int expert : packed_experts(config_, packing_, b)) {
      const std::size_t e = size(expert);
      SectionData s(expert_layout(model_, packing_, b, expert));
      s.linear("fc1", dim_, hidden, std::span(w1).subspan(e * hidden * dim_, hidden * dim_));
      s.vector("fc1_bias", std::span(b1).subspan(e * hidden, hidden));
      s.linear("fc2", hidden, dim_, std::span(w2).subspan(e * hidden * dim_, hidden * dim_));
      s.vector("fc2_bias", std::span(b2).subspan(e * dim_, dim_));
      s.write(writer);
    }
  }

  void head(M3vWriter& writer, int task) const {
    SectionData s(head_layout(config_, packing_, task, where_));
    const std::string name = "decoders." + config_.tasks[size(task)].name + ".";
    const std::size_t channels = size(model_.head.channels);
    layer_norm(s, name + "norm");
    std::size_t in = dim_;
    for (int stage = 0; stage < model_.head.stages; ++stage, in = channels) {
      const std::string number = std::to_string(stage);
      const std::string conv = std::string(name).append("conv_").append(number);
      const std::string norm = std::string(name).append("syncbn_fc_").append(number);
      const std::vector<float> weight = get(conv + ".weight");  // [channels, in, 3, 3]
      const std::vector<float> bias = get(conv + ".bias");
      const std::vector<float> gamma = get(norm + ".weight");
      const std::vector<float> beta = get(norm + ".bias");
      const std::vector<float> mean = get(norm + ".running_mean");
      const std::vector<float> variance = get(norm + ".running_var");
      // Inference BN is an affine map per channel: scale the filter, move the bias.
      std::vector<double> scale(channels);
      const std::span<float> folded = s.vector("conv" + number + "_bias");
      for (std::size_t c = 0; c < channels; ++c) {
        scale[c] = double{gamma[c]} / std::sqrt(double{variance[c]} + 1e-5);
        folded[c] = static_cast<float>((double{bias[c]} - double{mean[c]}) * scale[c] + double{beta[c]});
      }
      const auto value = [&](std::size_t k, std::size_t c) {
        const auto tap = size(kTapOrder[k / in]);
        return static_cast<float>(double{weight[(c * in + k % in) * 9 + tap]} * scale[c]);
      };
      s.matrix("conv" + number, in, channels, value, /*segments=*/9);
    }
    linear(s, "last", name + "conv_" + std::to_string(model_.head.stages), channels,
           size(task_outputs(config_.tasks[size(task)], where_)));
    s.write(writer);
  }

  const Config& config_;
  const Packing& packing_;
  const ModelConfig& model_;
  const TensorSource& source_;
  const std::string& where_;
  std::size_t dim_;
  std::map<std::string, std::size_t> sizes_;
  std::map<int, std::vector<double>> features_;
};

std::vector<int> chosen_tasks(const Config& config, const PackOptions& options, const std::string& where) {
  std::vector<int> tasks;
  std::string known;
  for (std::size_t t = 0; t < config.tasks.size(); ++t) {
    known += (known.empty() ? "" : ", ") + config.tasks[t].name;
    if (options.tasks.empty()) tasks.push_back(static_cast<int>(t));
  }
  for (const std::string& name : options.tasks) {
    const std::optional<int> index = config.task_index(name);
    if (!index) throw Error{{.where = where, .field = "tasks", .wanted = "some of " + known, .found = name}};
    tasks.push_back(*index);
  }
  std::sort(tasks.begin(), tasks.end());
  tasks.erase(std::unique(tasks.begin(), tasks.end()), tasks.end());
  return tasks;
}

}  // namespace

void pack_model(const Config& config, const TensorSource& source, const PackOptions& options, std::ostream& out,
                const std::string& where) {
  validate(config, SourceMap{.file = where, .places = {}});
  Packing packing{chosen_tasks(config, options, where), options.dtype, options.layers, options.pruned};
  // Raw pixels spread wider than what a norm has passed, and the patch embedding costs next to nothing.
  if (packing.dtype == Precision::kInt8) packing.layers.emplace("embed", Precision::kBf16);
  check_packing(config, packing, where);
  M3vWriter writer(out, config, packing, options.producer, where);
  Packer(config, packing, source, where).pack(writer);
  writer.finish();
}

std::vector<std::byte> pack_model(const Config& config, const TensorSource& source, const PackOptions& options,
                                  const std::string& where) {
  std::ostringstream out;
  pack_model(config, source, options, out, where);
  const std::string_view text = out.view();
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace m3vit
