#pragma once
/// Write-then-rename, so that a crash, a full disk or Ctrl-C never leaves half a file under the final name.
#include <filesystem>
#include <fstream>
#include <string_view>

namespace m3vit {

/// A stream to PATH.tmp-PID; `commit` flushes, checks, fsyncs and renames. Without commit the temporary is deleted.
class AtomicFile {
 public:
  /// Throws Error when the folder is missing or not writable. `durable` false leaves out the fsync: for one of many
  /// files whose owner syncs once at the end.
  explicit AtomicFile(std::filesystem::path path, bool durable = true);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  std::ostream& stream() { return out_; }
  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::ofstream out_;
  bool durable_ = true;
  bool committed_ = false;
};

void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace m3vit
