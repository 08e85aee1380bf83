#include "runtime/layout.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "runtime/kernels/kernels.h"

namespace m3vit {
namespace {

constexpr std::size_t kFieldAlignment = 64;

std::size_t size(int n) { return static_cast<std::size_t>(n); }

class Builder {
 public:
  explicit Builder(std::string name, Precision precision = Precision::kF32) {
    section_.name = std::move(name);
    section_.precision = precision;
  }
  Builder& vector(std::string name, std::size_t n) { return field(std::move(name), n * sizeof(float), Type::kF32); }
  /// y = x · W, x of `segments` runs of k, y of n, as panels; in int8 followed by its columns' scales and sums.
  Builder& matrix(const std::string& name, std::size_t k, std::size_t n, std::size_t segments = 1) {
    const std::size_t bytes = packed_bytes(k, n, section_.precision, segments);
    switch (section_.precision) {
      case Precision::kF32:
        return field(name, bytes, Type::kF32);
      case Precision::kBf16:
        return field(name, bytes, Type::kBf16);
      case Precision::kInt8:
        break;
    }
    field(name, bytes, Type::kInt8);
    field(name + "_scale", padded_columns(n) * sizeof(float), Type::kF32);
    return field(name + "_sums", segments * padded_columns(n) * sizeof(std::int32_t), Type::kI32);
  }
  SectionLayout done() { return std::move(section_); }

 private:
  using Type = Field::Type;
  Builder& field(std::string name, std::size_t bytes, Type type) {
    section_.fields.push_back({std::move(name), section_.bytes, bytes, type});
    section_.bytes += (bytes + kFieldAlignment - 1) / kFieldAlignment * kFieldAlignment;
    return *this;
  }

