// The head, depth first over lines.
//
// The commuted form. Bilinear ×2 is a filter over the map with zeros put between its pixels, and so is a convolution
// over that map: the two commute. So the 3×3 convolution runs first, on the map with zeros between, where a tap meets a
// pixel for only one of the four kinds of position, and the filter [1 3 3 1] / 4 runs along columns and lines of its
// result. That is 9 products a low-resolution pixel where convolving the upsampled map takes 36, with the weights as
// they are and one rounding less. Along one axis, for taps w0 w1 w2 and the low-resolution input x:
//     even[i] = w1 · x[i]    odd[i] = w0 · x[i] + w2 · x[i + 1]
//     y[2i]     = (even[i − 1] + 3 odd[i − 1] + 3 even[i] + odd[i]) / 4
//     y[2i + 1] = (odd[i − 1] + 3 even[i] + 3 odd[i] + even[i + 1]) / 4
// At the border upsampling repeats the edge (x[−1] = x[0]) but the convolution sees zeros. With first = w0 · x[0]
// apart from odd[−1] = w2 · x[0], the repeated edge makes even[−1] = even[0], and y[1] takes odd[−1] + first, y[0]
// takes odd[−1] − first / 3; the other end mirrors it. A line of products holds, for its columns, even [width] and odd
// [width + 3] = first, odd[−1] … odd[width − 1], last; lines are even or odd themselves, and `first` and `last` of the
// lines take the slots of even lines −1 and `height`.
#include "runtime/head_run.h"

#include <algorithm>
#include <cassert>

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

constexpr float kLayerNormEps = 1e-6F;

/// Segments of kTapOrder that meet in a product: of an odd or even line (first index), odd or even columns (second).
struct Segments {
  std::size_t first, count;
};
constexpr Segments kOddOdd{0, 4}, kOddEven{4, 2}, kEvenOdd{6, 2}, kEvenEven{8, 1}, kAll{0, 9};

/// Pixel that position `at` ∈ [−2, width + 2) of an odd product's row reads; −1: none. The ends stand for themselves
/// once more, one position away from the border, for `first` and `last`.
int odd_pixel(int at, int width) {
  if (at == -2) return 0;
  if (at == width + 1) return width - 1;
  return at == width ? -1 : at;
}

int ring_slot(int line, int ring) { return (line % ring + ring) % ring; }

}  // namespace

HeadRun::HeadRun(const HeadPlan& plan, const Planner& planner, std::byte* arena, const Kernels& kernels, Team& team)
    : plan_(plan),
      planner_(planner),
      arena_(arena),
      kernels_(kernels),
      team_(team),
      final_y_(2 * plan.last_height, plan.shape.height),
      final_x_(2 * plan.last_width, plan.shape.width) {
  std::size_t most = 0;
  for (const Node& node : plan.nodes) most = std::max(most, size(node.step) + 1);
  products_.reserve(4 * most + 4);
}

std::byte* HeadRun::pixel(const Node& node, int line, int x) const {
  return at<std::byte>(node.input) + (size(line % node.ring) * size(node.width) + size(x)) * node.pixel_bytes;
}
float* HeadRun::scale(const Node& node, int line, int x) const {
  return at<float>(node.scales) + size(line % node.ring) * size(node.width) + size(x);
}
float* HeadRun::sum_line(const Node& node, int slot) const {
  return at<float>(node.sums) + size(slot) * node.sum_floats;
}
float* HeadRun::even_line(const Node& node, int line) const { return sum_line(node, ring_slot(line, node.step + 2)); }
float* HeadRun::odd_line(const Node& node, int line) const {
  return sum_line(node, node.step + 2 + ring_slot(line, node.step + 1));
}
float* HeadRun::last_line(int line, std::size_t c) const {
  return at<float>(plan_.last) + (size(line % plan_.last_ring) * plan_.shape.outputs + c) * size(plan_.last_width);
}
float* HeadRun::doubled_line(int line, std::size_t c) const {
  return at<float>(plan_.doubled) +
         (size(line % plan_.doubled_ring) * plan_.shape.outputs + c) * 2 * size(plan_.last_width);
}

