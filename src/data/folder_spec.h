#pragma once
/// The text files of a `folder` data set: dataset.yaml and splits/NAME.txt. Both are untrusted.
#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/problems.h"

namespace m3vit {

inline constexpr std::size_t kMaxClasses = 255;  ///< indices 0 … 254; 255 is "unlabelled"

/// PASCAL's six parts and the background: the only human_parts classes.
inline constexpr std::array<std::string_view, 7> kHumanParts{"background", "head",       "torso",     "upper_arms",
                                                             "lower_arms", "upper_legs", "lower_legs"};

struct FolderSpec {
  DatasetInfo info;
  double depth_scale = 0.001;  ///< stored value × depth_scale = metres
};

/// Strict: unknown keys, wrong types and impossible values go to `problems` with file:line:column.
FolderSpec parse_folder_spec(std::string_view yaml, const std::string& where, Problems& problems);
std::string folder_spec_yaml(const FolderSpec& spec);

struct SplitEntry {
  std::string id;
  int line = 0;
};

/// One ID a line; blank lines are skipped. Bad and repeated IDs go to `problems` and are left out.
std::vector<SplitEntry> parse_split(std::string_view text, const std::string& where, Problems& problems);

/// IDs become file names and stand in reports, so: not empty, at most 200 bytes of UTF-8, no separators, control
/// characters, leading dot or "..".
bool is_safe_id(std::string_view id);

/// A small text file; throws Error when it is missing or larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace m3vit
