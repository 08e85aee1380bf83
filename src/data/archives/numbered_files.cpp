#include "data/archives/numbered_files.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "data/file_names.h"

namespace m3vit {
namespace {

constexpr std::size_t kMaxFrames = 1'000'000;

/// 12 of "12.npy"; the spelling of `"{:d}.npy".format(12)` only.
std::optional<std::size_t> index_of(const std::string& name) {
  const std::size_t dot = name.find('.');
  if (dot == 0 || dot == std::string::npos || name.substr(dot) != ".npy" || (dot > 1 && name.front() == '0')) {
    return std::nullopt;
  }
  std::size_t index = 0;
  const auto end = std::from_chars(name.data(), name.data() + dot, index);
  if (end.ec != std::errc() || end.ptr != name.data() + dot || index >= kMaxFrames) return std::nullopt;
  return index;
}

}  // namespace

std::vector<std::vector<std::string>> numbered_files(const std::filesystem::path& split,
                                                     const std::vector<std::string>& folders,
                                                     const std::vector<std::string>& fields, Problems& problems) {
  std::size_t count = 0;
  std::vector<std::vector<std::size_t>> present;
  for (std::size_t f = 0; f < folders.size(); ++f) {
    std::vector<std::size_t>& indices = present.emplace_back();
    std::vector<std::string> strange;
    for (const std::string& name : list_folder(split / folders[f])) {
      if (const auto index = index_of(name)) {
        indices.push_back(*index);
      } else {
        strange.push_back(name);
      }
    }
    std::sort(strange.begin(), strange.end());
    for (const std::string& name : strange) {
      problems.add({.where = (split / folders[f] / name).string(),
                    .field = fields[f],
                    .wanted = "files called INDEX.npy only",
                    .found = "'" + name + "'"});
    }
    if (indices.empty()) {
      problems.add(
          {.where = (split / folders[f]).string(), .field = fields[f], .wanted = "0.npy, 1.npy …", .found = "none"});
    } else {
      count = std::max(count, *std::max_element(indices.begin(), indices.end()) + 1);
    }
  }
  std::vector<std::vector<std::string>> paths(folders.size(), std::vector<std::string>(count));
  for (std::size_t f = 0; f < folders.size(); ++f) {
    for (const std::size_t index : present[f]) {
      paths[f][index] = (split / folders[f] / (std::to_string(index) + ".npy")).string();
    }
    if (present[f].empty()) continue;  // said once
    for (std::size_t index = 0; index < count; ++index) {
      if (paths[f][index].empty()) {
        problems.add({.where = (split / folders[f] / (std::to_string(index) + ".npy")).string(),
                      .field = fields[f],
                      .wanted = "one for each index below " + std::to_string(count),
                      .found = "no such file"});
      }
    }
  }
  return paths;
}

}  // namespace m3vit