void HeadRun::run(const HeadWeights& weights, const float* tokens, std::size_t stride, const HeadOutput& out) {
  assert((out.planes == nullptr) != (out.classes == nullptr));
  assert(weights.outputs <= plan_.shape.outputs);
  weights_ = &weights;
  out_ = out;
  doubled_ = 0;
  written_ = 0;
  clear();
  const Node& node = plan_.nodes.front();
  const auto* rows = reinterpret_cast<const std::byte*>(tokens);
  for (int begin = 0; begin < node.height; begin += node.step) {
    const int end = std::min(begin + node.step, node.height);
    team_.run(size(end - begin), [&](std::size_t item, std::size_t) {
      const int line = begin + static_cast<int>(item);
      LayerNorm norm;
      norm.x = reinterpret_cast<const float*>(rows + size(line) * size(node.width) * stride);
      norm.x_stride = stride;
      norm.n = node.channels;
      norm.weight = weights.norm_weight;
      norm.bias = weights.norm_bias;
      norm.eps = kLayerNormEps;
      norm.precision = plan_.precision;
      norm.y = pixel(node, line, 0);
      norm.y_stride = node.pixel_bytes;
      if (plan_.precision == Precision::kInt8) norm.y_scale = scale(node, line, 0);
      kernels_.layer_norm(norm, 0, size(node.width));
    });
    feed(0, begin, end);
  }
  assert(written_ == plan_.shape.height);
}

void HeadRun::clear() {
  const std::size_t columns = padded_columns(plan_.shape.channels);
  const int zero = plan_.precision == Precision::kInt8 ? 128 : 0;
  std::fill_n(at<std::byte>(plan_.zeros),
              head_pixel_bytes(std::max(plan_.shape.dim, plan_.shape.channels), plan_.precision),
              static_cast<std::byte>(zero));
  float* biases = at<float>(plan_.biases);
  for (const float* bias : weights_->conv_bias) {
    std::copy_n(bias, plan_.shape.channels, biases);
    std::fill(biases + plan_.shape.channels, biases + columns, 0.0F);
    biases += columns;
  }
  if (plan_.shape.channels == columns) return;
  for (const Node& node : plan_.nodes) {  // the last panel's columns that no product writes
    if (node.sum_lines > 0) std::fill_n(at<float>(node.sums), size(node.sum_lines) * node.sum_floats, 0.0F);
  }
}

void HeadRun::feed(std::size_t i, int begin, int end) {
  const Node& node = plan_.nodes[i];
  if (end == node.height) ++end;  // the line below the map: what waits for it is complete now
  for (int line = begin; line < end; line += node.step) {
    const int to = std::min(line + node.step, end);
    int rows_begin = std::max(line - 1, 0);
    int rows_end = to - 1;
    switch (node.kind) {
      case Node::Kind::kConv:
        convolve(node, rows_begin, rows_end);
        break;
      case Node::Kind::kUpsampleConv:
        convolve_commuted(node, line, to);
        break;
      case Node::Kind::kUpsample:  // its rows are output lines 2 · line − 1 and 2 · line
        rows_begin = line;
        rows_end = to;
        break;
    }
    hand_on(i, rows_begin, rows_end);
  }
}

void HeadRun::hand_on(std::size_t i, int begin, int end) {
  const Node& node = plan_.nodes[i];
  for (int row = begin; row < end; row += node.group) {
    const int to = std::min(row + node.group, end);
    finish_rows(i, row, to);
    int first = row;
    int last = to;
    if (node.kind == Node::Kind::kUpsample) {
      first = std::max(2 * row - 1, 0);
      last = std::min(2 * to - 1, 2 * node.height);
    } else if (node.kind == Node::Kind::kUpsampleConv) {
      first = 2 * row;
      last = 2 * to;
    }
    if (i + 1 < plan_.nodes.size()) {
      feed(i + 1, first, last);
    } else {
      output(last);
    }
  }
}

void HeadRun::convolve(const Node& node, int begin, int end) {
  auto* taps = at<std::int32_t>(node.taps);
  products_.clear();
  for (int row = begin; row < end; ++row) {
    products_.push_back({kAll.first, kAll.count, taps, size(node.width), sum_line(node, row % node.step)});
    for (int x = 0; x < node.width; ++x) {
      for (const int tap : kTapOrder) {
        const int line = row + tap / 3 - 1;
        const int column = x + tap % 3 - 1;
        const bool inside = line >= 0 && line < node.height && column >= 0 && column < node.width;
        *taps++ = inside ? (line % node.ring) * node.width + column : -1;
      }
    }
  }
  multiply(node);
}

