#pragma once
/// Reads of a model file past the page cache where the file system allows it. Thread-safe.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace m3vit {

struct ReadResult {
  std::size_t bytes = 0;  ///< fewer than asked without an error: the file ends there
  int error = 0;          ///< errno
};

class ReadFile {
 public:
  /// What O_DIRECT asks of offsets, sizes and addresses, at most.
  static constexpr std::size_t kBlock = 4096;
  static constexpr std::size_t round(std::size_t n) { return (n + kBlock - 1) / kBlock * kBlock; }

  /// `descriptor` is read through a second one, so that flags of either do not touch the other; it must stay open.
  explicit ReadFile(int descriptor);
  ~ReadFile();
  ReadFile(const ReadFile&) = delete;
  ReadFile& operator=(const ReadFile&) = delete;

  /// Through the page cache: for what stays in memory anyway.
  ReadResult read_cached(std::uint64_t offset, std::byte* to, std::size_t bytes) const;
  /// Past it. `offset` and `to` are multiples of kBlock, and `to` has room for round(bytes).
  ReadResult read(std::uint64_t offset, std::byte* to, std::size_t bytes) const;
  /// Whether `read` goes past the page cache.
  bool direct() const { return direct_.load(std::memory_order_relaxed); }
  /// For asynchronous reads under the rules of `read`.
  int descriptor() const { return direct() ? direct_descriptor_ : descriptor_; }
  /// Bytes now; 0 when it cannot be asked.
  std::uint64_t size() const;

 private:
  ReadResult loop(std::uint64_t offset, std::byte* to, std::size_t bytes, bool direct) const;

  int descriptor_;
  int direct_descriptor_ = -1;
  mutable std::atomic<bool> direct_{false};
};

}  // namespace m3vit
