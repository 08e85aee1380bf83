#pragma once
/// Emits micro-ops in program order and works out what each must wait for: every op's reads and writes of every memory
/// are known (`accesses`), and an op waits for the last conflicting op of each other engine. Nobody writes a wait by
/// hand, so a forgotten one is impossible.
#include <cstdint>
#include <optional>
#include <vector>

#include "accel/compiler/array.h"
#include "accel/compiler/micro_op.h"

namespace m3vit::accel {

enum class Memory : std::uint8_t { kWeights, kParams, kAct, kRes, kTables, kNorm, kLists, kDdr };
inline constexpr std::size_t kMemories = 8;

/// Words [begin, end) of a memory (DDR: 64-byte units; tables: their numbers).
struct Access {
  Memory memory;
  std::uint64_t begin, end;
  bool write;
};

/// Everything that `op` touches; `tokens`: rows of the layer, for the ops of experts.
std::vector<Access> accesses(const AnyOp& op, const Array& array, std::uint32_t tokens);

class ProgramBuilder {
 public:
  /// Without `overlap` every op waits for all before it; without `chase` none follows another row by row.
  explicit ProgramBuilder(const Array& array, bool overlap = true, bool chase = true)
      : array_(array), overlap_(overlap), chase_(overlap && chase) {}

  /// Sets the op's waits and appends it; returns its number in its engine. `chase`: number of the op of the other
  /// engine (GEMM and ROUTE: VEC; NORM: GEMM) that it may follow row by row; followed only where nothing else of that
  /// engine has to be waited for.
  std::uint32_t emit(AnyOp op, std::optional<std::uint32_t> chase = {});
  /// LOAD_EXPERTS and EXPERTS, which run side by side.
  void emit_experts(LoadExpertsOp load, ExpertsOp compute, std::uint32_t tokens);
  void end();

  const std::vector<AnyOp>& ops() const { return ops_; }

 private:
  struct Record {
    std::uint64_t begin, end;
    Engine engine;
    std::uint32_t index;
    bool write;
  };
  std::uint32_t append(AnyOp op, const std::vector<Access>& touched, std::optional<std::uint32_t> chase,
                       std::optional<std::uint32_t> partner);

  const Array& array_;
  bool overlap_, chase_;
  std::vector<AnyOp> ops_;
  Waits count_{};
  std::vector<Record> records_[kMemories];
};

}  // namespace m3vit::accel
