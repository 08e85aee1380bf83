#include "data/archives/nyud.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/image_io.h"
#include "data/archives/class_lists.h"
#include "data/archives/mat_file.h"
#include "data/archives/numbered_files.h"
#include "data/archives/stored_maps.h"
#include "data/file_names.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

/// Where a task's files lie and how they end.
struct Place {
  TaskId task;
  const char* folder;
  const char* ending;
};

struct Layout {
  NyudLayout id;
  const char* name;
  const char* image_ending;
  std::array<Place, 4> places;
};

/// Of one frame, listed in gt_sets/SPLIT.txt.
constexpr std::array<Layout, 3> kNamedLayouts{{
    {NyudLayout::kSurvey,
     "survey",
     ".jpg",
     {{{TaskId::kSemseg, "segmentation", ".png"},
       {TaskId::kDepth, "depth", ".npy"},
       {TaskId::kNormals, "normals", ".npy"},
       {TaskId::kEdge, "edge", ".npy"}}}},
    {NyudLayout::kAtrc,
     "atrc",
     ".png",
     {{{TaskId::kSemseg, "segmentation", ".png"},
       {TaskId::kDepth, "depth", ".npy"},
       {TaskId::kNormals, "normals", ".png"},
       {TaskId::kEdge, "edge", ".png"}}}},
    {NyudLayout::kAstmt,
     "astmt",
     ".jpg",
     {{{TaskId::kSemseg, "segmentation", ".mat"},
       {TaskId::kDepth, "depth", ".mat"},
       {TaskId::kNormals, "normals", ".jpg"},
       {TaskId::kEdge, "edge", ".png"}}}},
}};

const std::vector<std::string> kNumberedFolders{"image", "label", "depth", "normal"};
constexpr std::array<TaskId, 3> kNumberedTasks{TaskId::kSemseg, TaskId::kDepth, TaskId::kNormals};

constexpr ClassCode kFortyClasses{.first = 1, .classes = 40, .unlabelled = 0};
constexpr ClassCode kThirteenClasses{.first = 0, .classes = 13, .unlabelled = -1};

const Layout& named_layout(NyudLayout id) {
  return *std::find_if(kNamedLayouts.begin(), kNamedLayouts.end(), [id](const Layout& l) { return l.id == id; });
}

bool any_ends_with(const FileNames& names, const std::string& ending) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& n) { return n.ends_with(ending); });
}

bool has_ending(const std::string& path, const char* ending) { return path.ends_with(ending); }

}  // namespace

std::string_view layout_name(NyudLayout layout) {
  return layout == NyudLayout::kMtan ? "mtan" : named_layout(layout).name;
}

std::optional<NyudLayout> find_nyud_layout(const fs::path& root) {
  if (!fs::is_directory(root / "gt_sets") && (fs::is_directory(root / "train") || fs::is_directory(root / "val"))) {
    for (const char* split : {"train", "val"}) {
      if (fs::is_directory(root / split / "label") || fs::is_directory(root / split / "normal")) {
        return NyudLayout::kMtan;
      }
    }
    return std::nullopt;
  }
  std::array<FileNames, 5> listing;
  constexpr std::array<const char*, 5> kFolders{"images", "segmentation", "depth", "normals", "edge"};
  for (std::size_t f = 0; f < kFolders.size(); ++f) listing[f] = list_folder(root / kFolders[f]);
  int best = 0;
  std::optional<NyudLayout> found;
  for (const Layout& layout : kNamedLayouts) {
    int fits = any_ends_with(listing[0], layout.image_ending) ? 1 : 0;
    for (std::size_t p = 0; p < layout.places.size(); ++p) {
      fits += any_ends_with(listing[p + 1], layout.places[p].ending) ? 1 : 0;
    }
    if (fits > best) {
      best = fits;
      found = layout.id;
    }
  }
  return found;
}

Nyud::Nyud(const ArchiveOptions& options) : Archive(options) {
  info_.name = "nyud";
  info_.archive = true;
  const fs::path& root = options_.root;
  const std::optional<NyudLayout> layout = find_nyud_layout(root);
  if (!layout) {
    throw Error{{.where = root.string(),
                 .field = "layout",
                 .wanted = "one of NYUD-v2's archives: gt_sets/, images/, segmentation/, depth/, normals/, edge/ or "
                           "MTAN's train/ and val/",
                 .found = fs::is_directory(root) ? "neither" : "no such directory",
                 .hint = "docs/datasets.md shows the trees"}};
  }
  layout_ = *layout;
  if (layout_ == NyudLayout::kMtan) {
    offer({kNumberedTasks.begin(), kNumberedTasks.end()});
    info_.classes[static_cast<std::size_t>(TaskId::kSemseg)] = nyud13_classes();
    find_numbered_frames();
  } else {
    offer({TaskId::kSemseg, TaskId::kDepth, TaskId::kNormals, TaskId::kEdge});
    info_.classes[static_cast<std::size_t>(TaskId::kSemseg)] = nyud_classes();
    find_named_frames();
  }
  settle();
}

