#pragma once
/// One session's frame: a plan, an arena, a team, a kernel table, and the steps that turn planes into a task's raw
/// output. Nothing is allocated after the constructor. docs/architecture.md, "The runtime", has the picture.
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
#include "runtime/routing.h"
#include "runtime/section_table.h"
#include "runtime/team.h"
#include "runtime/weight_store.h"

namespace m3vit {

class Engine {
 public:
  /// `file` must be verified and must outlive the engine. Throws Error (option, memory).
  Engine(const M3vFile& file, const SessionOptions& options);

  /// `task` indexes config.tasks and must be in the file. Sizes are the caller's duty.
  void run(int task, const RgbView& image, const HeadOutput& out);
  void run(int task, std::span<const float> planes, const HeadOutput& out);
  /// Several tasks of one frame; outs[i] is tasks[i]'s.
  void run(std::span<const int> tasks, const RgbView& image, std::span<const std::span<float>> outs);
  void run(std::span<const int> tasks, std::span<const float> planes, std::span<const std::span<float>> outs);

  const std::vector<RoutingMap>& routing() const { return routing_; }
  const PhaseTimes& times() const { return times_; }
  std::size_t arena_bytes() const { return plan_.planner.arena_bytes(); }
  const Isa& isa() const { return isa_; }
  int threads() const { return team_.threads(); }

 private:
  /// The matrices of an expert, or of a dense MLP.
  struct Mlp {
    const float *fc1 = nullptr, *fc1_bias = nullptr, *fc2 = nullptr, *fc2_bias = nullptr;
  };
  static Mlp mlp_part(const WeightStore::Held& section);

  /// The picture as planes in the arena.
  const float* normalise(const RgbView& image);
  void forward(int task, const float* planes, const HeadOutput& out);
  void forward(std::span<const int> tasks, const float* planes, std::span<const std::span<float>> outs);
  /// What no task changes: `task` only names which copy of a shared router is read.
  void prefix(int task, const float* planes);
  /// The blocks after it, and the head.
  void suffix(int task, const HeadOutput& out);
  void second_half(std::size_t block, int task);
  void embed(const float* planes);
  void attention(std::size_t block);
  void dense_mlp(std::size_t block);
  void moe(std::size_t block, int task);
  void route(std::size_t block, int task);
  void experts_in_order(std::size_t block, int task);
  void tokens_in_order(std::size_t block);
  void experts_dense(std::size_t block, int task);
  void keep_routing(std::size_t block);
  void head(int task, const HeadOutput& out);

  /// Shares C's tiles among the team. The split changes no bit (kernels.h).
  void gemm(const Gemm& g);
  /// fc1 + GELU + fc2 of `rows` rows; `out` is fc2's epilogue without its bias.
  void mlp(const Mlp& weights, std::size_t rows, const RowSource& in, int hidden, float* hidden_rows, Epilogue out);
  void layer_norm(const float* x, std::size_t rows, const float* weight, const float* bias, float* y);

  /// Adds the time until its end to `slot`; does nothing for null.
  class Timed;
  double* timer(double PhaseTimes::*part) { return keep_times_ ? &(times_.*part) : nullptr; }

  template <class T>
  T* at(std::size_t buffer) {
    return reinterpret_cast<T*>(arena_.get() + plan_.planner.offset(buffer));
  }

  struct ArenaDelete {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{Planner::kAlignment}); }
  };

  const M3vFile& file_;
  const Config& config_;
  const ModelConfig& model_;
  Isa isa_;
  const Kernels& kernels_;
  MoeSchedule schedule_;
  std::size_t dim_, tokens_, stride_;  ///< stride_: floats between rows of [T, D]
  FramePlan plan_;
  std::unique_ptr<std::byte[], ArenaDelete> arena_;
  Team team_;
  SectionTable sections_;
  WeightStore store_;
  std::map<Precision, HeadRun> heads_;
  HeadWeights head_weights_;  ///< of the task at hand
  std::vector<RoutingMap> routing_;
  std::size_t shared_blocks_;  ///< blocks before the first one that depends on the task
  bool share_prefix_, keep_times_;
  PhaseTimes times_;
};

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
