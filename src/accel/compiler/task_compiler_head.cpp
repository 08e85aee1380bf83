#include <algorithm>
#include <cassert>

#include "accel/compiler/task_compiler.h"

namespace m3vit::accel {
namespace {

std::uint32_t u(int n) {
  assert(n >= 0);
  return static_cast<std::uint32_t>(n);
}

std::size_t padded(std::size_t bytes) {
  return (bytes + Array::kBeatBytes - 1) / Array::kBeatBytes * Array::kBeatBytes;
}

/// Lines [first, last) of the map before ×2 that lines [from, to) after it are made of.
struct Lines {
  int first, last;
};
Lines sources(int from, int to, int source_height) {
  return {std::max(0, from % 2 == 0 ? from / 2 - 1 : from / 2),
          std::min(source_height, (to - 1) / 2 + (to - 1) % 2 + 1)};
}

}  // namespace

/// Stage s > 0 reads its input map from DDR strip by strip, doubles and convolves it; stage 0 has it whole on chip. Its
/// output goes to DDR, the last one's through the 1×1 convolution.
struct TaskCompiler::Stage {
  int number = 0;
  bool last = false;
  int height = 0, width = 0;                 ///< of the output
  int in_words = 0, words = 0, outputs = 0;  ///< a pixel of the input, of the output, of the head's result
  int rows = 0;                              ///< lines of a strip
  int sets = 0;                              ///< of buffers: 2 where they fit, so that strips overlap
  int base = 0;                              ///< of the first set in the activation memory
  int set_words = 0, doubled = 0, out = 0;   ///< a set's size; offsets of its doubled lines and its output
  int res_words = 0;                         ///< a set's part of the residual memory
  bool resident = false;                     ///< all weights of the stage fit at once
  std::optional<TileOp> conv_tile{}, last_tile{};
  std::uint32_t input = 0, output = 0;  ///< maps in DDR

