#pragma once
/// One task's program, block by block.
#include <optional>
#include <string>

#include "accel/compiler/compile.h"
#include "accel/compiler/program_builder.h"

namespace m3vit::accel {

/// Room in a memory, handed out round and round: what was handed out longest ago is overwritten first.
class Ring {
 public:
  Ring(int begin, int end) : begin_(begin), end_(end), head_(begin) {}
  int size() const { return end_ - begin_; }
  /// n ≤ size().
  int take(int n) {
    if (head_ + n > end_) head_ = begin_;
    head_ += n;
    return head_ - n;
  }
  /// As if everything before `at` had just been handed out.
  void restart(int at) { head_ = at < begin_ || at > end_ ? begin_ : at; }

 private:
  int begin_, end_, head_;
};

class TaskCompiler {
 public:
  TaskCompiler(const QuantModel& model, const CompileOptions& options, int task, ImageBuilder& image, Footprint& used);
  TaskProgram compile();

 private:
  struct NormSlot {
    std::string name;
    const QNorm* norm;
    std::optional<std::uint32_t> param;  ///< where its parameters lie, when they were loaded early
  };
  struct Constants {  ///< of one block
    NormSlot norm1, norm2;
    std::uint32_t table = 0;
  };
  /// A stage of the head, with its buffers.
  struct Stage;

  void check() const;
  [[noreturn]] void refuse(const std::string& what, const std::string& memory, int needed, int there) const;
  void need(const std::string& what, const std::string& memory, int needed, int there) const;

  void embed();
  void attention(int block, const Constants& constants);
  void dense(int block, const Constants& constants);
  void experts(int block, const Constants& constants);
  void head();
  Stage plan_stage(const QHead& head, int s, int height, int width) const;
  void run_stage(const QHead& head, const Stage& stage);
  void run_strip(const QHead& head, const Stage& stage, int first, int set);
  /// Rows of a map between a memory and DDR, where each begins at a whole unit.
  template <class Op>
  void copy_rows(Op op, std::uint32_t Op::*memory, int row_words, int word_bytes, int rows);

  Constants load_constants(int block);
  std::uint32_t load_norm(const NormSlot& slot);
  std::uint32_t norm(const NormSlot& slot, std::uint32_t first_row, std::uint32_t rows, std::uint32_t dst,
                     std::optional<std::uint32_t> chase);
  /// Passes of a whole matrix, as many as its weights need room; `op` says rows, source, destination of block 0.
  /// Returns the number of the last one.
  std::uint32_t linear(const std::string& name, const TileParts& parts, GemmOp op,
                       std::optional<std::uint32_t> chase = {});
  /// How many blocks at once, so that the next load has room beside this pass where that can be.
  int chunk_blocks(const std::string& name, const TileParts& parts) const;
  /// Emits the load of one tile; returns where its weights and parameters lie.
  TileOp load_tile(const std::string& name, const TileParts& parts, int first, int count);

  std::string block_name(int block) const { return "blocks." + std::to_string(block) + "."; }

  const QuantModel& model_;
  const ModelConfig& m_;
  const CompileOptions& options_;
  const Array& a_;
  int task_;
  ImageBuilder& image_;
  Footprint& used_;
  ProgramBuilder program_;

  // Words: tokens, a row of D, a head, the attention's output row, key blocks, keys and values together.
  int tokens_, dim_, head_words_, mix_, key_blocks_, kv_;
  std::uint32_t norm_base_ = 0, mix_base_ = 0;
  Ring weights_, params_, norms_;
  std::optional<std::uint32_t> last_add_;  ///< the GEMM that last added into all rows of the residual
  std::uint32_t input_ = 0, output_ = 0;
  std::size_t output_pitch_ = 0;
};

}  // namespace m3vit::accel
