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
  explicit Builder(std::string name) { section_.name = std::move(name); }
  Builder& vector(std::string name, std::size_t n) {
    section_.fields.push_back({std::move(name), section_.bytes, n});
    section_.bytes += (n * sizeof(float) + kFieldAlignment - 1) / kFieldAlignment * kFieldAlignment;
    return *this;
  }
  /// y = x · W, x of k, y of n, as panels.
  Builder& matrix(std::string name, std::size_t k, std::size_t n) {
    return vector(std::move(name), packed_floats(k, n));
  }
  SectionLayout done() { return std::move(section_); }

 private:
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

std::vector<int> reachable_experts(const Config& config, const std::vector<int>& tasks) {
  std::set<int> experts;
  for (const int t : tasks) {
    const ExpertWindow w = expert_window(config, t);
    for (int e = w.first; e < w.first + w.count; ++e) experts.insert(e);
  }
  return {experts.begin(), experts.end()};
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

SectionLayout embed_layout(const ModelConfig& m) {
  const std::size_t p = size(m.patch_size);
  return Builder("embed")
      .matrix("patch", 3 * p * p, size(m.embed_dim))
      .vector("patch_bias", size(m.embed_dim))
      .vector("position", size(m.tokens()) * size(m.embed_dim))
      .done();
}

SectionLayout attention_layout(const ModelConfig& m, int block) {
  const std::size_t d = size(m.embed_dim);
  return Builder(block_name(block, "attn"))
      .vector("norm_weight", d)
      .vector("norm_bias", d)
      .matrix("qkv", d, 3 * d)
      .vector("qkv_bias", 3 * d)
      .matrix("proj", d, d)
      .vector("proj_bias", d)
      .done();
}

SectionLayout dense_mlp_layout(const ModelConfig& m, int block) {
  const std::size_t d = size(m.embed_dim);
  const std::size_t h = size(m.mlp_hidden());
  return Builder(block_name(block, "mlp"))
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

SectionLayout expert_layout(const ModelConfig& m, int block, int expert) {
  const std::size_t d = size(m.embed_dim);
  const std::size_t h = size(m.expert_hidden());
  return Builder(block_name(block, "expert.") + std::to_string(expert))
      .matrix("fc1", d, h)
      .vector("fc1_bias", h)
      .matrix("fc2", h, d)
      .vector("fc2_bias", d)
      .done();
}

SectionLayout head_layout(const Config& config, int task, const std::string& where) {
  const ModelConfig& m = config.model;
  const std::size_t d = size(m.embed_dim);
  const std::size_t c = size(m.head.channels);
  Builder b("head." + config.tasks[size(task)].name);
  b.vector("norm_weight", d).vector("norm_bias", d);
  for (int s = 0; s < m.head.stages; ++s) {
    b.matrix("conv" + std::to_string(s), 9 * (s == 0 ? d : c), c).vector("conv" + std::to_string(s) + "_bias", c);
  }
  const std::size_t outputs = size(task_outputs(config.tasks[size(task)], where));
  return b.matrix("last", c, outputs).vector("last_bias", outputs).done();
}

std::size_t section_count(const Config& config, const std::vector<int>& tasks) {
  const ModelConfig& m = config.model;
  std::size_t experts = 0;
  if (m.moe) {
    experts = m.moe->experts_per_task == 0 ? size(m.moe->num_experts)
                                           : tasks.size() * size(m.moe->experts_per_task);  // windows do not overlap
  }
  std::size_t count = 1 + tasks.size();
  for (int b = 0; b < m.depth; ++b) count += m.is_moe(b) ? 2 + tasks.size() + experts : 2;
  return count;
}

std::vector<SectionLayout> section_layouts(const Config& config, const std::vector<int>& tasks,
                                           const std::string& where) {
  const ModelConfig& m = config.model;
  const std::vector<int> experts = m.moe ? reachable_experts(config, tasks) : std::vector<int>{};
  std::vector<SectionLayout> all{embed_layout(m)};
  for (int b = 0; b < m.depth; ++b) {
    all.push_back(attention_layout(m, b));
    if (!m.is_moe(b)) {
      all.push_back(dense_mlp_layout(m, b));
      continue;
    }
    all.push_back(moe_norm_layout(m, b));
    for (const int t : tasks) all.push_back(router_layout(config, b, t));
    for (const int e : experts) all.push_back(expert_layout(m, b, e));
  }
  for (const int t : tasks) all.push_back(head_layout(config, t, where));
  return all;
}

}  // namespace m3vit
