#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/image_io.h"
#include "data/folder.h"
#include "data/folder_labels.h"
#include "data/folder_spec.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

constexpr double kMillimetre = 0.001;

void make_folder(const fs::path& path) {
  std::error_code ec;
  fs::create_directories(path, ec);
  if (!ec && fs::is_directory(path, ec)) return;
  throw Error{{.where = path.string(), .wanted = "a folder to write to", .found = ec ? ec.message() : "a file"}};
}

/// Channel `c` of an edge map.
ImageF32 one_annotator(const ImageF32& map, int c) {
  ImageF32 out(map.height, map.width, 1);
  for (std::size_t i = 0; i < out.data.size(); ++i) {
    out.data[i] = map.data[i * static_cast<std::size_t>(map.channels) + static_cast<std::size_t>(c)];
  }
  return out;
}

void write_label(const fs::path& path, TaskId task, const ImageF32& label) {
  const ImageU16 stored = encode_label(task, label, {.classes = {}, .depth_scale = kMillimetre}, path.string());
  if (encoded_bits(task) == 16) return write_png(path, stored, /*durable=*/false);
  ImageU8 narrow(stored.height, stored.width, stored.channels);
  std::transform(stored.data.begin(), stored.data.end(), narrow.data.begin(),
                 [](std::uint16_t v) { return static_cast<std::uint8_t>(v); });
  write_png(path, narrow, /*durable=*/false);
}

/// All frames reach the disk at once: an fsync for each of their files would take most of the time of writing them.
void sync_file_system(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::syncfs(fd);
  ::close(fd);
}

void write_split(const fs::path& path, const std::vector<std::string>& ids) {
  if (ids.empty()) return;
  std::string text;
  for (const std::string& id : ids) text += id + "\n";
  write_text_file(path, text);
}

}  // namespace

FolderWriter::FolderWriter(std::filesystem::path root, const DatasetInfo& info) : root_(std::move(root)), info_(info) {
  make_folder(root_);
  if (fs::directory_iterator(root_) != fs::directory_iterator()) {
    throw Error{{.where = root_.string(), .wanted = "an empty folder, or none", .found = "files in it"}};
  }
  make_folder(root_ / "images");
  make_folder(root_ / "splits");
  for (const TaskId t : info_.tasks) make_folder(root_ / task_spec(t).name);
}

void FolderWriter::add(const Sample& sample, Split split) {
  if (!is_safe_id(sample.id) || !ids_.insert(sample.id).second) {
    throw Error{{.where = root_.string(),
                 .field = "frame ID",
                 .wanted = "a file name that did not come before",
                 .found = "'" + sample.id + "'"}};
  }
  for (const TaskId t : info_.tasks) {
    const ImageF32& label = sample.label(t);
    if (label.empty()) continue;
    const fs::path folder = root_ / task_spec(t).name;
    if (label.height != sample.image.height || label.width != sample.image.width ||
        (t != TaskId::kEdge && label.channels != task_spec(t).label_channels)) {
      throw Error{{.where = (folder / (sample.id + ".png")).string(),
                   .wanted = "a label of its image's size and its task's channels",
                   .found = std::to_string(label.width) + "x" + std::to_string(label.height) + "x" +
                            std::to_string(label.channels)}};
    }
    if (t == TaskId::kEdge && label.channels > 1) {
      for (int a = 0; a < label.channels; ++a) {
        write_label(folder / (sample.id + "_" + std::to_string(a + 1) + ".png"), t, one_annotator(label, a));
      }
    } else {
      write_label(folder / (sample.id + ".png"), t, label);
    }
  }
  write_png(root_ / "images" / (sample.id + ".png"), sample.image, /*durable=*/false);
  (split == Split::kTrain ? train_ : test_).push_back(sample.id);
}

void FolderWriter::finish() {
  sync_file_system(root_);
  write_split(root_ / "splits" / "train.txt", train_);
  write_split(root_ / "splits" / "test.txt", test_);
  write_text_file(root_ / "dataset.yaml", folder_spec_yaml({.info = info_, .depth_scale = kMillimetre}));
}

}  // namespace m3vit
