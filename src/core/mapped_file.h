#pragma once
/// A file mapped read-only. Throws Error when it cannot be opened or is not a regular file.
#include <cstddef>
#include <filesystem>
#include <span>

namespace m3vit {

class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  /// Open for reading as long as this lives.
  int descriptor() const { return descriptor_; }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  int descriptor_ = -1;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace m3vit
