#include "core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace m3vit {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& found) {
  throw Error{{.where = path.string(), .field = {}, .wanted = "a writable file", .found = found, .hint = {}}};
}

/// Data reach the disk before the name does; the folder's entry is synced too, best effort (some file systems refuse).
bool sync_to_disk(const std::filesystem::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = ::fsync(fd) == 0;
  const int saved = errno;
  ::close(fd);
  errno = saved;
  return ok;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path, bool durable)
    : path_(std::move(path)), temporary_(path_), durable_(durable) {
  temporary_ += ".tmp-" + std::to_string(::getpid());
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder_of(path_), ignored)) {
    fail(path_, "no folder '" + folder_of(path_).string() + "'");
  }
  if (std::filesystem::is_directory(path_, ignored)) fail(path_, "a directory");
  errno = 0;
  out_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!out_) fail(path_, errno != 0 ? std::strerror(errno) : "an error at opening");
}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  out_.close();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  errno = 0;
  out_.flush();
  const bool written = out_.good();
  out_.close();
  if (!written || out_.fail()) fail(path_, errno != 0 ? std::strerror(errno) : "a write error");
  if (durable_ && !sync_to_disk(temporary_, O_WRONLY)) fail(path_, std::strerror(errno));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, std::strerror(errno));
  committed_ = true;
  if (durable_) sync_to_disk(folder_of(path_), O_RDONLY | O_DIRECTORY);
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.stream().write(text.data(), static_cast<std::streamsize>(text.size()));
  file.commit();
}

}  // namespace m3vit
