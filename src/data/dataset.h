#pragma once
/// A source of frames. `get` is thread-safe and depends on nothing but the index, so any number of loader threads give
/// the same epoch.
#include <array>
#include <cstdint>
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

/// By `data.dataset`. `rooms` renders at model.image_size. Throws Error with every problem of a folder at once.
std::unique_ptr<Dataset> make_dataset(const Config& config, Split split);

/// Fills tasks[].outputs left 0 from the data set's class lists and checks the rest against them; throws Error when a
/// task of the model has no labels in the data set.
void resolve_outputs(Config& config, const DatasetInfo& info, const std::string& where);

/// Display colours for class maps: VOC-like default palette of 256.
std::vector<std::array<std::uint8_t, 3>> default_palette();

}  // namespace m3vit
