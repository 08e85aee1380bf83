#pragma once
#include <filesystem>

namespace m3vit::cli {

/// Bytes a second at which the drive gives a `.m3v`'s sections, each once, in order, one whole section at a time, past
/// the page cache where the file system allows it: what streaming is held against. Throws Error (file).
double drive_rate(const std::filesystem::path& m3v);

}  // namespace m3vit::cli
