#include "data/file_names.h"

namespace m3vit {

FileNames list_folder(const std::filesystem::path& folder) {
  FileNames names;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    names.insert(it->path().filename().string());
  }
  return names;
}

}  // namespace m3vit
