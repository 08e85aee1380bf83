#pragma once
/// Sections that stay in memory, checked against their checksums. Immutable: sessions and threads share it.
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "runtime/m3v.h"
#include "runtime/read_file.h"

namespace m3vit {

class ResidentWeights {
 public:
  /// All sections where the file's bytes are already: in memory, or mapped. `file` must outlive the result.
  static ResidentWeights in_place(const M3vFile& file);
  /// Reads those with a nonzero flag into memory of its own. The file must have a source().
  static ResidentWeights read(const M3vFile& file, const std::vector<char>& wanted, bool past_page_cache);

  /// nullptr when it is not here.
  const std::byte* at(std::size_t section) const { return sections_[section]; }
  std::size_t bytes() const { return bytes_; }
  bool in_place() const { return memory_ == nullptr; }

 private:
  struct Delete {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{ReadFile::kBlock}); }
  };
  std::vector<const std::byte*> sections_;
  std::unique_ptr<std::byte[], Delete> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace m3vit