void HeadRun::convolve_commuted(const Node& node, int begin, int end) {
  auto* taps = at<std::int32_t>(node.taps);
  const int w = node.width;
  const auto add = [&](Segments segments, int upper, int lower, float* line) {
    const bool odd = segments.first == kOddOdd.first || segments.first == kEvenOdd.first;
    const bool both = segments.first == kOddOdd.first || segments.first == kOddEven.first;
    const std::size_t rows = size(w) + (odd ? 3 : 0);
    products_.push_back({segments.first, segments.count, taps, rows, line + (odd ? size(w) * kPanel : 0)});
    for (int r = 0; r < static_cast<int>(rows); ++r) {
      for (const int from : {upper, lower}) {
        const int base = (from % node.ring) * w;
        if (odd) {
          const int left = odd_pixel(r - 2, w);
          const int right = odd_pixel(r - 1, w);
          *taps++ = from < 0 || left < 0 ? -1 : base + left;
          *taps++ = from < 0 || right < 0 ? -1 : base + right;
        } else {
          *taps++ = from < 0 ? -1 : base + r;
        }
        if (!both) break;
      }
    }
  };
  // Every odd line, and every even one, of the lines that came in; the longest products first, so that the team ends
  // its work together.
  products_.clear();
  for (const Segments segments : {kOddOdd, kOddEven, kEvenOdd, kEvenEven}) {
    for (int line = begin; line < end; ++line) {
      const bool inside = line < node.height;
      if (segments.first == kEvenOdd.first || segments.first == kEvenEven.first) {
        if (inside) add(segments, line, -1, even_line(node, line));
        continue;
      }
      add(segments, line - 1, inside ? line : -1, odd_line(node, line - 1));
      if (line == 0) add(segments, 0, -1, even_line(node, -1));                // first
      if (!inside) add(segments, -1, line - 1, even_line(node, node.height));  // last
    }
  }
  multiply(node);
}

void HeadRun::multiply(const Node& node) {
  const std::size_t all_panels = panels(plan_.shape.channels);
  const std::size_t columns = padded_columns(plan_.shape.channels);
  const std::size_t segment_bytes = groups(node.channels, plan_.precision) * kPanelLine;
  const Matrix& weights = weights_->conv[size(node.stage)];
  const bool commuted = node.kind == Node::Kind::kUpsampleConv;
  const std::size_t panel_floats = (commuted ? commuted_columns(node.width) : size(node.width)) * kPanel;
  team_.run(products_.size() * all_panels, [&](std::size_t item, std::size_t) {
    const Product& product = products_[item / all_panels];
    const std::size_t panel = item % all_panels;
    Gemm g;
    g.precision = plan_.precision;
    g.m = product.rows;
    g.n = plan_.shape.channels;
    g.a.kind = RowSource::Kind::kTaps;
    g.a.base = at<std::byte>(node.input);
    g.a.stride = node.pixel_bytes;
    g.a.segments = product.segments;
    g.a.segment_k = node.channels;
    g.a.index = product.taps;
    g.a.zeros = at<std::byte>(plan_.zeros);
    if (plan_.precision == Precision::kInt8) {
      g.a.scale = at<float>(node.scales);
      g.b.scale = weights.scale;
      g.b.sums = weights.sums + product.first_segment * columns;
    }
    g.b.panels = static_cast<const std::byte*>(weights.panels) + product.first_segment * segment_bytes;
    g.b.panel_bytes = kAll.count * segment_bytes;
    g.out.c = product.c;
    g.out.stride = kPanel * sizeof(float);
    g.out.panel_stride = panel_floats * sizeof(float);
    kernels_.gemm(g, 0, product.rows, panel, panel + 1);
  });
}

void HeadRun::finish_rows(std::size_t i, int begin, int end) {
  const Node& node = plan_.nodes[i];
  // Output columns and lines of one column and row of the products.
  const bool commuted = node.kind == Node::Kind::kUpsampleConv;
  const int step = commuted ? kHeadBlock / 4 : kHeadBlock;
  const int width = node.kind == Node::Kind::kUpsample ? 2 * node.width : node.width;
  if (node.kind == Node::Kind::kUpsample) {
    end = std::min(2 * end - 1, 2 * node.height);
    begin = std::max(2 * begin - 1, 0);
  }
  const std::size_t blocks = size((width + step - 1) / step);
  team_.run(size(end - begin) * blocks, [&](std::size_t item, std::size_t worker) {
    const int x = static_cast<int>(item % blocks) * step;
    finish_block(i, {begin + static_cast<int>(item / blocks), x, std::min(x + step, width)}, worker);
  });
}

