#include "accel/compiler/host_io.h"

#include <cassert>
#include <cstring>

namespace m3vit::accel {

void write_input(const Compiled& model, const TaskProgram& program, std::span<const std::int8_t> rows,
                 std::span<std::byte> image) {
  const ModelConfig& m = model.config.model;
  const auto patch = static_cast<std::size_t>(3 * m.patch_size * m.patch_size);
  const auto stride = static_cast<std::size_t>(model.array.words(static_cast<int>(patch)) * model.array.width);
  std::byte* to = image.data() + std::size_t{program.input} * Array::kBeatBytes;
  assert(rows.size() % patch == 0);
  for (std::size_t r = 0; r < rows.size() / patch; ++r) {
    std::memcpy(to + r * stride, rows.data() + r * patch, patch);
    std::memset(to + r * stride + patch, 0, stride - patch);
  }
}

std::vector<std::int16_t> read_output(const Compiled& model, const TaskProgram& program,
                                      std::span<const std::byte> image) {
  const auto outputs = static_cast<std::size_t>(program.outputs);
  const auto width = static_cast<std::size_t>(program.width);
  const auto pixel = static_cast<std::size_t>(model.array.words(program.outputs) * model.array.width) * 2;
  const std::byte* from = image.data() + std::size_t{program.output} * Array::kBeatBytes;
  std::vector<std::int16_t> map(static_cast<std::size_t>(program.height) * width * outputs);
  for (std::size_t p = 0; p < map.size() / outputs; ++p) {
    std::memcpy(map.data() + p * outputs, from + p / width * program.output_pitch + p % width * pixel, 2 * outputs);
  }
  return map;
}

}  // namespace m3vit::accel
