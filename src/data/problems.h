#pragma once
/// All that is wrong with a folder, gathered so that the user sees it at once and not error by error.
#include <cstddef>
#include <string>
#include <vector>

#include "core/error.h"

namespace m3vit {

class Problems {
 public:
  static constexpr std::size_t kShown = 50;  ///< the rest is only counted

  void add(Error::Parts parts);
  void add(const Problems& later);
  std::size_t count() const { return count_; }
  /// One Error about `where` that lists them; nothing when there are none.
  void throw_if_any(const std::string& where) const;

 private:
  std::size_t count_ = 0;
  std::vector<std::string> lines_;
};

}  // namespace m3vit