  int source_rows(int strip) const { return number == 0 ? 0 : std::min(height / 2, (strip + 1) / 2 + 2); }
  int doubled_rows(int strip) const { return number == 0 ? 0 : std::min(height, strip + 2); }
  int words_of(int strip) const {
    return source_rows(strip) * (width / 2) * in_words + doubled_rows(strip) * width * in_words + strip * width * words;
  }
};

void TaskCompiler::head() {
  const QHead& head = model_.heads.at(task_);
  const std::string name = "head." + model_.config.tasks[static_cast<std::size_t>(task_)].name + ".";
  const int map = (tokens_ - 1) * dim_;
  norm({name + "norm", &head.norm, {}}, 1, u(tokens_ - 1), 0, {});
  used_.act_words = std::max(used_.act_words, map);
  for (int s = 0; s < static_cast<int>(head.convs.size()); ++s) {
    run_stage(head, plan_stage(head, s, m_.grid_h() << s, m_.grid_w() << s));
  }
}

TaskCompiler::Stage TaskCompiler::plan_stage(const QHead& head, int s, int height, int width) const {
  Stage stage;
  stage.number = s;
  stage.last = s + 1 == static_cast<int>(head.convs.size());
  stage.height = height;
  stage.width = width;
  stage.in_words = s == 0 ? dim_ : a_.words(m_.head.channels);
  stage.words = a_.words(m_.head.channels);
  stage.outputs = a_.words(head.last.out);
  stage.base = s == 0 ? height * width * dim_ : 0;
  const auto fits = [&](int rows, int sets) {
    return stage.base + sets * stage.words_of(rows) <= a_.act_words && rows * width < 65536 &&
           (!stage.last || sets * rows * width * stage.outputs <= a_.res_words);
  };
  for (stage.sets = 2; stage.sets >= 1; --stage.sets) {
    for (stage.rows = height; stage.rows > 1 && !fits(stage.rows, stage.sets); stage.rows = (stage.rows - 1) / 2 * 2) {
    }
    stage.rows = std::max(stage.rows, 1);
    if (fits(stage.rows, stage.sets)) break;
  }
  const std::string name = "a strip of stage " + std::to_string(s) + " of the head";
  if (stage.sets == 0) {
    if (stage.last) need(name, "residual memory", width * stage.outputs, a_.res_words);
    refuse(name, "activation memory", stage.base + stage.words_of(1), a_.act_words);
  }
  stage.set_words = stage.words_of(stage.rows);
  stage.doubled = stage.source_rows(stage.rows) * (width / 2) * stage.in_words;
  stage.out = stage.doubled + stage.doubled_rows(stage.rows) * width * stage.in_words;
  stage.res_words = stage.rows * width * stage.outputs;
  return stage;
}

void TaskCompiler::run_stage(const QHead& head, const Stage& planned) {
  Stage stage = planned;
  const auto s = static_cast<std::size_t>(stage.number);
  const std::string task = model_.config.tasks[static_cast<std::size_t>(task_)].name;
  const std::string name = "head." + task + ".";
  const TileParts conv{{&head.convs[s]}, 9};
  const TileParts last{{&head.last}, 1};
  const auto bytes = [&](int words, int word_bytes) {
    return padded(static_cast<std::size_t>(words * word_bytes)) * static_cast<std::size_t>(stage.height);
  };
  if (s > 0) stage.input = image_.reserve("map." + std::to_string(s - 1), 0);
  if (stage.last) {
    stage.output = output_ = image_.reserve("output." + task, bytes(stage.width * stage.outputs, 2 * a_.width));
    output_pitch_ = padded(static_cast<std::size_t>(stage.width * stage.outputs * 2 * a_.width));
  } else {
    stage.output = image_.reserve("map." + std::to_string(s), bytes(stage.width * stage.words, a_.width));
  }

  const int words = conv.blocks(a_) * conv.row_words(a_) + (stage.last ? last.blocks(a_) * last.row_words(a_) : 0);
  const int params = conv.blocks(a_) + (stage.last ? last.blocks(a_) : 0);
  stage.resident = words <= a_.weight_words && params <= a_.param_words;
  const bool half = words <= a_.weight_words / 2 && params <= a_.param_words / 2 && s % 2 == 1;
  weights_ = Ring(0, a_.weight_words);  // keys and values are done with
  params_ = Ring(0, a_.param_words);
  if (half) {  // beside the stage before
    weights_.restart(a_.weight_words / 2);
    params_.restart(a_.param_words / 2);
  }
  if (stage.resident) {
    stage.conv_tile = load_tile(name + "conv" + std::to_string(s), conv, 0, conv.blocks(a_));
    if (stage.last) stage.last_tile = load_tile(name + "last", last, 0, last.blocks(a_));
  }
  used_.act_words = std::max(used_.act_words, stage.base + stage.sets * stage.set_words);
  if (stage.last) used_.res_words = std::max(used_.res_words, stage.sets * stage.res_words);
  for (int first = 0, set = 0; first < stage.height; first += stage.rows, set = (set + 1) % stage.sets) {
    run_strip(head, stage, first, set);
  }
}

void TaskCompiler::run_strip(const QHead& head, const Stage& stage, int first, int set) {
  const auto s = static_cast<std::size_t>(stage.number);
  const std::string name = "head." + model_.config.tasks[static_cast<std::size_t>(task_)].name + ".";
  const int rows = std::min(stage.rows, stage.height - first);
  const int base = stage.base + set * stage.set_words;
  GemmOp conv;
  conv.conv = 1;
  conv.act = static_cast<std::uint32_t>(Act::kRelu);
  conv.rows = u(rows * stage.width);
  conv.src_stride = u(stage.in_words);
  conv.dst_address = u(base + stage.out);
  conv.dst_stride = u(stage.words);
  conv.width = u(stage.width);
  conv.height = u(stage.height);
  conv.dst_row = u(first);
  if (s > 0) {
    const int from = std::max(0, first - 1);
    const int to = std::min(stage.height, first + rows + 1);
    const Lines source = sources(from, to, stage.height / 2);
    const int row_words = stage.width / 2 * stage.in_words;
    CopyInOp load;
    load.space = static_cast<std::uint32_t>(Space::kAct);
    load.ddr = stage.input +
               u(source.first) *
                   u(static_cast<int>(padded(static_cast<std::size_t>(row_words * a_.width)) / Array::kBeatBytes));
    load.dst = u(base);
    copy_rows(load, &CopyInOp::dst, row_words, a_.width, source.last - source.first);
    UpsampleOp up;
    up.rows = u(to - from);
    up.words = u(stage.in_words);
    up.width = u(stage.width / 2);
    up.height = u(stage.height / 2);
    up.src = u(base);
    up.dst_address = u(base + stage.doubled);
    up.src_row = u(source.first);
    up.dst_row = u(from);
    program_.emit(up);
    conv.src = up.dst_address;
    conv.src_row = u(from);
  }
  const auto pass = [&](const std::string& what, const TileParts& parts, GemmOp op, const std::optional<TileOp>& tile) {
    if (!tile) {
      linear(what, parts, op);
      return;
    }
    op.row_words = u(parts.row_words(a_));
    op.blocks = tile->blocks;
    op.weight = tile->weight;
    op.param = tile->param;
    program_.emit(op);
  };
  pass(name + "conv" + std::to_string(s), {{&head.convs[s]}, 9}, conv, stage.conv_tile);

  CopyOutOp store;
  if (!stage.last) {
    const int row_words = stage.width * stage.words;
    store.space = static_cast<std::uint32_t>(Space::kAct);
    store.ddr =
        stage.output +
        u(first) * u(static_cast<int>(padded(static_cast<std::size_t>(row_words * a_.width)) / Array::kBeatBytes));
    store.src = conv.dst_address;
    copy_rows(store, &CopyOutOp::src, row_words, a_.width, rows);
    return;
  }
  GemmOp last;
  last.dst = static_cast<std::uint32_t>(Dst::kResSet);
  last.rows = conv.rows;
  last.src = conv.dst_address;
  last.src_stride = u(stage.words);
  last.dst_address = u(set * stage.res_words);
  last.dst_stride = u(stage.outputs);
  pass(name + "last", {{&head.last}, 1}, last, stage.last_tile);
  store.space = static_cast<std::uint32_t>(Space::kRes);
  store.ddr = stage.output + u(first) * u(static_cast<int>(output_pitch_ / Array::kBeatBytes));
  store.src = last.dst_address;
  copy_rows(store, &CopyOutOp::src, stage.width * stage.outputs, 2 * a_.width, rows);
}

template <class Op>
void TaskCompiler::copy_rows(Op op, std::uint32_t Op::*memory, int row_words, int word_bytes, int rows) {
  const int bytes = row_words * word_bytes;
  if (bytes % Array::kBeatBytes == 0) {  // rows without gaps
    op.words = u(row_words * rows);
    program_.emit(op);
    return;
  }
  for (int r = 0; r < rows; ++r) {
    Op row = op;
    row.words = u(row_words);
    row.*memory += u(r * row_words);
    row.ddr += u(r) * u(static_cast<int>(padded(static_cast<std::size_t>(bytes)) / Array::kBeatBytes));
    program_.emit(row);
  }
}

}  // namespace m3vit::accel
