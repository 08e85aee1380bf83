#pragma once
/// `folder`: the user's own data (docs/formats.md). The constructor checks everything (yaml, splits, sizes, bit depths,
/// label ranges by sampling headers and, when `deep`, every pixel) and throws one Error that lists all problems.
#include <filesystem>

#include "data/dataset.h"

namespace m3vit {

class Folder final : public Dataset {
 public:
  Folder(std::filesystem::path root, const std::string& split, std::int64_t frames, bool deep = false);
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(ids_.size()); }
  Sample get(std::int64_t index) const override;

 private:
  std::filesystem::path root_;
  DatasetInfo info_;
  double depth_scale_ = 0.001;
  std::vector<std::string> ids_;
};

/// Writes frames of any data set in this format under ROOT (created; must be empty or absent), depth as 16-bit
/// millimetres, normals as 16-bit RGB. A frame in train.txt or test.txt by `split`.
class FolderWriter {
 public:
  FolderWriter(std::filesystem::path root, const DatasetInfo& info);
  void add(const Sample& sample, Split split);
  void finish();  ///< writes dataset.yaml and splits last, so that an interrupted folder is recognisably incomplete

 private:
  std::filesystem::path root_;
  DatasetInfo info_;
  std::vector<std::string> train_, test_;
};

}  // namespace m3vit
