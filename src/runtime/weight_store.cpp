#include "runtime/weight_store.h"

#include <algorithm>
#include <cassert>

namespace m3vit {
namespace {

bool same_fields(const SectionLayout& a, const SectionLayout& b) {
  return a.precision == b.precision && a.bytes == b.bytes &&
         std::equal(a.fields.begin(), a.fields.end(), b.fields.begin(), b.fields.end(),
                    [](const Field& x, const Field& y) {
                      return x.name == y.name && x.offset == y.offset && x.bytes == y.bytes;
                    });
}

}  // namespace

WeightStore::WeightStore(const M3vFile& file) : file_(file) {
  for (SectionLayout& layout : section_layouts(file.config(), file.packing(), file.where())) {
    assert(file.sections()[kinds_.size()].bytes.size() == layout.bytes);
    const auto known = std::find_if(layouts_.rbegin(), layouts_.rend(),
                                    [&](const SectionLayout& other) { return same_fields(layout, other); });
    if (known == layouts_.rend()) {
      kinds_.push_back(static_cast<std::uint32_t>(layouts_.size()));
      layouts_.push_back(std::move(layout));
    } else {
      kinds_.push_back(static_cast<std::uint32_t>(layouts_.rend() - known - 1));
    }
  }
}

}  // namespace m3vit
