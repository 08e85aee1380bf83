#pragma once
#include <string_view>

namespace m3vit {
inline constexpr std::string_view kVersion = "0.1.0";  // equals project(VERSION); a test compares
}
