#include "runtime/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace m3vit {

ReadFile::ReadFile(int descriptor) : descriptor_(descriptor) {
  // The same file, whatever its name is by now (proc(5)). File systems without O_DIRECT refuse it here or at the first
  // read.
  const std::string name = "/proc/self/fd/" + std::to_string(descriptor);
  direct_descriptor_ = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  direct_ = direct_descriptor_ >= 0;
}

ReadFile::~ReadFile() {
  if (direct_descriptor_ >= 0) ::close(direct_descriptor_);
}

ReadResult ReadFile::read_cached(std::uint64_t offset, std::byte* to, std::size_t bytes) const {
  return loop(offset, to, bytes, false);
}

ReadResult ReadFile::read(std::uint64_t offset, std::byte* to, std::size_t bytes) const {
  return loop(offset, to, bytes, direct());
}

ReadResult ReadFile::loop(std::uint64_t offset, std::byte* to, std::size_t bytes, bool direct) const {
  constexpr std::size_t kMost = std::size_t{1} << 30U;  // a call moves less than 2 GiB (read(2))
  std::size_t done = 0;
  while (done < bytes) {
    const std::size_t wanted = std::min(direct ? round(bytes - done) : bytes - done, kMost);
    const ::ssize_t n =
        ::pread(direct ? direct_descriptor_ : descriptor_, to + done, wanted, static_cast<::off_t>(offset + done));
    if (n == 0) break;
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (errno == EINTR) continue;
    if (!direct || errno != EINVAL) return {std::min(done, bytes), errno};
    direct = false;  // also at an odd end of the file, which a direct read stops at
    if (done == 0) direct_ = false;
  }
  return {std::min(done, bytes), 0};
}

std::uint64_t ReadFile::size() const {
  struct stat info {};
  return ::fstat(descriptor_, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

}  // namespace m3vit
