#pragma once
/// Runs a head by its plan: lines go in at one end, and at the other the caller's output is written line by line.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/head_plan.h"
#include "runtime/kernels/kernels.h"
#include "runtime/resample.h"
#include "runtime/team.h"

namespace m3vit {

/// A task's weights. Convolutions have 9 segments in kTapOrder.
struct HeadWeights {
  const float *norm_weight = nullptr, *norm_bias = nullptr;
  std::vector<Matrix> conv;  ///< by stage
  std::vector<const float*> conv_bias;
  Matrix last;
  const float* last_bias = nullptr;
  std::size_t outputs = 0;
};

/// Where the result goes: one of the two.
struct HeadOutput {
  float* planes = nullptr;          ///< [outputs, height, width]
  std::uint8_t* classes = nullptr;  ///< [height, width]: the output with the largest value, the first of equals
};

class HeadRun {
 public:
  /// `arena` is where `planner` laid the plan's buffers. All must outlive the object.
  HeadRun(const HeadPlan& plan, const Planner& planner, std::byte* arena, const Kernels& kernels, Team& team);

  /// `tokens` [grid_h · grid_w, dim], rows `stride` bytes apart, before the head's LayerNorm. Allocates nothing.
  void run(const HeadWeights& weights, const float* tokens, std::size_t stride, const HeadOutput& out);

 private:
  using Node = HeadPlan::Node;
  /// Rows of one line of products: C = A · some segments of the stage's weights.
  struct Product {
    std::size_t first_segment, segments;
    const std::int32_t* taps;  ///< [rows, segments]
    std::size_t rows;
    float* c;
  };

  template <class T>
  T* at(std::size_t buffer) const {
    return reinterpret_cast<T*>(arena_ + planner_.offset(buffer));
  }
  std::byte* pixel(const Node& node, int line, int x) const;
  float* scale(const Node& node, int line, int x) const;
  float* sum_line(const Node& node, int slot) const;
  float* even_line(const Node& node, int line) const;
  float* odd_line(const Node& node, int line) const;
  float* last_line(int line, std::size_t output) const;
  float* doubled_line(int line, std::size_t output) const;

  void clear();
  /// Lines [begin, end) of node i's input have come in.
  void feed(std::size_t i, int begin, int end);
  void list_products(const Node& node, int begin, int end);
  void list_commuted_products(const Node& node, int begin, int end);
  /// The listed products, and rows [begin, end) of what they make.
  void convolve(std::size_t i, int begin, int end);
  std::size_t claim_panel(std::size_t worker);
  void multiply(const Node& node, const Product& product, std::size_t panel);
  void tail(std::size_t i, int row, std::size_t panel, int begin, int end);
  bool waits(std::size_t i) const;
  std::byte* written_line(std::size_t i, int line) const;
  void finish(std::size_t i, int begin, int end);
  void upsample(std::size_t i, int begin, int end);
  void upsample_block(const Node& node, int row, int x, int count, float* to) const;
  void last_block(const std::byte* pixels, int line, int x, int count, std::size_t worker);
  void output(int lines);
  void output_line(int y, std::size_t worker);
  void double_line(int y, std::size_t c, float* temporary, float* to) const;
  void sample_line(int y, std::size_t c, float* temporary, float* to) const;
  float* scratch_line(std::size_t worker, std::size_t which) const;

  const HeadPlan& plan_;
  const Planner& planner_;
  std::byte* arena_;
  const Kernels& kernels_;
  Team& team_;
  ResampleAxis final_y_, final_x_;
  std::vector<Product> products_;                 ///< of the step at hand
  std::unique_ptr<std::atomic<bool>[]> claimed_;  ///< by panel
  const HeadWeights* weights_ = nullptr;
  HeadOutput out_;
  int doubled_ = 0;  ///< lines of the doubled map that exist
  int written_ = 0;  ///< output lines
};

}  // namespace m3vit
