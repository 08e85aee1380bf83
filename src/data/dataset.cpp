#include "data/dataset.h"

#include <algorithm>

#include "core/error.h"
#include "data/archives/cityscapes.h"
#include "data/archives/nyud.h"
#include "data/archives/pascal_context.h"
#include "data/folder.h"
#include "data/folder_spec.h"
#include "data/rooms.h"

namespace m3vit {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRoomsTrainFrames = 1000;
constexpr std::int64_t kRoomsTestFrames = 200;
constexpr std::uint64_t kRoomsTrainSeed = 1;
constexpr std::uint64_t kRoomsTestSeed = 1000003;

std::unique_ptr<Dataset> make_rooms(const Config& config, const SplitConfig& chosen, bool train) {
  RoomsOptions options;
  options.height = config.model.height();
  options.width = config.model.width();
  options.frames = chosen.frames > 0 ? chosen.frames : (train ? kRoomsTrainFrames : kRoomsTestFrames);
  options.seed =
      chosen.seed >= 0 ? static_cast<std::uint64_t>(chosen.seed) : (train ? kRoomsTrainSeed : kRoomsTestSeed);
  return std::make_unique<Rooms>(options);
}

std::unique_ptr<Dataset> make_archive(const std::string& name, const ArchiveOptions& options) {
  if (!is_safe_id(options.split)) {
    throw Error{{.where = options.root.string(), .field = "split", .wanted = "a name", .found = options.split}};
  }
  if (name == "nyud") return std::make_unique<Nyud>(options);
  if (name == "pascal_context") return std::make_unique<PascalContext>(options);
  if (name == "cityscapes") return std::make_unique<Cityscapes>(options);
  std::string names;
  for (const std::string_view n : kDatasetNames) names.append(names.empty() ? "" : ", ").append(n);
  throw Error{{.where = "configuration", .field = "data.dataset", .wanted = "one of " + names, .found = name}};
}

std::string list_tasks(const std::vector<TaskId>& tasks) {
  std::string text;
  for (const TaskId t : tasks) text += (text.empty() ? "" : ", ") + std::string(task_spec(t).name);
  return text.empty() ? "none" : text;
}

}  // namespace

std::string dataset_at(const std::filesystem::path& root) {
  if (fs::exists(root / "dataset.yaml")) return "folder";
  if (fs::is_directory(root / "JPEGImages")) return "pascal_context";
  for (const char* split : {"train", "val"}) {
    if (fs::is_directory(root / split / "label_7")) return "cityscapes";
  }
  return find_nyud_layout(root) ? "nyud" : "folder";
}

std::unique_ptr<Dataset> open_archive(const std::string& name, const std::filesystem::path& root,
                                      const std::string& split, std::int64_t frames, const std::vector<TaskId>& tasks,
                                      bool deep) {
  return make_archive(name, {.root = root, .split = split, .frames = frames, .tasks = tasks, .deep = deep});
}

std::unique_ptr<Dataset> make_dataset(const Config& config, Split split) {
  const bool train = split == Split::kTrain;
  const DataConfig& data = config.data;
  const SplitConfig& chosen = train ? data.train : data.test;
  if (data.dataset == "rooms") return make_rooms(config, chosen, train);
  if (data.root.empty()) {
    throw Error{{.where = "configuration",
                 .field = "data.root",
                 .wanted = "the directory of the `" + data.dataset + "` data set",
                 .found = "nothing",
                 .hint = "add --set data.root=DIR"}};
  }
  if (data.dataset == "folder") {
    const std::string name = !chosen.split.empty() ? chosen.split : (train ? "train" : "test");
    return std::make_unique<Folder>(data.root, name, chosen.frames);
  }
  ArchiveOptions options{.root = data.root, .split = chosen.split, .frames = chosen.frames, .scoring = !train};
  if (options.split.empty()) options.split = train ? "train" : "val";
  for (const TaskConfig& t : config.tasks) options.tasks.push_back(t.id());
  return make_archive(data.dataset, options);
}

void resolve_outputs(Config& config, const DatasetInfo& info, const std::string& where) {
  for (std::size_t i = 0; i < config.tasks.size(); ++i) {
    TaskConfig& task = config.tasks[i];
    const std::string field = "tasks." + std::to_string(i);
    const std::optional<TaskId> id = find_task(task.name);
    if (!id) throw Error{{.where = where, .field = field + ".name", .wanted = task_names(), .found = task.name}};
    if (std::find(info.tasks.begin(), info.tasks.end(), *id) == info.tasks.end()) {
      throw Error{{.where = where,
                   .field = field + ".name",
                   .wanted = "a task labelled in data set '" + info.name + "' (" + list_tasks(info.tasks) + ")",
                   .found = task.name}};
    }
    const TaskSpec& spec = task_spec(*id);
    const auto& classes = info.classes[static_cast<std::size_t>(*id)];
    const int right = classes.empty() ? spec.default_outputs : static_cast<int>(classes.size());
    if (task.outputs == 0) task.outputs = right;
    if (task.outputs != right) {
      throw Error{{.where = where,
                   .field = field + ".outputs",
                   .wanted = std::to_string(right) + " for " + task.name + " in data set '" + info.name +
                             "' (0 takes it from the data)",
                   .found = std::to_string(task.outputs)}};
    }
  }
}

std::vector<std::array<std::uint8_t, 3>> default_palette() {
  // PASCAL VOC devkit, VOClabelcolormap.m: bits 0, 1, 2 of the index go to R, G, B from the top bit down.
  std::vector<std::array<std::uint8_t, 3>> palette(256);
  for (unsigned index = 0; index < 256; ++index) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      for (unsigned channel = 0; channel < 3; ++channel) {
        const unsigned source = 3 * bit + channel;
        if (source < 8 && ((index >> source) & 1U) != 0) {
          palette[index][channel] = static_cast<std::uint8_t>(palette[index][channel] | (1U << (7 - bit)));
        }
      }
    }
  }
  return palette;
}

}  // namespace m3vit
