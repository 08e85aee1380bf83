#include "data/archives/archive.h"

#include <algorithm>
#include <cassert>
#include <set>
#include <utility>

#include "core/image_io.h"
#include "data/folder_spec.h"

namespace m3vit {
namespace {

constexpr std::size_t kMaxListBytes = std::size_t{1} << 24U;

std::string size_text(int height, int width) { return std::to_string(width) + "x" + std::to_string(height); }

}  // namespace

Sample Archive::get(std::int64_t index) const {
  assert(index >= 0 && index < size());
  const Frame& frame = frames_[static_cast<std::size_t>(index)];
  Sample sample;
  sample.id = frame.id;
  sample.image = read_image(frame);
  read_labels(frame, sample);
  return sample;
}

ImageU8 Archive::read_image(const Frame& frame) const {
  try {
    return read_rgb(frame.image);
  } catch (const Error& e) {
    Error::Parts parts = e.parts();
    if (parts.field.empty()) parts.field = "image";
    throw Error{parts};
  }
}

void Archive::read_labels(const Frame& frame, Sample& sample) const {
  for (const TaskId t : info_.tasks) {
    if (!frame.label(t).empty()) sample.label(t) = fitted(frame, t, read_label(frame, t), sample.image);
  }
}

ImageF32 Archive::fitted(const Frame& frame, TaskId task, ImageF32 label, const ImageU8& image) const {
  if (label.height != image.height || label.width != image.width) {
    throw Error{{.where = frame.label(task),
                 .field = "size",
                 .wanted = "its image's " + size_text(image.height, image.width),
                 .found = size_text(label.height, label.width)}};
  }
  return label;
}

bool Archive::wants(TaskId task) const {
  return std::find(info_.tasks.begin(), info_.tasks.end(), task) != info_.tasks.end();
}

void Archive::offer(const std::vector<TaskId>& offered) {
  for (const TaskId t : offered) {
    const auto& wanted = options_.tasks;
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), t) != wanted.end()) info_.tasks.push_back(t);
  }
}

void Archive::missing(const std::string& where, const std::string& field, const std::string& wanted,
                      const std::string& found) {
  problems_.add({.where = where, .field = field, .wanted = wanted, .found = found});
}

std::vector<std::pair<std::string, int>> Archive::read_split(const std::filesystem::path& list) {
  std::vector<std::pair<std::string, int>> ids;
  try {
    const std::size_t before = problems_.count();
    for (SplitEntry& entry : parse_split(read_text_file(list, kMaxListBytes), list.string(), problems_)) {
      ids.emplace_back(std::move(entry.id), entry.line);
    }
    if (ids.empty() && problems_.count() == before) missing(list.string(), "split", "at least one ID", "none");
  } catch (const Error& e) {
    missing(list.string(), "split", e.parts().wanted, e.parts().found);
  }
  const std::int64_t limit = options_.frames;
  if (limit > 0 && ids.size() > static_cast<std::size_t>(limit)) ids.resize(static_cast<std::size_t>(limit));
  return ids;
}

void Archive::settle() {
  if (options_.deep) {
    check_all(
        frames_.size(), [this](std::size_t i, Problems& found) { decode_all(frames_[i], found); }, problems_,
        options_.split);
  }
  problems_.throw_if_any(options_.root.string(),
                         "an archive of `" + info_.name + "` without mistakes (docs/datasets.md)");
}

void Archive::decode_all(const Frame& frame, Problems& found) const {
  std::set<std::pair<std::string, std::string>> told;  // two tasks may read one file
  const auto guarded = [&](const auto& action) {
    try {
      action();
    } catch (const Error& e) {
      if (told.emplace(e.parts().where, e.parts().field).second) found.add(e.parts());
    }
  };
  ImageU8 image;
  if (!frame.image.empty()) guarded([&] { image = read_image(frame); });
  for (const TaskId t : info_.tasks) {
    if (frame.label(t).empty()) continue;
    guarded([&] {
      ImageF32 label = read_label(frame, t);
      if (!image.empty()) fitted(frame, t, std::move(label), image);
    });
  }
}

}  // namespace m3vit
