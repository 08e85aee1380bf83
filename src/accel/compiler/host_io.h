#pragma once
/// What the host does with the image: one frame in, one map out.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "accel/compiler/compile.h"
#include "accel/golden/golden.h"

namespace m3vit::accel {

/// `rows` as from input_rows. Pads every patch to whole words.
void write_input(const Compiled& model, const TaskProgram& program, std::span<const std::int8_t> rows,
                 std::span<std::byte> image);
/// The output map, [height · width][outputs].
std::vector<std::int16_t> read_output(const Compiled& model, const TaskProgram& program,
                                      std::span<const std::byte> image);

}  // namespace m3vit::accel
