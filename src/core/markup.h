#pragma once
/// Text inside XML and HTML.
#include <string>
#include <string_view>

namespace m3vit {

/// `text` as content or attribute of an element: markup as entities, control characters (which XML does not know, not
/// even as references) as spaces.
std::string markup_escaped(std::string_view text);

}  // namespace m3vit