void HeadRun::finish_block(std::size_t i, const Block& block, std::size_t worker) {
  const Node& node = plan_.nodes[i];
  const bool final_node = i + 1 == plan_.nodes.size();
  const bool commuted = node.kind == Node::Kind::kUpsampleConv;
  const int lines = commuted ? 2 : 1;
  const int first_line = commuted ? 2 * block.row : block.row;
  const int x = commuted ? 2 * block.begin : block.begin;
  const int count = commuted ? 2 * (block.end - block.begin) : block.end - block.begin;
  std::byte* scratch = at<std::byte>(plan_.scratch) + worker * plan_.scratch_bytes;
  const std::size_t channels = plan_.shape.channels;
  const std::size_t f32_bytes = head_pixel_bytes(channels, Precision::kF32);
  const std::size_t to_bytes = head_pixel_bytes(channels, plan_.precision);
  std::byte* to[2] = {};
  float* scales[2] = {};
  for (int l = 0; l < lines; ++l) {
    if (final_node) {
      to[l] = scratch + plan_.scratch_pixels + size(l * count) * to_bytes;
      scales[l] = reinterpret_cast<float*>(scratch + plan_.scratch_scales) + l * count;
    } else {
      const Node& next = plan_.nodes[i + 1];
      to[l] = pixel(next, first_line + l, x);
      if (plan_.precision == Precision::kInt8) scales[l] = scale(next, first_line + l, x);
    }
  }

  // The tails write f32 or bf16; upsampling alone writes f32.
  const bool upsampled = node.kind == Node::Kind::kUpsample;
  const bool direct = plan_.precision == Precision::kF32 || (plan_.precision == Precision::kBf16 && !upsampled);
  std::byte* written[2] = {to[0], to[1]};
  if (!direct) {
    for (int l = 0; l < lines; ++l) written[l] = scratch + size(l * count) * f32_bytes;
  }
  const bool bf16 = direct && plan_.precision == Precision::kBf16;
  const float* bias = at<float>(plan_.biases) + size(node.stage) * padded_columns(channels);
  if (upsampled) {
    upsample_block(node, block.row, x, count, reinterpret_cast<float*>(written[0]));
  } else if (commuted) {
    const int row = block.row;
    CommutedTail tail;
    tail.before_even = even_line(node, std::max(row - 1, 0));
    tail.before_odd = odd_line(node, row - 1);
    tail.even = even_line(node, row);
    tail.odd = odd_line(node, row);
    tail.after_even = even_line(node, std::min(row + 1, node.height - 1));
    if (row == 0) tail.first = even_line(node, -1);
    if (row + 1 == node.height) tail.last = even_line(node, node.height);
    tail.width = node.width;
    tail.channels = channels;
    tail.bias = bias;
    tail.bf16 = bf16;
    tail.upper = written[0];
    tail.lower = written[1];
    tail.stride = direct ? to_bytes : f32_bytes;
    kernels_.commuted_tail(tail, block.begin, block.end);
  } else {
    ConvTail tail;
    tail.sums = sum_line(node, block.row % node.step);
    tail.width = node.width;
    tail.channels = channels;
    tail.bias = bias;
    tail.bf16 = bf16;
    tail.to = written[0];
    tail.stride = direct ? to_bytes : f32_bytes;
    kernels_.conv_tail(tail, block.begin, block.end);
  }
  if (!direct) {
    for (int l = 0; l < lines; ++l) {
      if (plan_.precision == Precision::kInt8) {
        kernels_.quantize_rows(written[l], false, f32_bytes, size(count), channels,
                               reinterpret_cast<std::uint8_t*>(to[l]), to_bytes, scales[l]);
      } else {
        kernels_.to_bf16(reinterpret_cast<const float*>(written[l]), f32_bytes, size(count), channels,
                         reinterpret_cast<std::uint16_t*>(to[l]), to_bytes);
      }
    }
  }
  if (final_node) last_block({first_line, x, x + count}, lines, worker);
}

void HeadRun::upsample_block(const Node& node, int row, int x, int count, float* to) const {
  UpsampleRow u;
  const int lower = row == 0 ? 0 : (row - 1) / 2;
  const int upper = std::min(lower + (row == 0 ? 0 : 1), node.height - 1);
  u.precision = plan_.precision;
  u.a = pixel(node, lower, 0);
  u.b = pixel(node, upper, 0);
  if (plan_.precision == Precision::kInt8) {
    u.a_scale = scale(node, lower, 0);
    u.b_scale = scale(node, upper, 0);
  }
  u.fraction = row == 0 ? 0.0F : row % 2 == 0 ? 0.75F : 0.25F;
  u.stride = node.pixel_bytes;
  u.width = node.width;
  u.channels = padded_columns(node.channels);
  u.to = to;
  u.to_stride = head_pixel_bytes(node.channels, Precision::kF32);
  kernels_.upsample_row(u, x, x + count);
}

