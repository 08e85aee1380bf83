/// Any directory is a `folder` data set whose frames keep the contract of data/sample.h, or an Error.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/image_io.h"
#include "data/folder.h"
#include "data/folder_spec.h"

namespace {

using namespace m3vit;
namespace fs = std::filesystem;

void require(bool holds) {
  if (!holds) std::abort();
}

/// ROOT with two right 3×4 images; all label files are links to one file, whose content is part of the input.
class Directory {
 public:
  Directory() : root_(fs::temp_directory_path() / ("m3vit-folder-fuzz-" + std::to_string(::getpid()))) {
    for (const char* folder : {"images", "splits"}) fs::create_directories(root_ / folder);
    for (const char* image : {"a.png", "b.png"}) write_png(root_ / "images" / image, ImageU8(3, 4, 3, 7));
    std::ofstream(root_ / "label").close();
    for (const TaskSpec& t : kTasks) {
      fs::create_directories(root_ / t.name);
      const bool annotators = t.id == TaskId::kEdge;
      fs::create_hard_link(root_ / "label", root_ / t.name / (annotators ? "a_1.png" : "a.png"));
      if (annotators) fs::create_hard_link(root_ / "label", root_ / t.name / "a_2.png");
    }
  }
  ~Directory() {
    std::error_code ec;
    fs::remove_all(root_, ec);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const fs::path& root() const { return root_; }
  void write(const char* name, std::string_view content) const {
    std::ofstream(root_ / name, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
  }

 private:
  fs::path root_;
};

void check_sample(const Sample& s, const DatasetInfo& info) {
  for (const TaskSpec& t : kTasks) {
    const ImageF32& map = s.label(t.id);
    if (map.empty()) continue;
    require(map.height == s.image.height && map.width == s.image.width);
    require(std::find(info.tasks.begin(), info.tasks.end(), t.id) != info.tasks.end());
    const auto classes = static_cast<float>(info.classes[static_cast<std::size_t>(t.id)].size());
    for (const float v : map.data) {
      require(std::isfinite(v));
      if (t.label == LabelKind::kClassIndex) require(v == kIgnore || (v >= 0 && v < classes));
      if (t.label == LabelKind::kBinary) require(v == 0 || v == 1);
      if (t.label == LabelKind::kDepth) require(v >= 0);
      if (t.label == LabelKind::kNormals) require(std::abs(v) <= 1.0001F);
    }
  }
}

void check_spec(std::string_view yaml) {
  Problems problems;
  const FolderSpec spec = parse_folder_spec(yaml, "fuzz", problems);
  if (problems.count() != 0) return;
  const FolderSpec back = parse_folder_spec(folder_spec_yaml(spec), "fuzz", problems);
  problems.throw_if_any("what we wrote ourselves");
  require(back.info.name == spec.info.name && back.info.tasks == spec.info.tasks);
  for (const TaskId t : spec.info.tasks) {
    const auto i = static_cast<std::size_t>(t);
    require(back.info.classes[i] == spec.info.classes[i]);
    if (t == TaskId::kDepth) require(back.depth_scale == spec.depth_scale);
  }
}

}  // namespace

/// The input is dataset.yaml, NUL, splits/train.txt, NUL, the label file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Directory directory;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto piece = [&] {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view taken = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return taken;
  };
  const std::string_view yaml = piece();
  directory.write("dataset.yaml", yaml);
  directory.write("splits/train.txt", piece());
  directory.write("label", rest);
  check_spec(yaml);  // an Error out of here ends the fuzzer
  for (const bool deep : {false, true}) {
    try {
      const Folder folder(directory.root(), "train", 0, deep);
      for (std::int64_t i = 0; i < folder.size(); ++i) check_sample(folder.get(i), folder.info());
    } catch (const Error& e) {
      require(e.what()[0] != '\0');
    }
  }
  return 0;
}
