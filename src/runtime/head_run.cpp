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
  claimed_ = std::make_unique<std::atomic<bool>[]>(panels(plan.shape.channels));
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
    // Output lines that these complete.
    int first = std::max(line - 1, 0);
    int last = to - 1;
    if (node.kind == Node::Kind::kUpsample) {
      first = std::max(2 * line - 1, 0);
      last = std::min(2 * to - 1, 2 * node.height);
      upsample(i, first, last);
    } else if (node.kind == Node::Kind::kConv) {
      list_products(node, first, last);
      convolve(i, first, last);
    } else {
      list_commuted_products(node, line, to);
      convolve(i, first, last);
      first *= 2;
      last *= 2;
    }
    if (last <= first) continue;
    finish(i, first, last);
    if (i + 1 < plan_.nodes.size()) {
      feed(i + 1, first, last);
    } else {
      output(last);
    }
  }
}

void HeadRun::list_products(const Node& node, int begin, int end) {
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
}

void HeadRun::list_commuted_products(const Node& node, int begin, int end) {
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
}

/// A panel that nobody has taken, of those that this worker had in the last steps if there is one: their lines of
/// products lie in its cache.
std::size_t HeadRun::claim_panel(std::size_t worker) {
  const std::size_t all = panels(plan_.shape.channels);
  const auto stride = size(team_.threads());
  for (std::size_t p = worker; p < all; p += stride) {
    if (!claimed_[p].exchange(true, std::memory_order_relaxed)) return p;
  }
  std::size_t p = 0;
  while (claimed_[p].exchange(true, std::memory_order_relaxed)) ++p;  // as many calls as panels: one is left
  return p;
}

void HeadRun::convolve(std::size_t i, int begin, int end) {
  const Node& node = plan_.nodes[i];
  const std::size_t all = panels(plan_.shape.channels);
  if (all % size(team_.threads()) == 0 || all >= 4 * size(team_.threads())) {
    for (std::size_t p = 0; p < all; ++p) claimed_[p].store(false, std::memory_order_relaxed);
    team_.run(all, [&](std::size_t, std::size_t worker) {
      const std::size_t panel = claim_panel(worker);
      for (const Product& product : products_) multiply(node, product, panel);
      for (int row = begin; row < end; ++row) tail(i, row, panel, 0, node.width);
    });
    return;
  }
  // Few panels: the work is cut finer.
  team_.run(products_.size() * all,
            [&](std::size_t item, std::size_t) { multiply(node, products_[item / all], item % all); });
  const auto blocks = size((node.width + kHeadBlock - 1) / kHeadBlock);
  team_.run(size(end - begin) * all * blocks, [&](std::size_t item, std::size_t) {
    const int x = static_cast<int>(item % blocks) * kHeadBlock;
    tail(i, begin + static_cast<int>(item / blocks / all), item / blocks % all, x,
         std::min(x + kHeadBlock, node.width));
  });
}

void HeadRun::multiply(const Node& node, const Product& product, std::size_t panel) {
  const std::size_t columns = padded_columns(plan_.shape.channels);
  const std::size_t segment_bytes = groups(node.channels, plan_.precision) * kPanelLine;
  const Matrix& weights = weights_->conv[size(node.stage)];
  const bool commuted = node.kind == Node::Kind::kUpsampleConv;
  const std::size_t panel_floats = (commuted ? commuted_columns(node.width) : size(node.width)) * kPanel;
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
}

/// Whether node i's pixels need another pass: int8 is rounded by pixel, and the last ones go through the 1×1.
bool HeadRun::waits(std::size_t i) const { return plan_.precision == Precision::kInt8 || i + 1 == plan_.nodes.size(); }

/// Pixel 0 of an output line of node i, as its convolution leaves it.
std::byte* HeadRun::written_line(std::size_t i, int line) const {
  const Node& node = plan_.nodes[i];
  if (!waits(i)) return pixel(plan_.nodes[i + 1], line, 0);
  const int lines = (node.kind == Node::Kind::kUpsampleConv ? 2 : 1) * node.step;
  return at<std::byte>(plan_.rows) + size(line % lines) * size(node.out_width()) *
                                         head_pixel_bytes(plan_.shape.channels, plan_.written_precision());
}

void HeadRun::tail(std::size_t i, int row, std::size_t panel, int begin, int end) {
  const Node& node = plan_.nodes[i];
  const std::size_t columns = padded_columns(plan_.shape.channels);
  const float* bias = at<float>(plan_.biases) + size(node.stage) * columns;
  const bool bf16 = plan_.precision == Precision::kBf16;
  const std::size_t stride = head_pixel_bytes(plan_.shape.channels, plan_.written_precision());
  if (node.kind == Node::Kind::kConv) {
    ConvTail t;
    t.sums = sum_line(node, row % node.step);
    t.width = node.width;
    t.bias = bias;
    t.bf16 = bf16;
    t.to = written_line(i, row);
    t.stride = stride;
    kernels_.conv_tail(t, panel, begin, end);
    return;
  }
  CommutedTail t;
  t.before_even = even_line(node, std::max(row - 1, 0));
  t.before_odd = odd_line(node, row - 1);
  t.even = even_line(node, row);
  t.odd = odd_line(node, row);
  t.after_even = even_line(node, std::min(row + 1, node.height - 1));
  if (row == 0) t.first = even_line(node, -1);
  if (row + 1 == node.height) t.last = even_line(node, node.height);
  t.width = node.width;
  t.bias = bias;
  t.bf16 = bf16;
  t.upper = written_line(i, 2 * row);
  t.lower = written_line(i, 2 * row + 1);
  t.stride = stride;
  kernels_.commuted_tail(t, panel, begin, end);
}

