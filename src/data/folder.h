#pragma once
/// `folder`: the user's own data (docs/formats.md, docs/own-data.md).
#include <array>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace m3vit {

class Folder final : public Dataset {
 public:
  /// Reads dataset.yaml and splits/`split`.txt and looks at the header of every image and label of the split; `deep`
  /// also decodes every pixel and checks the class indices. `frames` > 0: only the first so many. Throws one Error that
  /// lists all problems (the first 50 of them, and how many more).
  Folder(std::filesystem::path root, const std::string& split, std::int64_t frames, bool deep = false);
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(frames_.size()); }
  /// Throws Error naming the file when one has gone, changed its size or holds a class index out of range.
  Sample get(std::int64_t index) const override;

 private:
  /// One ID and which files it has.
  struct Frame {
    std::string id;
    std::string image;  ///< file name under images/
    std::array<bool, kNumTaskIds> labelled{};
    int annotators = 0;  ///< of edge: 0 for the single file ID.png, n for ID_1.png … ID_n.png
  };
  class Scan;
  std::vector<std::string> label_files(const Frame& frame, TaskId task) const;
  ImageF32 read_label(const Frame& frame, TaskId task, const ImageU8& image) const;

  std::filesystem::path root_;
  DatasetInfo info_;
  double depth_scale_ = 0.001;
  std::vector<Frame> frames_;
};

/// Writes frames of any data set in this format under ROOT (created; must be empty or absent), depth as 16-bit
/// millimetres, normals as 16-bit RGB. A frame in train.txt or test.txt by `split`. Not thread-safe.
class FolderWriter {
 public:
  FolderWriter(std::filesystem::path root, const DatasetInfo& info);
  /// Throws Error for an ID that is no file name or came before, an image or label of the wrong size, and values that
  /// the format cannot hold (depth above 65.535 m, unknown pixels in edge or sal).
  void add(const Sample& sample, Split split);
  void finish();  ///< writes splits, then dataset.yaml: an interrupted folder has none and is recognisably incomplete

 private:
  std::filesystem::path root_;
  DatasetInfo info_;
  std::vector<std::string> train_, test_;
  std::set<std::string> ids_;
};

}  // namespace m3vit
