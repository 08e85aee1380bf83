#include "data/folder.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/error.h"
#include "core/image_io.h"
#include "data/file_names.h"
#include "data/folder_labels.h"
#include "data/folder_spec.h"
#include "data/problems.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxSpecBytes = std::size_t{1} << 20U;
constexpr std::size_t kMaxSplitBytes = std::size_t{1} << 28U;
constexpr std::array<const char*, 3> kImageSuffixes{".jpg", ".jpeg", ".png"};

std::string annotator_stem(const std::string& id, int annotator) { return id + "_" + std::to_string(annotator); }

LabelRules label_rules(const DatasetInfo& info, double depth_scale) {
  LabelRules rules{.classes = {}, .depth_scale = depth_scale};
  for (std::size_t t = 0; t < kNumTaskIds; ++t) rules.classes[t] = static_cast<int>(info.classes[t].size());
  return rules;
}

}  // namespace

/// The constructor's work: find each frame's files, then look into them.
class Folder::Scan {
 public:
  Scan(Folder& folder, std::string split) : folder_(folder), split_(std::move(split)) {}

  void read_texts(std::int64_t limit) {
    const fs::path spec_path = folder_.root_ / "dataset.yaml";
    std::error_code ec;
    if (!fs::is_directory(folder_.root_, ec)) {
      throw Error{{.where = folder_.root_.string(), .wanted = "a directory", .found = "none"}};
    }
    guarded([&] {
      const FolderSpec spec =
          parse_folder_spec(read_text_file(spec_path, kMaxSpecBytes), spec_path.string(), problems_);
      folder_.info_ = spec.info;
      folder_.depth_scale_ = spec.depth_scale;
    });
    if (folder_.info_.name.empty())
      folder_.info_.name = fs::absolute(folder_.root_).lexically_normal().filename().string();
    if (!is_safe_id(split_)) {
      problems_.add({.where = folder_.root_.string(), .field = "split", .wanted = "a file name", .found = split_});
      return;
    }
    const fs::path split_path = folder_.root_ / "splits" / (split_ + ".txt");
    guarded([&] {
      const std::size_t before = problems_.count();
      entries_ = parse_split(read_text_file(split_path, kMaxSplitBytes), split_path.string(), problems_);
      if (entries_.empty() && problems_.count() == before) {
        problems_.add({.where = split_path.string(), .wanted = "at least one ID", .found = "none"});
      }
    });
    if (limit > 0 && entries_.size() > static_cast<std::size_t>(limit)) {
      entries_.resize(static_cast<std::size_t>(limit));
    }
  }

  void find_files() {
    const FileNames images = list_folder(folder_.root_ / "images");
    if (images.empty()) {
      problems_.add({.where = (folder_.root_ / "images").string(), .wanted = "the images", .found = "no file"});
      return;
    }
    std::array<FileNames, kNumTaskIds> labels;
    for (const TaskId t : folder_.info_.tasks) {
      labels[static_cast<std::size_t>(t)] = list_folder(folder_.root_ / task_spec(t).name);
    }
    for (const SplitEntry& entry : entries_) find_frame(entry, images, labels);
    if (folder_.frames_.empty()) return;
    for (const TaskId t : folder_.info_.tasks) {
      const auto has = [t](const Frame& f) { return f.labelled[static_cast<std::size_t>(t)]; };
      if (std::none_of(folder_.frames_.begin(), folder_.frames_.end(), has)) {
        problems_.add({.where = (folder_.root_ / task_spec(t).name).string(),
                       .wanted = "a label for at least one image of split '" + split_ + "'",
                       .found = "none",
                       .hint = "or take " + std::string(task_spec(t).name) + " out of `tasks` in dataset.yaml"});
      }
    }
  }

  /// Opens every file; the problems come out in the order of the split whatever the timing.
  void look_into_files(bool deep) {
    check_all(
        folder_.frames_.size(), [&](std::size_t i, Problems& found) { look_into(folder_.frames_[i], deep, found); },
        problems_, deep ? split_ : "");
  }

  const Problems& problems() const { return problems_; }

 private:
  template <class Do>
  void guarded(Do&& action) {
    try {
      action();
    } catch (const Error& e) {
      problems_.add(e.parts());
    }
  }

