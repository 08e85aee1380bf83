#include "accel/compiler/program_builder.h"

#include <algorithm>
#include <cassert>

namespace m3vit::accel {
namespace {

std::uint64_t units(std::uint64_t bytes) { return (bytes + Array::kBeatBytes - 1) / Array::kBeatBytes; }

/// Bytes of a word of COPY_IN's and COPY_OUT's spaces.
std::uint64_t word_bytes(Space space, const Array& array) {
  const auto w = static_cast<std::uint64_t>(array.width);
  switch (space) {
    case Space::kAct:
      return w;
    case Space::kRes:
      return 2 * w;
    case Space::kNorm:
      return 8 * w;
    case Space::kGateTable:
      return 512;
    case Space::kTable0:
    case Space::kTable1:
      return 256;
  }
  return 0;
}

class Collector {
 public:
  Collector(const Array& array, std::uint32_t tokens) : array_(array), tokens_(tokens) {}

  void operator()(const EndOp& /*op*/) {}
  void operator()(const TileOp& op) {
    const auto w = static_cast<std::uint64_t>(array_.width);
    const std::uint64_t bytes = units(8 * w * op.blocks) + units(w * w * op.words);
    add(Memory::kDdr, op.ddr, bytes, false);
    add(Memory::kWeights, op.weight, op.words, true);
    add(Memory::kParams, op.param, op.blocks, true);
  }
  void operator()(const CopyInOp& op) {
    const auto space = static_cast<Space>(op.space);
    add(Memory::kDdr, op.ddr, units(op.words * word_bytes(space, array_)), false);
    add(memory_of(space), op.dst + table_number(space), op.words, true);
  }
  void operator()(const LoadExpertsOp& op) {
    add(Memory::kLists, 0, 1, false);
    add(Memory::kWeights, op.weight, std::uint64_t{op.slots} * op.slot_words, true);
    add(Memory::kParams, op.param, std::uint64_t{op.slots} * op.slot_params, true);
  }
  void operator()(const GemmOp& op) {
    if (op.conv != 0) {
      const std::uint64_t first = op.dst_row == 0 ? 0 : op.dst_row - 1;
      const std::uint64_t last =
          std::min<std::uint64_t>(op.height, op.dst_row + (op.rows - 1) / std::max(op.width, 1U) + 2);
      add(Memory::kAct, op.src + (first - op.src_row) * op.width * op.src_stride,
          (last - first) * op.width * op.src_stride, false);
    } else {
      rows(Memory::kAct, op.src, op.rows, op.src_stride, op.row_words, false);
    }
    add(Memory::kWeights, op.weight, std::uint64_t{op.blocks} * op.row_words, false);
    add(Memory::kParams, op.param, op.blocks, false);
    if (op.act == 2) add(Memory::kTables, op.table, 1, false);
    if (op.kv != 0) {
      rows(Memory::kAct, op.dst_address, op.rows, op.dst_stride, std::min(op.k_block, op.blocks), true);
      const std::uint64_t n = std::uint64_t{op.key_blocks} * op.head_words;
      if (op.blocks > op.k_block && op.v_block > op.k_block) add(Memory::kWeights, op.key, n, true);
      if (op.blocks > op.v_block) add(Memory::kWeights, op.value, n, true);
    } else {
      rows(op.dst == 0 ? Memory::kAct : Memory::kRes, op.dst_address, op.rows, op.dst_stride, op.blocks, true);
    }
  }
  void operator()(const AttendOp& op) {
    const std::uint64_t n = std::uint64_t{op.key_blocks} * op.head_words;
    add(Memory::kWeights, op.key, n, false);
    add(Memory::kWeights, op.value, n, false);
    rows(Memory::kAct, op.src, op.rows, op.src_stride, op.head_words, false);
    rows(Memory::kAct, op.dst_address, op.rows, op.dst_stride, op.head_words, true);
  }
  void operator()(const RouteOp& op) {
    rows(Memory::kAct, op.src, op.rows, op.src_stride, op.row_words, false);
    add(Memory::kWeights, op.weight, std::uint64_t{op.blocks} * op.row_words, false);
    add(Memory::kParams, op.param, op.blocks, false);
    add(Memory::kTables, kGateTableNumber, 1, false);
    add(Memory::kLists, 0, 1, true);
  }
  void operator()(const ExpertsOp& op) {
    add(Memory::kLists, 0, 1, false);
    if (op.act == 2) add(Memory::kTables, op.table, 1, false);
    rows(Memory::kAct, op.src, tokens_, op.src_stride, op.row_words1, false);
    rows(Memory::kAct, op.hidden, tokens_, op.hidden_stride, op.blocks1, true);
    rows(Memory::kRes, op.res, tokens_, op.res_stride, op.blocks2, true);
  }
  void operator()(const NormOp& op) {
    rows(Memory::kRes, op.src, op.rows, op.src_stride, op.words, false);
    add(Memory::kNorm, op.param, op.words, false);
    rows(Memory::kAct, op.dst_address, op.rows, op.dst_stride, op.words, true);
  }
  void operator()(const UpsampleOp& op) {
    const std::uint64_t line = std::uint64_t{op.width} * op.words;
    // Rows up to one past the nearest of the last, from one before the nearest of the first.
    const std::uint64_t near_first = op.dst_row / 2;
    const std::uint64_t first = op.dst_row % 2 == 0 && near_first > 0 ? near_first - 1 : near_first;
    const std::uint64_t last_row = op.dst_row + op.rows - 1;
    const std::uint64_t last = std::min<std::uint64_t>(op.height - 1, last_row / 2 + last_row % 2);
    add(Memory::kAct, op.src + (first - op.src_row) * line, (last + 1 - first) * line, false);
    add(Memory::kAct, op.dst_address, op.rows * 2 * line, true);
  }
  void operator()(const CopyOutOp& op) {
    const auto space = static_cast<Space>(op.space);
    add(memory_of(space), op.src, op.words, false);
    add(Memory::kDdr, op.ddr, units(op.words * word_bytes(space, array_)), true);
  }

