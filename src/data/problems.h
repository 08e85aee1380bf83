#pragma once
/// All that is wrong with a data set, gathered so that the user sees it at once and not error by error.
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"

namespace m3vit {

class Problems {
 public:
  static constexpr std::size_t kShown = 50;      ///< lines of the Error's text; the rest is only counted there
  static constexpr std::size_t kKept = 100'000;  ///< in `list`

  void add(Error::Parts parts);
  void add(const Problems& later);
  std::size_t count() const { return count_; }
  const std::vector<Error::Parts>& list() const { return list_; }
  /// One ProblemsError about `where` that lists them; nothing when there are none. `wanted`: what `where` should be.
  void throw_if_any(const std::string& where,
                    const std::string& wanted = "a `folder` data set without mistakes (docs/own-data.md)") const;

 private:
  std::size_t count_ = 0;
  std::vector<Error::Parts> list_;
};

/// The Error of `throw_if_any`, with every problem by itself for machines.
class ProblemsError : public Error {
 public:
  ProblemsError(Parts parts, Problems found) : Error(std::move(parts)), problems(std::move(found)) {}
  Problems problems;
};

/// Calls `check(i, found)` for i = 0 … count−1 on all cores; what they find is added to `into` in the order of i.
/// A `label` shows a progress bar under that name.
void check_all(std::size_t count, const std::function<void(std::size_t i, Problems& found)>& check, Problems& into,
               const std::string& label = "");

}  // namespace m3vit
