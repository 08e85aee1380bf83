#pragma once
/// Memory plans for people and programs: `m3vit run` and `m3vit inspect --memory`.
#include <CLI/CLI.hpp>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/image.h"
#include "m3vit/m3vit.hpp"
#include "runtime/memory_plan.h"

namespace m3vit::cli {

/// `--memory SIZE`: bytes, or with KiB, MiB, GiB.
CLI::Option* add_memory_option(CLI::App& command, std::size_t& bytes);
/// "8.00 MiB".
std::string bytes_text(std::size_t bytes);

/// One line.
std::string memory_text(const MemoryPlan& plan, std::string_view io);
nlohmann::json memory_json(const MemoryPlan& plan, std::string_view io);

/// Every group of sections and every buffer with its bytes and steps.
std::string layout_table(const MemoryLayout& layout);
nlohmann::json layout_json(const MemoryLayout& layout);
/// The arena: steps of a frame to the right, bytes upwards, a rectangle a buffer, resident weights below it.
ImageU8 layout_picture(const MemoryLayout& layout);

}  // namespace m3vit::cli
