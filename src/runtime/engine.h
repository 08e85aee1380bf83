#pragma once
/// One session's frame: a plan, an arena, a team, a kernel table, and the steps that turn planes into a task's raw
/// output. Nothing is allocated after the constructor. docs/architecture.md, "The runtime", has the picture.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <vector>

#include "m3vit/m3vit.hpp"
#include "runtime/frame_plan.h"
#include "runtime/head_run.h"
#include "runtime/kernels/kernels.h"
#include "runtime/m3v.h"
#include "runtime/memory_plan.h"
#include "runtime/resident_weights.h"
#include "runtime/routing.h"
#include "runtime/section_table.h"
#include "runtime/team.h"
#include "runtime/turns.h"
#include "runtime/weight_store.h"

namespace m3vit {

class Engine {
 public:
  /// `file` must outlive the engine. `weights`: all of the file's, or null: the engine reads what the budget lets it
  /// keep. `reader`: in place of the one that the options ask for (tests). Throws Error (option, memory, file).
  Engine(const M3vFile& file, const SessionOptions& options, std::shared_ptr<const ResidentWeights> weights,
         const SectionReaderFactory& reader = {});

  struct Frame {
    RgbView image;
    const float* planes = nullptr;  ///< normalised [3, H, W]; null: `image`
    HeadOutput out;
  };
  /// One task of 1 … SessionOptions::batch frames, which go through every layer together. `task` indexes config.tasks
  /// and must be in the file. Sizes are the caller's duty.
  void run(int task, std::span<const Frame> frames);
  /// Several tasks of the same frames, of which nothing but `out` is changed: outs[t · frames + i] is task t's of
  /// frame i.
  void run(std::span<const int> tasks, std::span<Frame> frames, std::span<const std::span<float>> outs);

  const std::vector<RoutingMap>& routing() const { return routing_; }
  const PhaseTimes& times() const { return times_; }
  std::span<const double> task_times() const { return task_times_; }
  const MemoryLayout& layout() const { return layout_; }
  const WeightStore& store() const { return store_; }
  const Isa& isa() const { return isa_; }
  int threads() const { return team_.threads(); }

 private:
  /// y = x · W + b, where its section lies at the moment.
  struct Linear {
    Precision precision = Precision::kF32;
    Matrix b;
    const float* bias = nullptr;
  };
  static Linear linear(const WeightStore::Held& section, const char* name);
  /// The matrices of an expert, or of a dense MLP.
  struct Mlp {
    Linear fc1, fc2;
    std::size_t hidden = 0;
  };
  static Mlp mlp_part(const WeightStore::Held& section, int hidden);

  /// The picture as planes in the arena.
  const float* normalise(const RgbView& image);
  /// What no task changes: `task` only names which copy of a shared router is read.
  void prefix(int task, std::span<const Frame> frames);
  /// The blocks after it, and the head.
  void suffix(int task, std::span<const Frame> frames);
  void second_half(std::size_t block, int task);
  /// Into the rows of x from `row` on.
  void embed(const float* planes, std::size_t row);
  void attention(std::size_t block);
  void attend(std::size_t block, const WeightStore::Held& w, std::size_t row);
  void dense_mlp(std::size_t block);
  void moe(std::size_t block, int task);
  void route(std::size_t block, int task);
  /// Experts of a window that pruning left; null: all of them.
  struct Remaining {
    const std::int32_t* experts = nullptr;
    std::size_t count = 0;
  };
  Remaining remaining_experts(std::size_t block, ExpertWindow window) const;
  /// Lists the work on the queues of experts [first, first + count) of the window, in ascending order. Returns how
  /// much there is.
  std::size_t list_items(std::size_t block, const TokenQueues& queues, ExpertWindow window);
  void run_items(std::size_t block, const TokenQueues& queues, std::size_t items);
  void experts_in_order(std::size_t block, int task);
  void tokens_in_order(std::size_t block);
  void experts_dense(std::size_t block, int task);
  void keep_routing(std::size_t block);
  void head(int task, std::span<const Frame> frames);

