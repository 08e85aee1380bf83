#include "data/problems.h"

#include <utility>

namespace m3vit {

void Problems::add(Error::Parts parts) {
  ++count_;
  if (lines_.size() < kShown) lines_.emplace_back(Error(std::move(parts)).what());
}

void Problems::add(const Problems& later) {
  count_ += later.count_;
  for (const std::string& line : later.lines_) {
    if (lines_.size() < kShown) lines_.push_back(line);
  }
}

void Problems::throw_if_any(const std::string& where) const {
  if (count_ == 0) return;
  std::string list = count_ == 1 ? "1 problem:" : std::to_string(count_) + " problems:";
  for (const std::string& line : lines_) list += "\n  " + line;
  if (count_ > lines_.size()) list += "\n  … and " + std::to_string(count_ - lines_.size()) + " more";
  throw Error{{.where = where, .wanted = "a `folder` data set without mistakes (docs/own-data.md)", .found = list}};
}

}  // namespace m3vit
