#pragma once
/// What a `.m3v` of a given configuration and task list holds: every section, and where each tensor lies in it. Writer,
/// reader and engine all ask this one list, so a file can neither lack a section nor have a size of its own
/// (docs/m3v.md is the prose).
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "runtime/precision.h"

namespace m3vit {

/// A tensor inside a section, 64-byte aligned.
struct Field {
  enum class Type { kF32, kBf16, kInt8, kI32 };
  std::string name;
  std::size_t offset = 0;  ///< bytes from the section's start
  std::size_t bytes = 0;   ///< with panel padding
  Type type = Type::kF32;
};

struct SectionLayout {
  std::string name;                       ///< "embed", "blocks.1.expert.7", "head.depth" …
  Precision precision = Precision::kF32;  ///< of its matrices
  std::vector<Field> fields;
  std::size_t bytes = 0;
  /// Throws std::out_of_range for an unknown name (a program bug).
  const Field& field(std::string_view field_name) const;
};

/// What a file may choose beside its configuration.
struct Packing {
  std::vector<int> tasks{};                   ///< indices into config.tasks, ascending
  Precision dtype = Precision::kF32;          ///< of every layer that `layers` does not name
  std::map<std::string, Precision> layers{};  ///< by the names of layer_names
  std::map<int, std::vector<int>> pruned{};   ///< by MoE block: experts left out, ascending

  Precision of(const std::string& layer) const;
};

/// What has one precision: "embed", "blocks.{i}.attn", "blocks.{i}.mlp" (dense), "blocks.{i}.experts" (all of a block),
/// "head.{task}"; in file order.
std::vector<std::string> layer_names(const Config& config, const std::vector<int>& tasks);
std::string attention_name(int block);
std::string mlp_name(const ModelConfig& m, int block);  ///< of a dense MLP or of a block's experts
std::string head_name(const Config& config, int task);

/// Experts that task `task` of `config` may choose: [first, first + count).
struct ExpertWindow {
  int first = 0, count = 0;
};
ExpertWindow expert_window(const Config& config, int task);
/// The first block whose result depends on the task; depth when none does (dense, or one router for all tasks).
int first_task_block(const Config& config);
/// Experts of MoE block `block` that any of the file's tasks may choose: ascending, without doubles and pruned ones.
std::vector<int> packed_experts(const Config& config, const Packing& packing, int block);
/// Throws Error when `packing` names layers or experts that there are none of, or leaves a task of some block fewer
/// than top_k experts.
void check_packing(const Config& config, const Packing& packing, const std::string& where);

/// Head channels of a task. Throws Error when the config leaves them open.
int task_outputs(const TaskConfig& task, const std::string& where);

/// Number of sections, without building the list (a header may claim any).
std::size_t section_count(const Config& config, const Packing& packing);
/// In file order, which is order of use. `config` and `packing` must be valid; the configuration's bounds keep every
/// product here below 2^62.
std::vector<SectionLayout> section_layouts(const Config& config, const Packing& packing, const std::string& where);

// The single kinds, for packing and running one section.
SectionLayout embed_layout(const ModelConfig& m, const Packing& packing);
SectionLayout attention_layout(const ModelConfig& m, const Packing& packing, int block);
SectionLayout dense_mlp_layout(const ModelConfig& m, const Packing& packing, int block);
SectionLayout moe_norm_layout(const ModelConfig& m, int block);
SectionLayout router_layout(const Config& config, int block, int task);
SectionLayout expert_layout(const ModelConfig& m, const Packing& packing, int block, int expert);
SectionLayout head_layout(const Config& config, const Packing& packing, int task, const std::string& where);

}  // namespace m3vit