  static Gemm product(const Linear& w, std::size_t rows, std::size_t n, const RowSource& a);
  /// Rows [begin, end) of the picture's patches, row r − begin of `to`.
  void gather_patches(const float* planes, std::size_t begin, std::size_t end, const RowBuffer& to) const;
  /// f32 rows in `to`'s precision, bf16 or int8.
  void round_rows(const RowBuffer& from, std::size_t rows, std::size_t n, Precision p, const RowBuffer& to);
  /// x += y of the same rows.
  Epilogue onto_x(std::size_t row);
  /// fc1 → GELU → (rounding) → fc2 of `rows` rows by one worker, who calls `before_store` between; `out` is fc2's
  /// epilogue without its bias.
  template <class F>
  void mlp(const Mlp& weights, std::size_t rows, const RowSource& in, const MlpScratch& scratch, Epilogue out,
           const F& before_store);
  /// Norm of x's rows from `row` on, by one worker.
  LayerNorm norm_of(const WeightStore::Held& section, std::size_t row);
  /// fn(begin, end, worker) over rows in items of `most` at most.
  template <class F>
  void rows_each(std::size_t rows, std::size_t most, const F& fn);
  /// A worker's own part of a buffer that has one for each.
  std::byte* own(std::size_t buffer, std::size_t bytes, std::size_t worker) {
    return at<std::byte>(buffer) + worker * bytes;
  }

  /// Clears the times of the last run; the time since then, or since the last lap, is task `index`'s.
  void start();
  void lap(std::size_t index);
  /// Adds the time until its end to `slot`; does nothing for null.
  class Timed;
  double* timer(double PhaseTimes::*part) { return keep_times_ ? &(times_.*part) : nullptr; }

  template <class T>
  T* at(std::size_t buffer) {
    return reinterpret_cast<T*>(arena_.get() + plan_.planner.offset(buffer));
  }

  struct ArenaDelete {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{ReadFile::kBlock}); }
  };

  const M3vFile& file_;
  const Config& config_;
  const ModelConfig& model_;
  Isa isa_;
  const Kernels& kernels_;
  MoeSchedule schedule_;
  std::size_t dim_, tokens_, stride_;  ///< tokens_: of a frame; stride_: floats between rows of [T, D]
  MemoryLayout layout_;
  const FramePlan& plan_;  ///< layout_'s
  std::unique_ptr<std::byte[], ArenaDelete> arena_;
  Team team_;
  SectionTable sections_;
  WeightStore store_;
  std::map<Precision, HeadRun> heads_;
  HeadWeights head_weights_;  ///< of the task at hand
  Turns turns_;
  std::vector<std::vector<std::int32_t>> left_;  ///< by block: experts that pruning left, ascending; empty: all
  std::vector<RoutingMap> routing_;
  std::size_t shared_blocks_;  ///< blocks before the first one that depends on the task
  bool share_prefix_, keep_times_;
  std::size_t rows_ = 0;  ///< tokens of all frames at hand
  PhaseTimes times_;
  std::vector<double> task_times_;
  std::chrono::steady_clock::time_point lap_begin_;
};

template <class F>
void Engine::rows_each(std::size_t rows, std::size_t most, const F& fn) {
  const RowSplit split = split_rows(rows, most, static_cast<std::size_t>(team_.threads()));
  team_.run(split.count, [&](std::size_t item, std::size_t worker) {
    const std::size_t begin = item * split.rows_each;
    fn(begin, std::min(begin + split.rows_each, rows), worker);
  });
}

template <class F>
void Engine::mlp(const Mlp& weights, std::size_t rows, const RowSource& in, const MlpScratch& scratch, Epilogue out,
                 const F& before_store) {
  Gemm fc1 = product(weights.fc1, rows, weights.hidden, in);
  fc1.out.activation = Epilogue::Activation::kGelu;
  fc1.out.c = scratch.hidden.row(0);
  fc1.out.stride = scratch.hidden.pitch();
  fc1.out.bf16 = fc1.precision != Precision::kF32;
  kernels_.gemm(fc1, 0, rows, 0, panels(fc1.n));
  if (fc1.precision == Precision::kInt8) {
    kernels_.quantize_rows(scratch.hidden.row(0), /*bf16=*/true, scratch.hidden.pitch(), rows, weights.hidden,
                           scratch.quantised.row<std::uint8_t>(0), scratch.quantised.pitch(),
                           scratch.quantised.scale(0));
  }
  const RowBuffer& hidden = fc1.precision == Precision::kInt8 ? scratch.quantised : scratch.hidden;
  Gemm fc2 = product(weights.fc2, rows, dim_, hidden.source());
  out.bias = weights.fc2.bias;
  fc2.out = out;
  before_store();
  kernels_.gemm(fc2, 0, rows, 0, panels(fc2.n));
}

class Engine::Timed {
 public:
  explicit Timed(double* slot) : slot_(slot) {
    if (slot_ != nullptr) begin_ = std::chrono::steady_clock::now();
  }
  ~Timed() {
    if (slot_ != nullptr) *slot_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  double* slot_;
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace m3vit
