#pragma once
/// MTAN's archives: SPLIT/KIND/INDEX.npy, INDEX = 0 … n−1.
#include <filesystem>
#include <string>
#include <vector>

#include "data/problems.h"

namespace m3vit {

/// Paths of ROOT/SPLIT/FOLDER/0.npy … by folder, all of one length: up to the highest index that any folder has.
/// What is missing is "" and goes to `problems` under `fields`; so do files with other names.
std::vector<std::vector<std::string>> numbered_files(const std::filesystem::path& split,
                                                     const std::vector<std::string>& folders,
                                                     const std::vector<std::string>& fields, Problems& problems);

}  // namespace m3vit
