#pragma once
/// How configurations spell an enumerator, for messages.
#include <string_view>

#include "core/config.h"

namespace m3vit {

std::string_view name_of(Gate gate);
std::string_view name_of(Sharing sharing);

}  // namespace m3vit