  std::vector<Access> take() { return std::move(touched_); }

 private:
  static constexpr std::uint64_t kGateTableNumber = 2;
  static std::uint64_t table_number(Space space) {
    return space == Space::kTable1 ? 1 : space == Space::kGateTable ? kGateTableNumber : 0;
  }
  static Memory memory_of(Space space) {
    switch (space) {
      case Space::kAct:
        return Memory::kAct;
      case Space::kRes:
        return Memory::kRes;
      case Space::kNorm:
        return Memory::kNorm;
      default:
        return Memory::kTables;
    }
  }
  void add(Memory memory, std::uint64_t begin, std::uint64_t words, bool write) {
    if (words > 0) touched_.push_back({memory, begin, begin + words, write});
  }
  void rows(Memory memory, std::uint64_t begin, std::uint64_t n, std::uint64_t stride, std::uint64_t words,
            bool write) {
    if (n > 0 && words > 0) add(memory, begin, (n - 1) * stride + words, write);
  }

  const Array& array_;
  std::uint32_t tokens_;
  std::vector<Access> touched_;
};

}  // namespace

std::vector<Access> accesses(const AnyOp& op, const Array& array, std::uint32_t tokens) {
  Collector collector(array, tokens);
  std::visit(collector, op);
  return collector.take();
}

std::uint32_t ProgramBuilder::emit(AnyOp op, std::optional<std::uint32_t> chase) {
  const std::vector<Access> touched = accesses(op, array_, 0);
  return append(op, touched, chase, {});
}

void ProgramBuilder::emit_experts(LoadExpertsOp load, ExpertsOp compute, std::uint32_t tokens) {
  const std::uint32_t partner = append(load, accesses(load, array_, tokens), {}, {});
  std::vector<Access> touched = accesses(compute, array_, tokens);
  // It reads the slots that its partner fills.
  touched.push_back({Memory::kWeights, load.weight, load.weight + std::uint64_t{load.slots} * load.slot_words, false});
  touched.push_back({Memory::kParams, load.param, load.param + std::uint64_t{load.slots} * load.slot_params, false});
  append(compute, touched, {}, partner);
}

std::uint32_t ProgramBuilder::append(AnyOp op, const std::vector<Access>& touched, std::optional<std::uint32_t> chase,
                                     std::optional<std::uint32_t> partner) {
  const Engine engine = *engine_of(op);
  const Engine chased = engine == Engine::kVec ? Engine::kGemm : Engine::kVec;
  Waits& wait = waits_of(op);
  bool follows = false;
  for (const Access& a : touched) {
    for (const Record& r : records_[static_cast<std::size_t>(a.memory)]) {
      if (r.engine == engine || (!r.write && !a.write) || r.end <= a.begin || a.end <= r.begin) continue;
      if (partner && r.engine == Engine::kLoad && r.index == *partner) continue;
      if (chase_ && chase && r.engine == chased && r.index == *chase && r.write && !a.write) {
        follows = true;
        continue;
      }
      std::uint32_t& w = wait[static_cast<std::size_t>(r.engine)];
      w = std::max(w, r.index + 1);
    }
  }
  if (!overlap_) {
    wait = count_;
    if (partner) wait[static_cast<std::size_t>(Engine::kLoad)] = *partner;
  }
  if (follows) {
    std::uint32_t& w = wait[static_cast<std::size_t>(chased)];
    if (w <= *chase) {
      w = *chase;
      std::visit(
          [](auto& o) {
            if constexpr (requires { o.chase; }) o.chase = 1;
          },
          op);
    }
  }
  const std::uint32_t index = count_[static_cast<std::size_t>(engine)]++;
  assert(index < 65535);
  for (const Access& a : touched) {
    std::vector<Record>& records = records_[static_cast<std::size_t>(a.memory)];
    // What a later op would wait for through this one need not be kept.
    std::erase_if(records, [&](const Record& r) {
      if (partner && r.engine == Engine::kLoad && r.index == *partner) return false;
      return a.begin <= r.begin && r.end <= a.end && (a.write || (r.engine == engine && !r.write));
    });
    records.push_back({a.begin, a.end, engine, index, a.write});
  }
  ops_.push_back(op);
  return index;
}

void ProgramBuilder::end() { ops_.emplace_back(EndOp{count_}); }

}  // namespace m3vit::accel
