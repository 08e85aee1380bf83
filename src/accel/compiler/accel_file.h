#pragma once
/// A compiled model on disk (docs/accelerator.md §9): what `m3vit export --target zcu104` writes.
///     "M3VA" | u32 crc32c of the header | u64 header length | JSON header | zeros to 4096 | the DDR image
/// The reader trusts nothing: magic, checksums, JSON, every address and size, every micro-op.
#include <filesystem>
#include <ostream>
#include <span>
#include <string>

#include "accel/compiler/compile.h"

namespace m3vit::accel {

inline constexpr std::string_view kAccelMagic = "M3VA";
inline constexpr std::size_t kAccelAlignment = 4096;

void write_accel_file(std::ostream& out, const Compiled& model, const std::string& producer);

/// The same model as was written; `ops` of every program decoded from the image. Throws Error naming the file and the
/// field.
Compiled read_accel_file(const std::filesystem::path& path);
Compiled read_accel_file(std::span<const std::byte> bytes, const std::string& where);

/// By the file's first bytes.
bool is_accel_file(const std::filesystem::path& path);

}  // namespace m3vit::accel
