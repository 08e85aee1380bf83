#pragma once
/// Included first in every unit that uses libtorch, when clang compiles it against libstdc++. libtorch's headers hold
/// std::vector<c10::IValue> while IValue is still incomplete. In C++20 vector is constexpr, so clang instantiates it at
/// once in case a constant depends on it, and stops (g++ looks later). Hence vector, and only vector, as in C++17.
#include <memory>
#include <string>

#ifdef _GLIBCXX_VECTOR
#error "clang_libtorch.h must come before <vector>"
#endif
#pragma push_macro("_GLIBCXX20_CONSTEXPR")
#pragma push_macro("__fill_a1")
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
// std::fill on vector<bool>: declared constexpr before, so that this definition may not be another function's. It is
// left undefined, and a use of it is an error at compile time.
#define __fill_a1 m3vit_fill_bits
#include <vector>
#pragma pop_macro("__fill_a1")
#pragma pop_macro("_GLIBCXX20_CONSTEXPR")
