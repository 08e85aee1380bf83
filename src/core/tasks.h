#pragma once
/// The dense tasks as data: channels, metric, direction. Loss, head, colours, Δm and reports read this table; no
/// code elsewhere asks `if (task == "depth")` for anything that stands here.
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace m3vit {

enum class TaskId { kSemseg, kDepth, kNormals, kEdge, kSal, kHumanParts };
inline constexpr std::size_t kNumTaskIds = 6;

/// What a label map holds; see data/sample.h for values.
enum class LabelKind { kClassIndex, kDepth, kNormals, kBinary };
enum class Better { kHigher, kLower };

struct TaskSpec {
  TaskId id;
  std::string_view name;  ///< in YAML, JSON, file and tensor names
  LabelKind label;
  int default_outputs;              ///< head channels; 0: from the data set's classes
  int label_channels;               ///< channels of a label map
  std::string_view primary_metric;  ///< the one that enters Δm
  Better better;
};

/// Indexed by TaskId.
inline constexpr std::array<TaskSpec, kNumTaskIds> kTasks{{
    {TaskId::kSemseg, "semseg", LabelKind::kClassIndex, 0, 1, "mIoU", Better::kHigher},
    {TaskId::kDepth, "depth", LabelKind::kDepth, 1, 1, "rmse", Better::kLower},
    {TaskId::kNormals, "normals", LabelKind::kNormals, 3, 3, "mean", Better::kLower},
    {TaskId::kEdge, "edge", LabelKind::kBinary, 1, 1, "odsF", Better::kHigher},
    {TaskId::kSal, "sal", LabelKind::kBinary, 1, 1, "mIoU", Better::kHigher},
    {TaskId::kHumanParts, "human_parts", LabelKind::kClassIndex, 7, 1, "mIoU", Better::kHigher},
}};

constexpr const TaskSpec& task_spec(TaskId id) { return kTasks[static_cast<std::size_t>(id)]; }

constexpr std::optional<TaskId> find_task(std::string_view name) {
  for (const TaskSpec& t : kTasks) {
    if (t.name == name) return t.id;
  }
  return std::nullopt;
}

/// "semseg, depth, …": for error messages.
std::string task_names();

/// One term of Δm (model.md): relative gain of `mtl` over the single-task value `stl`; positive is better.
constexpr double relative_gain(const TaskSpec& t, double mtl, double stl) {
  const double d = (mtl - stl) / stl;
  return t.better == Better::kHigher ? d : -d;
}

}  // namespace m3vit
