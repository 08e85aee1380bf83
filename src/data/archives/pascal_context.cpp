#include "data/archives/pascal_context.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/image_io.h"
#include "core/json_text.h"
#include "data/archives/class_lists.h"
#include "data/archives/pascal_labels.h"
#include "data/archives/stored_maps.h"
#include "data/file_names.h"
#include "data/folder_spec.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

constexpr ClassCode kVocClasses{.first = 0, .classes = 21, .unlabelled = 255};
constexpr std::int64_t kPerson = 15;
constexpr std::size_t kMaxCacheBytes = std::size_t{1} << 26U;

ImageF32 resized_nearest(const ImageF32& map, int height, int width) {
  ImageF32 out(height, width, map.channels);
  for (int y = 0; y < height; ++y) {
    const int from_y = static_cast<int>((y + 0.5) * map.height / height);
    for (int x = 0; x < width; ++x) {
      const int from_x = static_cast<int>((x + 0.5) * map.width / width);
      for (int c = 0; c < map.channels; ++c) out.at(y, x, c) = map.at(from_y, from_x, c);
    }
  }
  return out;
}

/// The file of one task, or "".
struct Source {
  TaskId task;
  std::vector<std::string> folders;  ///< the first that has the file
  const char* ending;
};

const std::vector<Source>& sources() {
  static const std::vector<Source> all{
      {TaskId::kSemseg, {"semseg/VOC12", "semseg/pascal-context"}, ".png"},
      {TaskId::kHumanParts, {"human_parts"}, ".mat"},
      {TaskId::kNormals, {"normals_distill"}, ".png"},
      {TaskId::kEdge, {"pascal-context/trainval"}, ".mat"},
      {TaskId::kSal, {"sal_distill"}, ".png"},
  };
  return all;
}

}  // namespace

std::vector<std::string> parse_person_ids(std::string_view text, const std::string& where) {
  const nlohmann::json json = parse_json(text, where, "human_parts");
  const auto fail = [&](const std::string& found) {
    throw Error{{.where = where,
                 .field = "human_parts",
                 .wanted = "{\"ID\": [class of each object, …], …}",
                 .found = found,
                 .hint = "delete the file: it is a cache"}};
  };
  if (!json.is_object()) fail(shown(json));
  std::vector<std::string> ids;
  for (const auto& [id, classes] : json.items()) {
    if (!classes.is_array()) fail(shown(classes));
    bool person = false;
    for (const auto& c : classes) {
      if (!c.is_number_integer()) fail(shown(c));
      person = person || c == kPerson;
    }
    if (person) ids.push_back(id);
  }
  return ids;  // items() are sorted
}

PascalContext::PascalContext(const ArchiveOptions& options) : Archive(options) {
  info_.name = "pascal_context";
  info_.archive = true;
  info_.normals_y_down = true;
  if (!fs::is_directory(options_.root)) {
    throw Error{{.where = options_.root.string(), .field = "root", .wanted = "a directory", .found = "none"}};
  }
  offer({TaskId::kSemseg, TaskId::kHumanParts, TaskId::kNormals, TaskId::kEdge, TaskId::kSal});
  info_.classes[static_cast<std::size_t>(TaskId::kSemseg)] = pascal_classes();
  info_.classes[static_cast<std::size_t>(TaskId::kHumanParts)] = {kHumanParts.begin(), kHumanParts.end()};
  find_frames();
  if (info_.tasks == std::vector{TaskId::kHumanParts} && problems_.count() == 0) keep_persons();
  settle();
}

void PascalContext::find_frames() {
  const fs::path& root = options_.root;
  const std::string list = "ImageSets/Context/" + options_.split + ".txt";
  const auto ids = read_split(root / list);
  const auto line_of = [&](std::size_t i) { return list + ":" + std::to_string(ids[i].second); };
  const FileNames images = list_folder(root / "JPEGImages");
  if (images.empty()) missing((root / "JPEGImages").string(), "image", "the images", "no file");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Frame& frame = frames_.emplace_back();
    frame.id = ids[i].first;
    const fs::path image = root / "JPEGImages" / (frame.id + ".jpg");
    if (images.count(frame.id + ".jpg") != 0) {
      frame.image = image.string();
    } else if (!images.empty()) {
      missing(image.string(), "image", "the image of " + line_of(i));
    }
  }
  for (const Source& source : sources()) {
    if (!wants(source.task)) continue;
    const std::string field(task_spec(source.task).name);
    std::vector<FileNames> listing;
    for (const std::string& folder : source.folders) listing.push_back(list_folder(root / folder));
    if (std::all_of(listing.begin(), listing.end(), [](const FileNames& n) { return n.empty(); })) {
      missing((root / source.folders.back()).string(), field, "its labels, ID" + std::string(source.ending), "no file");
      continue;
    }
    for (std::size_t i = 0; i < frames_.size(); ++i) {
      const std::string name = frames_[i].id + source.ending;
      std::string& path = frames_[i].labels[static_cast<std::size_t>(source.task)];
      for (std::size_t f = 0; f < listing.size() && path.empty(); ++f) {
        if (listing[f].count(name) != 0) path = (root / source.folders[f] / name).string();
      }
      if (path.empty()) missing((root / source.folders.back() / name).string(), field, "the label of " + line_of(i));
    }
  }
  if (!wants(TaskId::kNormals)) return;
  const FileNames maps = list_folder(root / "pascal-context" / "trainval");
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    if (maps.count(frames_[i].id + ".mat") != 0) continue;
    frames_[i].labels[static_cast<std::size_t>(TaskId::kNormals)].clear();
    if (wants(TaskId::kEdge)) continue;  // already said
    missing(label_map_path(frames_[i]), "normals", "the LabelMap of " + line_of(i) + ": it says where normals count");
  }
}