  void find_frame(const SplitEntry& entry, const FileNames& images, const std::array<FileNames, kNumTaskIds>& labels) {
    const std::string split_line = "splits/" + split_ + ".txt:" + std::to_string(entry.line);
    const auto has_image = [&](const std::string& id) {
      return std::any_of(kImageSuffixes.begin(), kImageSuffixes.end(),
                         [&](const char* suffix) { return images.count(id + suffix) != 0; });
    };
    Frame frame;
    frame.id = entry.id;
    for (const char* suffix : kImageSuffixes) {
      if (images.count(entry.id + suffix) == 0) continue;
      if (!frame.image.empty()) {
        problems_.add({.where = (folder_.root_ / "images" / frame.image).string(),
                       .wanted = "one image per ID",
                       .found = entry.id + suffix + " as well"});
      } else {
        frame.image = entry.id + suffix;
      }
    }
    if (frame.image.empty()) {
      problems_.add({.where = (folder_.root_ / "images" / entry.id).string() + "{.jpg,.jpeg,.png}",
                     .wanted = "an image for " + split_line,
                     .found = "no such file"});
      return;
    }
    for (const TaskId t : folder_.info_.tasks) {
      const FileNames& files = labels[static_cast<std::size_t>(t)];
      bool& labelled = frame.labelled[static_cast<std::size_t>(t)];
      labelled = files.count(entry.id + ".png") != 0;
      if (t != TaskId::kEdge) continue;
      // "a_1.png" is annotator 1 of image "a" only when no image is called "a_1".
      int annotators = 0;
      for (std::string stem = annotator_stem(entry.id, 1); files.count(stem + ".png") != 0 && !has_image(stem);
           stem = annotator_stem(entry.id, annotators + 1)) {
        ++annotators;
      }
      if (labelled && annotators > 0) {
        problems_.add({.where = (folder_.root_ / "edge" / (entry.id + ".png")).string(),
                       .wanted = "either this file or one per annotator",
                       .found = entry.id + "_1.png as well"});
      } else if (annotators > 0) {
        labelled = true;
        frame.annotators = annotators;
      }
    }
    folder_.frames_.push_back(std::move(frame));
  }

  void look_into(const Frame& frame, bool deep, Problems& found) const {
    const fs::path image_path = folder_.root_ / "images" / frame.image;
    ImageSize image;
    try {
      image = read_image_size(image_path);
      if (deep) read_rgb(image_path);
    } catch (const Error& e) {
      return found.add(e.parts());
    }
    const LabelRules rules = label_rules(folder_.info_, folder_.depth_scale_);
    for (const TaskId t : folder_.info_.tasks) {
      if (!frame.labelled[static_cast<std::size_t>(t)]) continue;
      for (const std::string& file : folder_.label_files(frame, t)) {
        try {
          const auto wrong = wrong_label_format(t, read_image_size(file), image, file);
          if (wrong) {
            found.add(*wrong);
          } else if (deep) {
            int bits = 0;
            const ImageU16 stored = read_map(file, &bits);
            decode_label(t, stored, bits, rules, file);
          }
        } catch (const Error& e) {
          found.add(e.parts());
        }
      }
    }
  }

  Folder& folder_;
  std::string split_;
  std::vector<SplitEntry> entries_;
  Problems problems_;
};

Folder::Folder(std::filesystem::path root, const std::string& split, std::int64_t frames, bool deep)
    : root_(std::move(root)) {
  Scan scan(*this, split);
  scan.read_texts(frames);
  scan.find_files();
  scan.look_into_files(deep);
  scan.problems().throw_if_any(root_.string());
}

std::vector<std::string> Folder::label_files(const Frame& frame, TaskId task) const {
  const fs::path folder = root_ / task_spec(task).name;
  if (task != TaskId::kEdge || frame.annotators == 0) return {(folder / (frame.id + ".png")).string()};
  std::vector<std::string> files;
  for (int a = 1; a <= frame.annotators; ++a) {
    files.push_back((folder / (annotator_stem(frame.id, a) + ".png")).string());
  }
  return files;
}

ImageF32 Folder::read_label(const Frame& frame, TaskId task, const ImageU8& image) const {
  const LabelRules rules = label_rules(info_, depth_scale_);
  const ImageSize image_size{image.height, image.width, image.channels, 8};
  std::vector<ImageF32> maps;
  for (const std::string& file : label_files(frame, task)) {
    int bits = 0;
    const ImageU16 stored = read_map(file, &bits);
    const auto wrong = wrong_label_format(task, {stored.height, stored.width, stored.channels, bits}, image_size, file);
    if (wrong) throw Error{*wrong};
    maps.push_back(decode_label(task, stored, bits, rules, file));
  }
  if (maps.size() == 1) return std::move(maps.front());
  ImageF32 joined(image.height, image.width, static_cast<int>(maps.size()));
  for (std::size_t a = 0; a < maps.size(); ++a) {
    for (std::size_t i = 0; i < maps[a].data.size(); ++i) joined.data[i * maps.size() + a] = maps[a].data[i];
  }
  return joined;
}

Sample Folder::get(std::int64_t index) const {
  assert(index >= 0 && index < size());
  const Frame& frame = frames_[static_cast<std::size_t>(index)];
  Sample sample;
  sample.id = frame.id;
  sample.image = read_rgb(root_ / "images" / frame.image);
  for (const TaskId t : info_.tasks) {
    if (frame.labelled[static_cast<std::size_t>(t)]) sample.label(t) = read_label(frame, t, sample.image);
  }
  return sample;
}

}  // namespace m3vit
