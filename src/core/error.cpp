#include "core/error.h"

#include <utility>

namespace m3vit {

Error::Error(Parts parts) : parts_(std::move(parts)) {
  const auto add = [this](const std::string& part, const char* before) {
    if (!part.empty()) text_ += (text_.empty() ? std::string{} : std::string(before)) + part;
  };
  add(parts_.where, "");
  add(parts_.field, ": ");
  if (!parts_.wanted.empty()) text_ += (text_.empty() ? "want " : ": want ") + parts_.wanted;
  if (!parts_.found.empty()) text_ += (parts_.wanted.empty() ? ": " : ", found ") + parts_.found;
  if (!parts_.hint.empty()) text_ += " (" + parts_.hint + ")";
}

}  // namespace m3vit
