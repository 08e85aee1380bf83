#include "cli/drive_rate.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>

#include "runtime/m3v.h"
#include "runtime/read_file.h"

namespace m3vit::cli {
namespace {

struct BlockDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{ReadFile::kBlock}); }
};

}  // namespace

double drive_rate(const std::filesystem::path& m3v) {
  const M3vFile file = M3vFile::open(m3v);
  std::size_t largest = 0;
  for (const M3vSection& s : file.sections()) largest = std::max(largest, ReadFile::round(s.bytes.size()));
  const std::unique_ptr<std::byte[], BlockDelete> buffer(
      static_cast<std::byte*>(::operator new[](largest, std::align_val_t{ReadFile::kBlock})));
  std::size_t total = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (const M3vSection& s : file.sections()) {
    const ReadResult read = file.source()->read(s.offset, buffer.get(), s.bytes.size());
    if (read.error != 0 || read.bytes != s.bytes.size()) file.fail_read(s, read.bytes, read.error);
    total += read.bytes;
  }
  return static_cast<double>(total) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace m3vit::cli
