#pragma once
/// The message of the Error a call throws; "(no error)" when it throws none.
#include <string>

#include "core/error.h"

namespace m3vit {

template <class F>
std::string error_text(F&& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "(no error)";
}

}  // namespace m3vit
