#include "runtime/head_plan.h"

#include <algorithm>
#include <string>

namespace m3vit {
namespace {

std::size_t size(int n) { return static_cast<std::size_t>(n); }

// Multiply-adds of a step worth waking a team for.
constexpr double kStepWork = 48e6;
constexpr int kMostLines = 8;

using Node = HeadPlan::Node;

/// Lines before the newest that a node still reads.
int kept_lines(Node::Kind kind) { return kind == Node::Kind::kConv ? 2 : 1; }

int lines_by_work(const Node& node, std::size_t channels, const HeadOptions& options) {
  if (options.lines > 0) return options.lines;
  const double line = 9.0 * node.width * static_cast<double>(node.channels * channels);
  return std::clamp(static_cast<int>(kStepWork / line + 0.5), 1, kMostLines);
}

class Builder {
 public:
  Builder(HeadPlan& plan, Planner& planner, int first, int last)
      : plan_(plan), planner_(planner), first_(first), last_(last) {}
  std::size_t add(const std::string& name, std::size_t bytes) {
    const std::size_t id = planner_.add("head." + name, bytes, first_, last_);
    plan_.bytes += planner_.buffers()[id].bytes;
    return id;
  }

 private:
  HeadPlan& plan_;
  Planner& planner_;
  int first_, last_;
};

}  // namespace

HeadPlan::HeadPlan(const HeadShape& of, const HeadOptions& options, int threads, Planner& planner, int first,
                   int last_step)
    : shape(of),
      form(options.form == HeadForm::kAuto ? HeadForm::kCommuted : options.form),
      precision(options.precision) {
  int height = of.grid_h;
  int width = of.grid_w;
  for (int s = 0; s < of.stages; ++s) {
    const std::size_t channels = s == 0 ? of.dim : of.channels;
    const auto add_node = [&](Node::Kind kind) {
      Node node;
      node.kind = kind;
      node.stage = s;
      node.height = height;
      node.width = width;
      node.channels = channels;
      node.step = lines_by_work(node, of.channels, options);
      node.pixel_bytes = head_pixel_bytes(channels, precision);
      height = node.out_height();
      width = node.out_width();
      nodes.push_back(node);
    };
    if (s == 0) {
      add_node(Node::Kind::kConv);
    } else if (form == HeadForm::kDirect) {
      add_node(Node::Kind::kUpsample);
      add_node(Node::Kind::kConv);
    } else {
      add_node(Node::Kind::kUpsampleConv);
    }
  }
  last_height = height;
  last_width = width;

  Builder build(*this, planner, first, last_step);
  const std::size_t out_panels = panels(of.channels);
  int arriving = nodes.front().step;  // lines that the producer hands on at once
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    Node& node = nodes[i];
    const std::string name = std::to_string(node.stage) + (node.kind == Node::Kind::kUpsample ? ".up" : "");
    node.ring = std::min(arriving + kept_lines(node.kind), node.height);
    const std::size_t pixels = size(node.ring) * size(node.width);
    node.input = build.add("lines" + name, pixels * node.pixel_bytes);
    if (precision == Precision::kInt8) node.scales = build.add("scales" + name, pixels * sizeof(float));
    arriving = node.kind == Node::Kind::kConv ? node.step : 2 * node.step;
    const std::size_t w = size(node.width);
    if (node.kind == Node::Kind::kConv) {
      node.sum_lines = node.step;
      node.sum_floats = out_panels * w * kPanel;
      node.taps = build.add("taps" + name, size(node.step) * 9 * w * sizeof(std::int32_t));
    } else if (node.kind == Node::Kind::kUpsampleConv) {
      node.sum_lines = 2 * node.step + 3;
      node.sum_floats = out_panels * commuted_columns(node.width) * kPanel;
      node.taps = build.add("taps" + name, size(node.step + 2) * (9 * w + 18) * sizeof(std::int32_t));
    }
    if (node.sum_lines > 0) {
      node.sums = build.add("products" + name, size(node.sum_lines) * node.sum_floats * sizeof(float));
    }
  }
  std::size_t rows_bytes = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    if (node.kind == Node::Kind::kUpsample || (precision != Precision::kInt8 && i + 1 < nodes.size())) continue;
    const bool doubles = node.kind == Node::Kind::kUpsampleConv;
    rows_bytes = std::max(rows_bytes, size((doubles ? 2 : 1) * node.step) * size(node.out_width()) *
                                          head_pixel_bytes(of.channels, written_precision()));
  }
  rows = build.add("rows", rows_bytes);
  zeros = build.add("border", head_pixel_bytes(std::max(of.dim, of.channels), precision));
  biases = build.add("biases", size(of.stages) * padded_columns(of.channels) * sizeof(float));
  const std::size_t line = size(last_width) * of.outputs * sizeof(float);
  last_ring = std::min(arriving + 1, last_height);
  last = build.add("last", size(last_ring) * line);
  if (2 * last_height != of.height || 2 * last_width != of.width) {
    doubled_ring = std::min(2 * arriving + 2, 2 * last_height);
    doubled = build.add("doubled", size(doubled_ring) * 2 * line);
  }

  const std::size_t block = size(kHeadBlock);
  const auto aligned = [](std::size_t n) {
    return (n + Planner::kAlignment - 1) / Planner::kAlignment * Planner::kAlignment;
  };
  line_floats = aligned(sizeof(float) * size(std::max(2 * last_width, of.width) + 2)) / sizeof(float);
  scratch_pixels = aligned(block * head_pixel_bytes(of.channels, Precision::kF32));
  scratch_scales = scratch_pixels + aligned(block * head_pixel_bytes(of.channels, precision));
  scratch_last = scratch_scales + aligned(block * sizeof(float));
  scratch_lines = scratch_last + aligned(block * padded_columns(of.outputs) * sizeof(float));
  scratch_bytes = scratch_lines + 4 * line_floats * sizeof(float);
  scratch = build.add("scratch", size(threads) * scratch_bytes);
}

}  // namespace m3vit
