#pragma once
#include <filesystem>
#include <string>
#include <unordered_set>

namespace m3vit {

using FileNames = std::unordered_set<std::string>;

/// Names of the files of a folder; empty when there is none. One listing instead of a look-up per file: 100k images
/// must start in seconds on a network disk too.
FileNames list_folder(const std::filesystem::path& folder);

}  // namespace m3vit