  SectionLayout section_;
};

std::string block_name(int block, std::string_view part) {
  return "blocks." + std::to_string(block) + "." + std::string(part);
}

}  // namespace

const Field& SectionLayout::field(std::string_view field_name) const {
  for (const Field& f : fields) {
    if (f.name == field_name) return f;
  }
  throw std::out_of_range(name + " has no field " + std::string(field_name));
}

ExpertWindow expert_window(const Config& config, int task) {
  const MoeConfig& moe = *config.model.moe;
  if (moe.experts_per_task == 0) return {0, moe.num_experts};
  return {task * moe.experts_per_task, moe.experts_per_task};
}

int first_task_block(const Config& config) {
  const ModelConfig& m = config.model;
  const bool one_router = m.moe && m.moe->gate == Gate::kShared && m.moe->experts_per_task == 0;
  return one_router ? m.depth : std::min(m.first_moe_block(), m.depth);
}

std::vector<int> packed_experts(const Config& config, const Packing& packing, int block) {
  std::set<int> experts;
  for (const int t : packing.tasks) {
    const ExpertWindow w = expert_window(config, t);
    for (int e = w.first; e < w.first + w.count; ++e) experts.insert(e);
  }
  if (const auto pruned = packing.pruned.find(block); pruned != packing.pruned.end()) {
    for (const int e : pruned->second) experts.erase(e);
  }
  return {experts.begin(), experts.end()};
}

Precision Packing::of(const std::string& layer) const {
  const auto it = layers.find(layer);
  return it == layers.end() ? dtype : it->second;
}

std::string attention_name(int block) { return block_name(block, "attn"); }
std::string mlp_name(const ModelConfig& m, int block) { return block_name(block, m.is_moe(block) ? "experts" : "mlp"); }
std::string head_name(const Config& config, int task) { return "head." + config.tasks[size(task)].name; }

std::vector<std::string> layer_names(const Config& config, const std::vector<int>& tasks) {
  std::vector<std::string> names{"embed"};
  for (int b = 0; b < config.model.depth; ++b) {
    names.push_back(attention_name(b));
    names.push_back(mlp_name(config.model, b));
  }
  for (const int t : tasks) names.push_back(head_name(config, t));
  return names;
}

void check_packing(const Config& config, const Packing& packing, const std::string& where) {
  if (config.model.resnet) {
    throw Error{{.where = where,
                 .field = "model.resnet",
                 .wanted = "null: what is packed and run on devices is a ViT",
                 .found = "a ResNet",
                 .hint = "`m3vit eval MODEL --engine model` evaluates it"}};
  }
  const std::vector<std::string> all = layer_names(config, packing.tasks);
  const std::set<std::string_view> names(all.begin(), all.end());
  for (const auto& [layer, precision] : packing.layers) {
    if (names.count(layer) != 0) continue;
    throw Error{{.where = where, .field = "layers", .wanted = "a layer of this model", .found = layer, .hint = {}}};
  }
  for (const auto& [block, experts] : packing.pruned) {
    const std::string field = "pruned." + std::to_string(block);
    const auto fail = [&](std::string wanted, std::string found) {
      throw Error{{.where = where, .field = field, .wanted = std::move(wanted), .found = std::move(found), .hint = {}}};
    };
    if (block < 0 || block >= config.model.depth || !config.model.is_moe(block)) {
      fail("an MoE block", std::to_string(block));
    }
    const MoeConfig& moe = *config.model.moe;
    for (std::size_t i = 0; i < experts.size(); ++i) {
      if (experts[i] < 0 || experts[i] >= moe.num_experts || (i > 0 && experts[i] <= experts[i - 1])) {
        fail("experts 0 … " + std::to_string(moe.num_experts - 1) + ", ascending", std::to_string(experts[i]));
      }
    }
    for (const int t : packing.tasks) {
      const ExpertWindow w = expert_window(config, t);
      const auto begin = std::lower_bound(experts.begin(), experts.end(), w.first);
      const auto left = w.count - (std::lower_bound(begin, experts.end(), w.first + w.count) - begin);
      if (left < moe.top_k) {
        fail("at least top_k " + std::to_string(moe.top_k) + " experts left for " + config.tasks[size(t)].name,
             std::to_string(left));
      }
    }
  }
}

int task_outputs(const TaskConfig& task, const std::string& where) {
  const int outputs = task.outputs > 0 ? task.outputs : task_spec(task.id()).default_outputs;
  if (outputs < 1) {
    throw Error{{.where = where,
                 .field = "tasks." + task.name + ".outputs",
                 .wanted = "the number of classes",
                 .found = "0",
                 .hint = {}}};
  }
  return outputs;
}

SectionLayout embed_layout(const ModelConfig& m, const Packing& packing) {
  const std::size_t p = size(m.patch_size);
  return Builder("embed", packing.of("embed"))
      .matrix("patch", 3 * p * p, size(m.embed_dim))
      .vector("patch_bias", size(m.embed_dim))
      .vector("position", size(m.tokens()) * size(m.embed_dim))
      .done();
}

SectionLayout attention_layout(const ModelConfig& m, const Packing& packing, int block) {
  const std::size_t d = size(m.embed_dim);
  return Builder(block_name(block, "attn"), packing.of(attention_name(block)))
      .vector("norm_weight", d)
      .vector("norm_bias", d)
      .matrix("qkv", d, 3 * d)
      .vector("qkv_bias", 3 * d)
      .matrix("proj", d, d)
      .vector("proj_bias", d)
      .done();
}

SectionLayout dense_mlp_layout(const ModelConfig& m, const Packing& packing, int block) {
  const std::size_t d = size(m.embed_dim);
  const std::size_t h = size(m.mlp_hidden());
  return Builder(block_name(block, "mlp"), packing.of(mlp_name(m, block)))
      .vector("norm_weight", d)
      .vector("norm_bias", d)
      .matrix("fc1", d, h)
      .vector("fc1_bias", h)
      .matrix("fc2", h, d)
      .vector("fc2_bias", d)
      .done();
}

SectionLayout moe_norm_layout(const ModelConfig& m, int block) {
  const std::size_t d = size(m.embed_dim);
  return Builder(block_name(block, "norm2")).vector("norm_weight", d).vector("norm_bias", d).done();
}

SectionLayout router_layout(const Config& config, int block, int task) {
  const std::size_t n = size(expert_window(config, task).count);
  return Builder(block_name(block, "router.") + config.tasks[size(task)].name)
      .matrix("gate", size(config.model.embed_dim), n)
      .vector("gate_bias", n)
      .done();
}

SectionLayout expert_layout(const ModelConfig& m, const Packing& packing, int block, int expert) {
  const std::size_t d = size(m.embed_dim);
  const std::size_t h = size(m.expert_hidden());
  return Builder(block_name(block, "expert.") + std::to_string(expert), packing.of(mlp_name(m, block)))
      .matrix("fc1", d, h)
      .vector("fc1_bias", h)
      .matrix("fc2", h, d)
      .vector("fc2_bias", d)
      .done();
}

SectionLayout head_layout(const Config& config, const Packing& packing, int task, const std::string& where) {
  const ModelConfig& m = config.model;
  const std::size_t d = size(m.embed_dim);
  const std::size_t c = size(m.head.channels);
  Builder b(head_name(config, task), packing.of(head_name(config, task)));
  b.vector("norm_weight", d).vector("norm_bias", d);
  for (int s = 0; s < m.head.stages; ++s) {
    b.matrix("conv" + std::to_string(s), s == 0 ? d : c, c, 9).vector("conv" + std::to_string(s) + "_bias", c);
  }
  const std::size_t outputs = size(task_outputs(config.tasks[size(task)], where));
  return b.matrix("last", c, outputs).vector("last_bias", outputs).done();
}

std::size_t section_count(const Config& config, const Packing& packing) {
  const ModelConfig& m = config.model;
  const std::size_t tasks = packing.tasks.size();
  std::size_t experts = 0;
  if (m.moe) {  // windows do not overlap
    experts = m.moe->experts_per_task == 0 ? size(m.moe->num_experts) : tasks * size(m.moe->experts_per_task);
  }
  std::size_t count = 1 + tasks;
  for (int b = 0; b < m.depth; ++b) {
    if (!m.is_moe(b)) {
      count += 2;
      continue;
    }
    count += 2 + tasks + experts;
    const auto pruned = packing.pruned.find(b);
    if (pruned == packing.pruned.end()) continue;
    for (const int e : pruned->second) {
      count -= std::any_of(packing.tasks.begin(), packing.tasks.end(), [&](int t) {
        const ExpertWindow w = expert_window(config, t);
        return e >= w.first && e < w.first + w.count;
      });
    }
  }
  return count;
}

std::vector<SectionLayout> section_layouts(const Config& config, const Packing& packing, const std::string& where) {
  const ModelConfig& m = config.model;
  std::vector<SectionLayout> all{embed_layout(m, packing)};
  for (int b = 0; b < m.depth; ++b) {
    all.push_back(attention_layout(m, packing, b));
    if (!m.is_moe(b)) {
      all.push_back(dense_mlp_layout(m, packing, b));
      continue;
    }
    all.push_back(moe_norm_layout(m, b));
    for (const int t : packing.tasks) all.push_back(router_layout(config, b, t));
    for (const int e : packed_experts(config, packing, b)) all.push_back(expert_layout(m, packing, b, e));
  }
  for (const int t : packing.tasks) all.push_back(head_layout(config, packing, t, where));
  return all;
}

}  // namespace m3vit
