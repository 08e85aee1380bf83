#include "data/archives/cityscapes.h"

#include <algorithm>

#include "core/error.h"
#include "data/archives/class_lists.h"
#include "data/archives/numbered_files.h"
#include "data/archives/stored_maps.h"

namespace m3vit {
namespace {

constexpr ClassCode kSevenClasses{.first = 0, .classes = 7, .unlabelled = -1};

}  // namespace

Cityscapes::Cityscapes(const ArchiveOptions& options) : Archive(options) {
  info_.name = "cityscapes";
  info_.archive = true;
  offer({TaskId::kSemseg, TaskId::kDepth});
  info_.classes[static_cast<std::size_t>(TaskId::kSemseg)] = cityscapes_classes();
  const std::filesystem::path split = options_.root / options_.split;
  if (!std::filesystem::is_directory(split)) {
    throw Error{{.where = split.string(),
                 .field = "split",
                 .wanted = "a directory with image/, label_7/ and depth/",
                 .found = "none",
                 .hint = "docs/datasets.md shows the tree"}};
  }
  std::vector<std::string> folders{"image"};
  std::vector<std::string> fields{"image"};
  for (const TaskId t : info_.tasks) {
    folders.emplace_back(t == TaskId::kSemseg ? "label_7" : "depth");
    fields.emplace_back(task_spec(t).name);
  }
  const auto paths = numbered_files(split, folders, fields, problems_);
  std::size_t count = paths.front().size();
  if (options_.frames > 0) count = std::min(count, static_cast<std::size_t>(options_.frames));
  for (std::size_t i = 0; i < count; ++i) {
    Frame& frame = frames_.emplace_back();
    frame.id = std::to_string(i);
    frame.image = paths[0][i];
    for (std::size_t k = 0; k < info_.tasks.size(); ++k) {
      frame.labels[static_cast<std::size_t>(info_.tasks[k])] = paths[k + 1][i];
    }
  }
  settle();
}

ImageU8 Cityscapes::read_image(const Frame& frame) const {
  return photo_of_numbers(read_numbers(frame.image, 3, "image"), frame.image);
}

ImageF32 Cityscapes::read_label(const Frame& frame, TaskId task) const {
  const std::string& path = frame.label(task);
  const std::string field(task_spec(task).name);
  ImageF32 stored = read_numbers(path, 1, field);
  return task == TaskId::kSemseg ? class_map(std::move(stored), kSevenClasses, path, field)
                                 : depth_map(std::move(stored), path, field);
}

}  // namespace m3vit