/// The 1×1 convolution of `lines` rows of block.end − block.begin pixels in the scratch, into lines of planes.
void HeadRun::last_block(const Block& block, int lines, std::size_t worker) {
  std::byte* scratch = at<std::byte>(plan_.scratch) + worker * plan_.scratch_bytes;
  auto* sums = reinterpret_cast<float*>(scratch + plan_.scratch_last);
  const std::size_t outputs = weights_->outputs;
  const std::size_t columns = padded_columns(outputs);
  const std::size_t count = size(block.end - block.begin);
  Gemm g;
  g.precision = plan_.precision;
  g.m = size(lines) * count;
  g.n = outputs;
  g.a.base = scratch + plan_.scratch_pixels;
  g.a.stride = head_pixel_bytes(plan_.shape.channels, plan_.precision);
  g.a.segment_k = plan_.shape.channels;
  g.a.scale = reinterpret_cast<const float*>(scratch + plan_.scratch_scales);
  g.b = weights_->last;
  g.out.bias = weights_->last_bias;
  g.out.c = sums;
  g.out.stride = columns * sizeof(float);
  kernels_.gemm(g, 0, g.m, 0, panels(outputs));
  for (int l = 0; l < lines; ++l) {
    for (std::size_t c = 0; c < outputs; ++c) {
      float* line = last_line(block.row + l, c) + block.begin;
      const float* from = sums + size(l) * count * columns + c;
      for (std::size_t x = 0; x < count; ++x) line[x] = from[x * columns];
    }
  }
}

/// The 1×1 convolution's lines below `lines` exist: write what they allow.
void HeadRun::output(int lines) {
  const int doubled = lines == plan_.last_height ? 2 * lines : 2 * lines - 1;
  int to = doubled;
  if (plan_.doubled != HeadPlan::kNone) {
    const std::size_t outputs = weights_->outputs;
    team_.run(size(doubled - doubled_), [&](std::size_t item, std::size_t worker) {
      const int y = doubled_ + static_cast<int>(item);
      for (std::size_t c = 0; c < outputs; ++c) double_line(y, c, scratch_line(worker, 0), doubled_line(y, c));
    });
    doubled_ = doubled;
    to = written_;
    while (to < final_y_.out() && final_y_.taps[size(to)].upper < doubled_) ++to;
  }
  team_.run(size(to - written_),
            [&](std::size_t item, std::size_t worker) { output_line(written_ + static_cast<int>(item), worker); });
  written_ = to;
}

float* HeadRun::scratch_line(std::size_t worker, std::size_t which) const {
  std::byte* scratch = at<std::byte>(plan_.scratch) + worker * plan_.scratch_bytes;
  return reinterpret_cast<float*>(scratch + plan_.scratch_lines) + which * plan_.line_floats;
}

void HeadRun::output_line(int y, std::size_t worker) {
  const std::size_t width = size(plan_.shape.width);
  float* temporary = scratch_line(worker, 0);
  if (out_.planes != nullptr) {
    for (std::size_t c = 0; c < weights_->outputs; ++c) {
      sample_line(y, c, temporary, out_.planes + (c * size(plan_.shape.height) + size(y)) * width);
    }
    return;
  }
  float* value = scratch_line(worker, 1);
  float* best = scratch_line(worker, 2);
  float* winner = scratch_line(worker, 3);
  for (std::size_t c = 0; c < weights_->outputs; ++c) {
    sample_line(y, c, temporary, value);
    kernels_.argmax_line(value, width, c, best, winner);
  }
  std::uint8_t* to = out_.classes + size(y) * width;
  for (std::size_t x = 0; x < width; ++x) to[x] = static_cast<std::uint8_t>(winner[x]);
}

void HeadRun::double_line(int y, std::size_t c, float* temporary, float* to) const {
  const int lower = y == 0 ? 0 : (y - 1) / 2;
  const int upper = y == 0 ? 0 : std::min(lower + 1, plan_.last_height - 1);
  kernels_.double_line(last_line(lower, c), last_line(upper, c), y % 2 == 0 ? 0.75F : 0.25F, plan_.last_width,
                       temporary, to);
}

void HeadRun::sample_line(int y, std::size_t c, float* temporary, float* to) const {
  if (plan_.doubled == HeadPlan::kNone) {
    double_line(y, c, temporary, to);
    return;
  }
  const ResampleAxis::Tap tap = final_y_.taps[size(y)];
  const float* a = doubled_line(tap.lower, c);
  const float* b = doubled_line(tap.upper, c);
  const float keep = 1 - tap.fraction;
  for (std::size_t x = 0; x < size(final_x_.in); ++x) temporary[x] = keep * a[x] + tap.fraction * b[x];
  for (const ResampleAxis::Tap& u : final_x_.taps) {
    *to++ = (1 - u.fraction) * temporary[u.lower] + u.fraction * temporary[u.upper];
  }
}

}  // namespace m3vit
