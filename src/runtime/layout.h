#pragma once
/// What a `.m3v` of a given configuration and task list holds: every section, and where each tensor lies in it. Writer,
/// reader and engine all ask this one list, so a file can neither lack a section nor have a size of its own
/// (docs/m3v.md is the prose).
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"

namespace m3vit {

/// A tensor inside a section, 64-byte aligned; `floats` counts panel padding.
struct Field {
  std::string name;
  std::size_t offset = 0;  ///< bytes from the section's start
  std::size_t floats = 0;
};

struct SectionLayout {
  std::string name;  ///< "embed", "blocks.1.expert.7", "head.depth" …
  std::vector<Field> fields;
  std::size_t bytes = 0;
  /// Throws std::out_of_range for an unknown name (a program bug).
  const Field& field(std::string_view field_name) const;
};

/// Experts that task `task` of `config` may choose: [first, first + count).
struct ExpertWindow {
  int first = 0, count = 0;
};
ExpertWindow expert_window(const Config& config, int task);
/// The first block whose result depends on the task; depth when none does (dense, or one router for all tasks).
int first_task_block(const Config& config);
/// Experts any of `tasks` may choose: ascending, without doubles.
std::vector<int> reachable_experts(const Config& config, const std::vector<int>& tasks);

/// Head channels of a task. Throws Error when the config leaves them open.
int task_outputs(const TaskConfig& task, const std::string& where);

/// Number of sections, without building the list (a header may claim any).
std::size_t section_count(const Config& config, const std::vector<int>& tasks);
/// In file order, which is order of use. `tasks`: indices into config.tasks, ascending. `config` must be valid; its
/// bounds keep every product here below 2^62.
std::vector<SectionLayout> section_layouts(const Config& config, const std::vector<int>& tasks,
                                           const std::string& where);

// The single kinds, for packing and running one section.
SectionLayout embed_layout(const ModelConfig& m);
SectionLayout attention_layout(const ModelConfig& m, int block);
SectionLayout dense_mlp_layout(const ModelConfig& m, int block);
SectionLayout moe_norm_layout(const ModelConfig& m, int block);
SectionLayout router_layout(const Config& config, int block, int task);
SectionLayout expert_layout(const ModelConfig& m, int block, int expert);
SectionLayout head_layout(const Config& config, int task, const std::string& where);

}  // namespace m3vit
