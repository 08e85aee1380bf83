#pragma once
/// A session's weights, section by section: the engine holds one while it computes with it and lets go of it after.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/layout.h"
#include "runtime/m3v.h"

namespace m3vit {

class WeightStore {
 public:
  /// A section in use: its bytes are at `base` for as long as this lives.
  class Held {
   public:
    Held(const std::byte* base, const SectionLayout* layout) : base_(base), layout_(layout) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    const std::byte* base() const { return base_; }
    const SectionLayout& layout() const { return *layout_; }
    template <class T>
    const T* at(std::string_view field) const {
      return reinterpret_cast<const T*>(base_ + layout_->field(field).offset);
    }
    const float* operator[](std::string_view field) const { return at<float>(field); }

   private:
    const std::byte* base_;
    const SectionLayout* layout_;
  };

  /// `file` must be verified and must outlive the store.
  explicit WeightStore(const M3vFile& file);

  /// `section` counts in the order of section_layouts (SectionTable). Allocates nothing.
  Held hold(std::size_t section) { return {file_.sections()[section].bytes.data(), &layouts_[kinds_[section]]}; }

 private:
  const M3vFile& file_;
  std::vector<SectionLayout> layouts_;  ///< distinct ones: the experts of a model share one
  std::vector<std::uint32_t> kinds_;    ///< by section: index into layouts_
};

}  // namespace m3vit
