#pragma once
/// What the published data sets have in common: frames with one file a task, found by listing folders, decoded when
/// asked for. A data set says which files and how to read them.
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/problems.h"

namespace m3vit {

struct ArchiveOptions {
  std::filesystem::path root;
  std::string split;            ///< the archive's own name: "train", "val" …
  std::int64_t frames = 0;      ///< > 0: only the first so many
  std::vector<TaskId> tasks{};  ///< wanted labels; empty: all that the archive has
  bool scoring = false;         ///< labels as published evaluations take them, where they differ from training's
  bool deep = false;            ///< also decode every file
};

class Archive : public Dataset {
 public:
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(frames_.size()); }
  /// Throws Error naming file and field.
  Sample get(std::int64_t index) const override;

 protected:
  struct Frame {
    std::string id;
    std::string image;                              ///< path
    std::array<std::string, kNumTaskIds> labels{};  ///< paths; empty: not wanted, or missing and reported
    const std::string& label(TaskId t) const { return labels[static_cast<std::size_t>(t)]; }
  };

  explicit Archive(const ArchiveOptions& options) : options_(options) {}

  virtual ImageU8 read_image(const Frame& frame) const;
  /// In the terms of data/sample.h, at the size that the file has.
  virtual ImageF32 read_label(const Frame& frame, TaskId task) const = 0;
  /// Fills sample.labels; the default reads and fits one after the other.
  virtual void read_labels(const Frame& frame, Sample& sample) const;
  /// The label at its image's size, or an Error about the file.
  ImageF32 fitted(const Frame& frame, TaskId task, ImageF32 label, const ImageU8& image) const;

  bool wants(TaskId task) const;
  /// Sets info_.tasks to the wanted ones of `offered`; a wanted one that is not offered is left to resolve_outputs.
  void offer(const std::vector<TaskId>& offered);
  void missing(const std::string& where, const std::string& field, const std::string& wanted,
               const std::string& found = "no such file");
  /// IDs of a list file with the lines they stand in, at most options_.frames of them; problems go to problems_.
  std::vector<std::pair<std::string, int>> read_split(const std::filesystem::path& list);
  /// The end of a constructor: decodes everything when asked to, and throws one ProblemsError with all problems.
  void settle();

  ArchiveOptions options_;
  DatasetInfo info_;
  std::vector<Frame> frames_;
  Problems problems_;  ///< while constructing

 private:
  void decode_all(const Frame& frame, Problems& found) const;
};

}  // namespace m3vit
