#pragma once
/// Asynchronous reads of whole sections, in the order they are started. Used by one thread.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/read_file.h"

namespace m3vit {

class SectionReader {
 public:
  struct Request {
    std::uint64_t offset = 0;  ///< in the file, a multiple of ReadFile::kBlock
    std::size_t bytes = 0;
    std::byte* to = nullptr;  ///< aligned to ReadFile::kBlock, with room for ReadFile::round(bytes)
  };
  SectionReader() = default;
  virtual ~SectionReader() = default;
  SectionReader(const SectionReader&) = delete;
  SectionReader& operator=(const SectionReader&) = delete;

  /// `ticket` is below the number given at construction and not in flight. Allocates nothing.
  virtual void start(std::size_t ticket, const Request& request) = 0;
  /// Once for every start, in any order. `to` may be reused afterwards.
  virtual ReadResult wait(std::size_t ticket) = 0;
  virtual std::string_view name() const = 0;
};

/// Makes a reader for `tickets` reads in flight. Tests put faulty ones in its place.
using SectionReaderFactory = std::function<std::unique_ptr<SectionReader>(const ReadFile& file, std::size_t tickets)>;

/// A thread that reads with pread.
std::unique_ptr<SectionReader> make_pread_reader(const ReadFile& file, std::size_t tickets);
/// io_uring. nullptr where this build or the system lacks it; `why` then says so.
std::unique_ptr<SectionReader> make_uring_reader(const ReadFile& file, std::size_t tickets, std::string& why);

}  // namespace m3vit
