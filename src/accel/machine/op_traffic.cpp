#include "accel/machine/op_traffic.h"

#include "accel/compiler/program_builder.h"

namespace m3vit::accel {
namespace {

using u64 = std::uint64_t;

/// Rows that a convolution's zero words replace: taps outside the map, of `rows` pixels from line `first` on.
std::int64_t taps_outside(const GemmOp& op) {
  std::int64_t zeros = 0;
  for (std::int64_t r = 0; r < op.rows; ++r) {
    const std::int64_t y = op.dst_row + r / op.width;
    const std::int64_t x = r % op.width;
    const int lines = 3 - (y == 0 ? 1 : 0) - (y + 1 == op.height ? 1 : 0);
    const int pixels = 3 - (x == 0 ? 1 : 0) - (x + 1 == op.width ? 1 : 0);
    zeros += 9 - lines * pixels;
  }
  return zeros;
}

class Counter {
 public:
  Counter(const Array& array, Timeline& t) : a_(array), t_(t), w_(static_cast<u64>(array.width)) {}

  void steps(std::int64_t rows, std::int64_t per_pair) {
    const std::int64_t pairs = (rows + 1) / 2;
    t_.array_cycles += static_cast<double>(pairs * per_pair);
    t_.macs += static_cast<double>(rows * per_pair) * static_cast<double>(w_ * w_);
    t_.weight_read += static_cast<u64>(pairs * per_pair) * w_ * w_;
    t_.row_read += static_cast<u64>(pairs * per_pair) * 2 * w_;
  }
  void fetched(std::int64_t words) { t_.row_written += static_cast<u64>(words) * w_; }
  void act_read(std::int64_t words) { t_.act_read += static_cast<u64>(words) * w_; }
  void act_written(std::int64_t words) { t_.act_written += static_cast<u64>(words) * w_; }
  void res_read(std::int64_t words) { t_.res_read += static_cast<u64>(words) * 2 * w_; }
  void res_written(std::int64_t words) { t_.res_written += static_cast<u64>(words) * 2 * w_; }

  void operator()(const EndOp& /*op*/) {}
  void operator()(const LoadExpertsOp& /*op*/) {}
  void operator()(const ExpertsOp& /*op*/) {}
  void operator()(const TileOp& op) {
    t_.weight_bytes += static_cast<u64>(tile_beats(a_, op.words, op.blocks)) * 64;
    t_.weight_written += op.words * w_ * w_;
  }
  void operator()(const CopyInOp& op) {
    t_.data_bytes += static_cast<u64>(copy_shape(op.space, op.words, a_).beats) * 64;
    if (static_cast<Space>(op.space) == Space::kAct) act_written(op.words);
    if (static_cast<Space>(op.space) == Space::kRes) res_written(op.words);
  }
  void operator()(const CopyOutOp& op) {
    t_.written_bytes += static_cast<u64>(copy_shape(op.space, op.words, a_).beats) * 64;
    if (static_cast<Space>(op.space) == Space::kAct) act_read(op.words);
    if (static_cast<Space>(op.space) == Space::kRes) res_read(op.words);
  }
  void operator()(const GemmOp& op) {
    steps(op.rows, std::int64_t{op.row_words} * op.blocks);
    const std::int64_t words = std::int64_t{op.rows} * op.row_words;
    fetched(words);
    act_read(op.conv != 0 ? words - taps_outside(op) * op.row_words / 9 : words);
    const std::int64_t out = std::int64_t{op.rows} * op.blocks;
    switch (static_cast<Dst>(op.dst)) {
      case Dst::kAct:
        act_written(op.kv != 0 ? std::int64_t{op.rows} * std::min(op.k_block, op.blocks) : out);
        break;
      case Dst::kResAdd:
        res_read(out);
        res_written(out);
        break;
      case Dst::kResSet:
        res_written(out);
    }
  }
  void operator()(const AttendOp& op) {
    steps(op.rows, 2 * std::int64_t{op.key_blocks} * op.head_words);
    const std::int64_t words = std::int64_t{op.rows} * op.head_words;
    fetched(words);
    act_read(words);
    act_written(words);
  }
  void operator()(const RouteOp& op) {
    steps(op.rows, std::int64_t{op.row_words} * op.blocks);
    fetched(std::int64_t{op.rows} * op.row_words);
    act_read(std::int64_t{op.rows} * op.row_words);
  }
  void operator()(const NormOp& op) {
    res_read(2 * std::int64_t{op.rows} * op.words);
    act_written(std::int64_t{op.rows} * op.words);
  }
  void operator()(const UpsampleOp& op) {
    const std::int64_t words = std::int64_t{op.rows} * 2 * op.width * op.words;
    act_read(4 * words);
    act_written(words);
  }

 private:
  const Array& a_;
  Timeline& t_;
  u64 w_;
};

}  // namespace

void count_op(const AnyOp& op, const Array& array, Timeline& t) { std::visit(Counter(array, t), op); }

void count_expert_pass(std::int64_t rows, std::int64_t words, std::int64_t blocks, bool second, const Array& array,
                       Timeline& t) {
  Counter counter(array, t);
  counter.steps(rows, words * blocks);
  counter.fetched(rows * words);
  counter.act_read(rows * words);
  if (second) {
    counter.res_read(rows * blocks);
    counter.res_written(rows * blocks);
  } else {
    counter.act_written(rows * blocks);
  }
}

std::int64_t tile_beats(const Array& array, std::int64_t words, std::int64_t blocks) {
  return blocks * array.width / 8 + words * array.width * array.width / Array::kBeatBytes;
}

CopyShape copy_shape(std::uint32_t space, std::int64_t words, const Array& array) {
  CopyShape s;
  switch (static_cast<Space>(space)) {
    case Space::kAct:
      s.pieces = Array::kBeatBytes / array.width;
      break;
    case Space::kRes:
      s.pieces = Array::kBeatBytes / (2 * array.width);
      break;
    case Space::kTable0:
    case Space::kTable1:
      s.pieces = Array::kBeatBytes;
      words = 256;
      break;
    case Space::kGateTable:
      s.pieces = Array::kBeatBytes / 2;
      words = 256;
      break;
    case Space::kNorm:  // beats as they are
      words *= array.width / 8;
  }
  s.beats = (words + s.pieces - 1) / s.pieces;
  s.last_pieces = words - (s.beats - 1) * s.pieces;
  return s;
}

}  // namespace m3vit::accel
