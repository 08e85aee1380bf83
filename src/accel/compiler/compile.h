#pragma once
/// A quantised model → one program a task and one DDR image. Buffers on chip are laid out here, and with them what
/// overlaps with what; the hardware knows only addresses. Throws Error with the memory that is too small and by how
/// much when a model does not fit the array.
#include <cstdint>
#include <string>
#include <vector>

#include "accel/compiler/array.h"
#include "accel/compiler/image.h"
#include "accel/compiler/micro_op.h"
#include "accel/golden/quant_model.h"

namespace m3vit::accel {

struct CompileOptions {
  Array array{};
  ExpertMode mode = ExpertMode::kExpert;
  // Switches for measuring what each idea is worth; results do not depend on them.
  bool overlap = true;       ///< else every op waits for all before it, and one slot holds one expert tile at a time
  bool chase = true;         ///< else a norm waits for the whole of what it reads, and so does who reads the norm
  int expert_slots = 0;      ///< at most so many; 0: as many as there is room for
  bool layout_only = false;  ///< no image: programs, addresses and footprint only; weights may be missing
};

struct TaskProgram {
  int task = 0;                 ///< index into config.tasks
  std::uint32_t program = 0;    ///< 64-byte units, as `input` and `output`
  std::vector<AnyOp> ops;       ///< as in the image
  std::size_t encoder_ops = 0;  ///< how many of them come before the head; 0 in a model read from a file
  std::uint32_t input = 0, output = 0;
  int height = 0, width = 0, outputs = 0;  ///< of the output map
  std::size_t output_pitch = 0;            ///< bytes from one of its rows to the next
  double scale = 1.0;                      ///< value of one unit of it
};

/// Most words in use at a time.
struct Footprint {
  int weight_words = 0, param_words = 0, act_words = 0, res_words = 0, list_entries = 0;
};

struct Compiled {
  Array array;
  Config config;
  std::vector<TaskProgram> programs;
  Footprint footprint;
  std::vector<std::byte> image;  ///< empty with layout_only
  std::size_t image_bytes = 0;
  std::vector<ImageBuilder::Section> sections;
};

Compiled compile(const QuantModel& model, const CompileOptions& options);

}  // namespace m3vit::accel