void Nyud::find_named_frames() {
  const Layout& layout = named_layout(layout_);
  const fs::path& root = options_.root;
  const auto ids = read_split(root / "gt_sets" / (options_.split + ".txt"));
  const FileNames images = list_folder(root / "images");
  if (images.empty()) missing((root / "images").string(), "image", "the images", "no file");
  for (const auto& [id, line] : ids) {
    Frame& frame = frames_.emplace_back();
    frame.id = id;
    const std::string image = (root / "images" / (id + layout.image_ending)).string();
    if (images.count(id + layout.image_ending) != 0) {
      frame.image = image;
    } else if (!images.empty()) {
      missing(image, "image", "the image of gt_sets/" + options_.split + ".txt:" + std::to_string(line));
    }
  }
  for (const Place& place : layout.places) {
    if (!wants(place.task)) continue;
    const std::string field(task_spec(place.task).name);
    const FileNames names = list_folder(root / place.folder);
    if (names.empty()) {
      missing((root / place.folder).string(), field, "its labels, ID" + std::string(place.ending), "no file");
      continue;
    }
    for (std::size_t i = 0; i < frames_.size(); ++i) {
      const std::string name = ids[i].first + place.ending;
      const std::string path = (root / place.folder / name).string();
      if (names.count(name) != 0) {
        frames_[i].labels[static_cast<std::size_t>(place.task)] = path;
      } else {
        missing(path, field, "the label of gt_sets/" + options_.split + ".txt:" + std::to_string(ids[i].second));
      }
    }
  }
}

void Nyud::find_numbered_frames() {
  const fs::path split = options_.root / options_.split;
  std::vector<std::string> folders{kNumberedFolders.front()};
  std::vector<std::string> fields{"image"};
  std::vector<TaskId> tasks;
  for (std::size_t k = 0; k < kNumberedTasks.size(); ++k) {
    if (!wants(kNumberedTasks[k])) continue;
    tasks.push_back(kNumberedTasks[k]);
    folders.push_back(kNumberedFolders[k + 1]);
    fields.emplace_back(task_spec(kNumberedTasks[k]).name);
  }
  const auto paths = numbered_files(split, folders, fields, problems_);
  std::size_t count = paths.front().size();
  if (options_.frames > 0) count = std::min(count, static_cast<std::size_t>(options_.frames));
  for (std::size_t i = 0; i < count; ++i) {
    Frame& frame = frames_.emplace_back();
    frame.id = std::to_string(i);
    frame.image = paths[0][i];
    for (std::size_t k = 0; k < tasks.size(); ++k) frame.labels[static_cast<std::size_t>(tasks[k])] = paths[k + 1][i];
  }
}

ImageU8 Nyud::read_image(const Frame& frame) const {
  if (layout_ != NyudLayout::kMtan) return Archive::read_image(frame);
  return photo_of_numbers(read_numbers(frame.image, 3, "image"), frame.image);
}

ImageF32 Nyud::read_label(const Frame& frame, TaskId task) const {
  const std::string& path = frame.label(task);
  const std::string field(task_spec(task).name);
  const bool mat = has_ending(path, ".mat");
  switch (task) {
    case TaskId::kSemseg: {
      const ClassCode code = layout_ == NyudLayout::kMtan ? kThirteenClasses : kFortyClasses;
      ImageF32 stored = mat ? MatFile(path, "segmentation").root().matrix() : read_numbers(path, 1, field);
      return class_map(std::move(stored), code, path, mat ? "segmentation" : field);
    }
    case TaskId::kDepth:
      return depth_map(mat ? MatFile(path, "depth").root().matrix() : read_numbers(path, 1, field), path, field);
    case TaskId::kNormals: {
      ImageF32 stored = read_numbers(path, 3, field);
      return has_ending(path, ".npy") ? normals_map(std::move(stored), path, field)
                                      : normals_of_bytes(std::move(stored), path, field);
    }
    default:
      return binary_map(read_numbers(path, 1, field), has_ending(path, ".npy") ? 1.0F : 255.0F, path, field);
  }
}

}  // namespace m3vit
