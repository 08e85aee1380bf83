#include "runtime/resident_weights.h"

#include <cassert>
#include <string>

#include "core/error.h"
#include "runtime/memory_plan.h"

namespace m3vit {

ResidentWeights ResidentWeights::in_place(const M3vFile& file) {
  file.verify();
  ResidentWeights weights;
  weights.bytes_ = file.bytes();
  for (const M3vSection& s : file.sections()) weights.sections_.push_back(s.bytes.data());
  return weights;
}

ResidentWeights ResidentWeights::read(const M3vFile& file, const std::vector<char>& wanted, bool past_page_cache) {
  const std::vector<M3vSection>& sections = file.sections();
  assert(file.source() != nullptr && wanted.size() == sections.size());
  ResidentWeights weights;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    if (wanted[i] != 0) weights.bytes_ += resident_size(sections[i].bytes.size());
  }
  weights.memory_.reset(
      static_cast<std::byte*>(::operator new[](weights.bytes_, std::align_val_t{ReadFile::kBlock}, std::nothrow)));
  if (weights.memory_ == nullptr) {
    throw Error{{.where = file.where(),
                 .field = "weights",
                 .wanted = std::to_string(weights.bytes_) + " bytes of memory",
                 .found = "less",
                 .hint = "a memory budget makes them stream from the file"}};
  }
  std::byte* to = weights.memory_.get();
  for (std::size_t i = 0; i < sections.size(); ++i) {
    weights.sections_.push_back(wanted[i] != 0 ? to : nullptr);
    if (wanted[i] == 0) continue;
    const M3vSection& s = sections[i];
    const ReadResult result = past_page_cache ? file.source()->read(s.offset, to, s.bytes.size())
                                              : file.source()->read_cached(s.offset, to, s.bytes.size());
    if (result.error != 0 || result.bytes != s.bytes.size()) file.fail_read(s, result.bytes, result.error);
    file.check(s, {to, s.bytes.size()});
    to += resident_size(s.bytes.size());
  }
  return weights;
}

}  // namespace m3vit