void PascalContext::keep_persons() {
  const fs::path cache = options_.root / "ImageSets" / "Parts" / (options_.split + ".txt");
  std::vector<char> keep(frames_.size(), 0);
  if (fs::is_regular_file(cache)) {
    try {
      const auto persons = parse_person_ids(read_text_file(cache, kMaxCacheBytes), cache.string());
      for (std::size_t i = 0; i < frames_.size(); ++i) {
        keep[i] = std::binary_search(persons.begin(), persons.end(), frames_[i].id) ? 1 : 0;
      }
    } catch (const Error& e) {
      problems_.add(e.parts());
      return;
    }
  } else {
    check_all(
        frames_.size(),
        [&](std::size_t i, Problems& found) {
          try {
            keep[i] = has_person(frames_[i].label(TaskId::kHumanParts)) ? 1 : 0;
          } catch (const Error& e) {
            found.add(e.parts());
          }
        },
        problems_);
  }
  std::size_t i = 0;
  std::erase_if(frames_, [&](const Frame&) { return keep[i++] == 0; });
  if (frames_.empty()) missing(options_.root.string(), "human_parts", "an image with a person", "none");
}

std::string PascalContext::label_map_path(const Frame& frame) const {
  return (options_.root / "pascal-context" / "trainval" / (frame.id + ".mat")).string();
}

/// nullopt when there is none to be read, which is said about the image itself.
std::optional<ImageSize> PascalContext::image_size(const Frame& frame) {
  if (frame.image.empty()) return std::nullopt;
  try {
    return read_image_size(frame.image);
  } catch (const Error&) {
    return std::nullopt;
  }
}

ImageF32 PascalContext::edges(const Image<std::int32_t>& label_map) const {
  return options_.scoring ? outline_edges(label_map) : laplacian_edges(label_map);
}

ImageF32 PascalContext::normals(const Frame& frame, const Image<std::int32_t>& label_map) const {
  const std::string& path = frame.label(TaskId::kNormals);
  ImageF32 map = normals_of_bytes(read_numbers(path, 3, "normals"), path, "normals");
  if (map.height != label_map.height || map.width != label_map.width) {
    throw Error{{.where = path,
                 .field = "size",
                 .wanted = "its LabelMap's " + std::to_string(label_map.width) + "x" + std::to_string(label_map.height),
                 .found = std::to_string(map.width) + "x" + std::to_string(map.height)}};
  }
  for (std::size_t i = 0; i < label_map.data.size(); ++i) {
    if (!pascal_normals_valid(label_map.data[i])) std::fill_n(&map.data[3 * i], 3, 0.0F);
  }
  return map;
}

ImageF32 PascalContext::read_label(const Frame& frame, TaskId task) const {
  const std::string& path = frame.label(task);
  switch (task) {
    case TaskId::kSemseg:
      return class_map(read_numbers(path, 1, "semseg"), kVocClasses, path, "semseg");
    case TaskId::kSal: {
      ImageF32 map = binary_map(read_numbers(path, 1, "sal"), 255.0F, path, "sal");
      // It comes from a network, at a size of its own.
      const std::optional<ImageSize> size = image_size(frame);
      return size ? resized_nearest(map, size->height, size->width) : map;
    }
    case TaskId::kEdge:
      return edges(read_label_map(path));
    case TaskId::kNormals:
      return normals(frame, read_label_map(label_map_path(frame)));
    default: {
      const ImageSize size = image_size(frame).value_or(ImageSize{});
      std::optional<ImageF32> parts = paint_human_parts(path, size.height, size.width);
      const bool any = parts && std::any_of(parts->data.begin(), parts->data.end(), [](float v) { return v != 0; });
      return any ? std::move(*parts) : ImageF32(size.height, size.width, 1, kIgnore);
    }
  }
}

void PascalContext::read_labels(const Frame& frame, Sample& sample) const {
  Image<std::int32_t> label_map;  // read once for edges and normals
  if (wants(TaskId::kEdge) || wants(TaskId::kNormals)) label_map = read_label_map(label_map_path(frame));
  for (const TaskId t : info_.tasks) {
    ImageF32 label = t == TaskId::kEdge      ? edges(label_map)
                     : t == TaskId::kNormals ? normals(frame, label_map)
                                             : read_label(frame, t);
    sample.label(t) = fitted(frame, t, std::move(label), sample.image);
  }
}

}  // namespace m3vit
