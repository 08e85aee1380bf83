#pragma once
/// Packed models on disk, for tests of streaming.
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "runtime/m3v.h"
#include "runtime/packed_case.h"

namespace m3vit::testing {

/// A file with the given bytes, gone at the end.
class StoredFile {
 public:
  explicit StoredFile(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {
    static std::atomic<int> count{0};
    path_ = std::filesystem::temp_directory_path() /
            ("m3vit_" + std::to_string(::getpid()) + "_" + std::to_string(count++) + ".m3v");
    restore();
  }
  ~StoredFile() { std::filesystem::remove(path_); }
  StoredFile(const StoredFile&) = delete;
  StoredFile& operator=(const StoredFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  /// Writes the bytes again, into the same inode.
  void restore() const {
    std::ofstream out(path_, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
  }
  void truncate(std::size_t bytes) const { std::filesystem::resize_file(path_, bytes); }
  void flip(std::size_t at, int bit) const {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(bytes_[at] ^ std::byte{1} << bit));
  }
  void put_back(std::size_t at) const {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(bytes_[at]));
  }

 private:
  std::vector<std::byte> bytes_;
  std::filesystem::path path_;
};

/// The message of the Error that f throws.
inline std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

inline std::vector<float> planes_of(const Config& config, std::uint64_t seed) {
  return floats(naive::random_image(config, seed));
}

/// Whether this system lets a process use io_uring.
inline bool uring_works(const Model& model, std::size_t budget) {
  return error_of([&] { model.session({.memory_budget = budget, .io = WeightIo::kUring}); }) == "no error";
}

}  // namespace m3vit::testing
