#pragma once
/// A source of frames. `get` is thread-safe and depends on nothing but the index, so any number of loader threads give
/// the same epoch.
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/sample.h"

namespace m3vit {

struct DatasetInfo {
  std::string name;
  std::vector<TaskId> tasks;                                  ///< labelled tasks
  std::array<std::vector<std::string>, kNumTaskIds> classes;  ///< semseg, human_parts: names; else empty
  std::vector<std::array<std::uint8_t, 3>> semseg_colors;     ///< may be empty: the default palette
  /// A published archive: scored at each frame's own size; human_parts without any part are unlabelled.
  bool archive = false;
  /// Normals are stored with y down, so a turn of the picture turns them the other way round.
  bool normals_y_down = false;
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual const DatasetInfo& info() const = 0;
  virtual std::int64_t size() const = 0;             ///< frames of one epoch
  virtual bool infinite() const { return false; }    ///< then `get` takes any index ≥ 0
  virtual Sample get(std::int64_t index) const = 0;  ///< native size; throws Error
};

enum class Split { kTrain, kTest };

/// By `data.dataset`. `rooms` renders at model.image_size; the published archives read only the labels of `tasks`.
/// Throws Error with every problem of a directory at once.
std::unique_ptr<Dataset> make_dataset(const Config& config, Split split);

/// The name for `data.dataset` of what lies at `root`, by its directories: `folder` where nothing else fits.
std::string dataset_at(const std::filesystem::path& root);

/// The published archive `name` (nyud, pascal_context, cityscapes) with all its tasks or those of `tasks`, by the
/// archive's own split name; `deep` decodes every file. Throws ProblemsError.
std::unique_ptr<Dataset> open_archive(const std::string& name, const std::filesystem::path& root,
                                      const std::string& split, std::int64_t frames, const std::vector<TaskId>& tasks,
                                      bool deep);

/// Fills tasks[].outputs left 0 from the data set's class lists and checks the rest against them; throws Error when a
/// task of the model has no labels in the data set.
void resolve_outputs(Config& config, const DatasetInfo& info, const std::string& where);

/// Display colours for class maps: VOC-like default palette of 256.
std::vector<std::array<std::uint8_t, 3>> default_palette();

}  // namespace m3vit