/// What a convolution's output lines [begin, end) still need: rounding to int8, the 1×1 convolution.
void HeadRun::finish(std::size_t i, int begin, int end) {
  const Node& node = plan_.nodes[i];
  if (node.kind == Node::Kind::kUpsample || !waits(i)) return;
  const int width = node.out_width();
  const auto blocks = size((width + kHeadBlock - 1) / kHeadBlock);
  const std::size_t written_bytes = head_pixel_bytes(plan_.shape.channels, plan_.written_precision());
  const bool final_node = i + 1 == plan_.nodes.size();
  team_.run(size(end - begin) * blocks, [&](std::size_t item, std::size_t worker) {
    const int line = begin + static_cast<int>(item / blocks);
    const int x = static_cast<int>(item % blocks) * kHeadBlock;
    const int count = std::min(kHeadBlock, width - x);
    const std::byte* from = written_line(i, line) + size(x) * written_bytes;
    if (plan_.precision != Precision::kInt8) {
      last_block(from, line, x, count, worker);
      return;
    }
    std::byte* scratch = at<std::byte>(plan_.scratch) + worker * plan_.scratch_bytes;
    std::byte* to = final_node ? scratch + plan_.scratch_pixels : pixel(plan_.nodes[i + 1], line, x);
    float* scales =
        final_node ? reinterpret_cast<float*>(scratch + plan_.scratch_scales) : scale(plan_.nodes[i + 1], line, x);
    kernels_.quantize_rows(from, false, written_bytes, size(count), plan_.shape.channels,
                           reinterpret_cast<std::uint8_t*>(to), head_pixel_bytes(plan_.shape.channels, plan_.precision),
                           scales);
    if (final_node) last_block(to, line, x, count, worker);
  });
}

/// Lines [begin, end) of a map twice as large.
void HeadRun::upsample(std::size_t i, int begin, int end) {
  const Node& node = plan_.nodes[i];
  const Node& next = plan_.nodes[i + 1];
  const auto blocks = size((next.width + kHeadBlock - 1) / kHeadBlock);
  const std::size_t f32_bytes = head_pixel_bytes(node.channels, Precision::kF32);
  team_.run(size(end - begin) * blocks, [&](std::size_t item, std::size_t worker) {
    const int line = begin + static_cast<int>(item / blocks);
    const int x = static_cast<int>(item % blocks) * kHeadBlock;
    const int count = std::min(kHeadBlock, next.width - x);
    std::byte* to = pixel(next, line, x);
    if (plan_.precision == Precision::kF32) {
      upsample_block(node, line, x, count, reinterpret_cast<float*>(to));
      return;
    }
    auto* wide = reinterpret_cast<float*>(at<std::byte>(plan_.scratch) + worker * plan_.scratch_bytes);
    upsample_block(node, line, x, count, wide);
    if (plan_.precision == Precision::kInt8) {
      kernels_.quantize_rows(wide, false, f32_bytes, size(count), node.channels, reinterpret_cast<std::uint8_t*>(to),
                             next.pixel_bytes, scale(next, line, x));
    } else {
      kernels_.to_bf16(wide, f32_bytes, size(count), node.channels, reinterpret_cast<std::uint16_t*>(to),
                       next.pixel_bytes);
    }
  });
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

/// The 1×1 convolution of pixels [x, x + count) of a line, into the planes' lines.
void HeadRun::last_block(const std::byte* pixels, int line, int x, int count, std::size_t worker) {
  std::byte* scratch = at<std::byte>(plan_.scratch) + worker * plan_.scratch_bytes;
  auto* sums = reinterpret_cast<float*>(scratch + plan_.scratch_last);
  const std::size_t outputs = weights_->outputs;
  const std::size_t columns = padded_columns(outputs);
  Gemm g;
  g.precision = plan_.precision;
  g.m = size(count);
  g.n = outputs;
  g.a.base = pixels;
  g.a.stride = head_pixel_bytes(plan_.shape.channels, plan_.precision);
  g.a.segment_k = plan_.shape.channels;
  g.a.scale = reinterpret_cast<const float*>(scratch + plan_.scratch_scales);
  g.b = weights_->last;
  g.out.bias = weights_->last_bias;
  g.out.c = sums;
  g.out.stride = columns * sizeof(float);
  kernels_.gemm(g, 0, g.m, 0, panels(outputs));
  for (std::size_t c = 0; c < outputs; ++c) {
    float* to = last_line(line, c) + x;
    for (std::size_t j = 0; j < size(count); ++j) to[j] = sums[j * columns + c];
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
  float* value = scratch_line(worker, 1);
  if (out_.planes != nullptr) {
    for (std::size_t c = 0; c < weights_->outputs; ++c) {
      sample_line(y, c, temporary, value);
      kernels_.stream_line(value, width, out_.planes + (c * size(plan_.shape.height) + size(y)) * width);
    }
    return;
  }
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
