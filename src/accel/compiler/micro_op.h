#pragma once
/// Micro-ops (docs/accelerator.md §5): each lists its fields once, with their bits; encoding, decoding, the check for
/// stray bits and the disassembler walk that list.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

namespace m3vit::accel {

/// Sixteen 32-bit words, little-endian in DDR.
using MicroOp = std::array<std::uint32_t, 16>;

enum class Engine : std::uint8_t { kLoad, kGemm, kVec, kStore };
inline constexpr std::size_t kEngines = 4;

/// An op starts when each engine has completed this many ops.
using Waits = std::array<std::uint32_t, kEngines>;

// In every `visit`: v(name, field, word, lowest bit, bits).

struct EndOp {
  static constexpr std::uint32_t kOpcode = 0x00;
  static constexpr const char* kName = "END";
  Waits wait{};
  template <class Self, class V>
  static void visit(Self& /*o*/, V&& /*v*/) {}
};

struct TileOp {
  static constexpr std::uint32_t kOpcode = 0x10;
  static constexpr const char* kName = "TILE";
  Waits wait{};
  std::uint32_t ddr = 0, words = 0, blocks = 0, weight = 0, param = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("ddr", o.ddr, 3, 0, 32);
    v("words", o.words, 4, 0, 16);
    v("blocks", o.blocks, 4, 16, 16);
    v("weight", o.weight, 5, 0, 16);
    v("param", o.param, 5, 16, 16);
  }
};

/// `space` of COPY_IN and COPY_OUT.
enum class Space : std::uint32_t { kAct, kRes, kTable0, kTable1, kGateTable, kNorm };

struct CopyInOp {
  static constexpr std::uint32_t kOpcode = 0x11;
  static constexpr const char* kName = "COPY_IN";
  Waits wait{};
  std::uint32_t space = 0, ddr = 0, dst = 0, words = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("space", o.space, 0, 8, 3);
    v("ddr", o.ddr, 3, 0, 32);
    v("dst", o.dst, 4, 0, 32);
    v("words", o.words, 5, 0, 32);
  }
};

/// `mode`: the order in which experts meet tokens.
enum class ExpertMode : std::uint32_t { kExpert, kToken, kTokenCached, kTokenPairs };

struct LoadExpertsOp {
  static constexpr std::uint32_t kOpcode = 0x12;
  static constexpr const char* kName = "LOAD_EXPERTS";
  Waits wait{};
  std::uint32_t mode = 0, ddr = 0, stride = 0, second = 0, words1 = 0, words2 = 0, blocks1 = 0, blocks2 = 0, weight = 0,
                slot_words = 0, param = 0, slot_params = 0, slots = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("mode", o.mode, 0, 8, 2);
    v("ddr", o.ddr, 3, 0, 32);
    v("stride", o.stride, 4, 0, 32);
    v("second", o.second, 5, 0, 32);
    v("words1", o.words1, 6, 0, 16);
    v("words2", o.words2, 6, 16, 16);
    v("blocks1", o.blocks1, 7, 0, 16);
    v("blocks2", o.blocks2, 7, 16, 16);
    v("weight", o.weight, 8, 0, 16);
    v("slot_words", o.slot_words, 8, 16, 16);
    v("param", o.param, 9, 0, 16);
    v("slot_params", o.slot_params, 9, 16, 16);
    v("slots", o.slots, 10, 0, 8);
  }
};

/// `dst` of GEMM.
enum class Dst : std::uint32_t { kAct, kResAdd, kResSet };

struct GemmOp {
  static constexpr std::uint32_t kOpcode = 0x20;
  static constexpr const char* kName = "GEMM";
  Waits wait{};
  std::uint32_t conv = 0, dst = 0, act = 0, table = 0, chase = 0, kv = 0;
  std::uint32_t rows = 0, row_words = 0, blocks = 0, weight = 0, param = 0, src_stride = 0, src = 0, dst_address = 0,
                dst_stride = 0, first_row = 0;
  std::uint32_t k_block = 0, v_block = 0, key = 0, value = 0, key_blocks = 0, head_words = 0;  // with kv
  std::uint32_t width = 0, height = 0, src_row = 0, dst_row = 0;                               // with conv
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("conv", o.conv, 0, 8, 1);
    v("dst", o.dst, 0, 9, 2);
    v("act", o.act, 0, 11, 2);
    v("table", o.table, 0, 13, 1);
    v("chase", o.chase, 0, 14, 1);
    v("kv", o.kv, 0, 15, 1);
    v("rows", o.rows, 3, 0, 16);
    v("row_words", o.row_words, 3, 16, 16);
    v("blocks", o.blocks, 4, 0, 16);
    v("weight", o.weight, 4, 16, 16);
    v("param", o.param, 5, 0, 16);
    v("src_stride", o.src_stride, 5, 16, 16);
    v("src", o.src, 6, 0, 32);
    v("dst_address", o.dst_address, 7, 0, 32);
    v("dst_stride", o.dst_stride, 8, 0, 16);
    v("first_row", o.first_row, 8, 16, 16);
    v("k_block", o.k_block, 9, 0, 8);
    v("v_block", o.v_block, 9, 8, 8);
    v("key", o.key, 10, 0, 16);
    v("value", o.value, 10, 16, 16);
    v("key_blocks", o.key_blocks, 11, 0, 16);
    v("head_words", o.head_words, 11, 16, 16);
    v("width", o.width, 12, 0, 16);
    v("height", o.height, 12, 16, 16);
    v("src_row", o.src_row, 13, 0, 16);
    v("dst_row", o.dst_row, 13, 16, 16);
  }
};

struct AttendOp {
  static constexpr std::uint32_t kOpcode = 0x21;
  static constexpr const char* kName = "ATTEND";
  Waits wait{};
  std::uint32_t rows = 0, keys = 0, head_words = 0, key_blocks = 0, src_stride = 0, src = 0, dst_address = 0,
                dst_stride = 0, key = 0, value = 0, mul = 0, shift = 0, gain = 0, shift_out = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("rows", o.rows, 3, 0, 16);
    v("keys", o.keys, 3, 16, 16);
    v("head_words", o.head_words, 4, 0, 16);
    v("key_blocks", o.key_blocks, 4, 16, 16);
    v("src_stride", o.src_stride, 5, 16, 16);
    v("src", o.src, 6, 0, 32);
    v("dst_address", o.dst_address, 7, 0, 32);
    v("dst_stride", o.dst_stride, 8, 0, 16);
    v("key", o.key, 10, 0, 16);
    v("value", o.value, 10, 16, 16);
    v("mul", o.mul, 12, 0, 16);
    v("shift", o.shift, 12, 16, 6);
    v("gain", o.gain, 13, 0, 16);
    v("shift_out", o.shift_out, 13, 16, 6);
  }
};

struct RouteOp {
  static constexpr std::uint32_t kOpcode = 0x22;
  static constexpr const char* kName = "ROUTE";
  Waits wait{};
  std::uint32_t chase = 0, rows = 0, row_words = 0, blocks = 0, weight = 0, param = 0, src_stride = 0, src = 0,
                experts = 0, top_k = 0, mul = 0, shift = 0, prune = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("chase", o.chase, 0, 14, 1);
    v("rows", o.rows, 3, 0, 16);
    v("row_words", o.row_words, 3, 16, 16);
    v("blocks", o.blocks, 4, 0, 16);
    v("weight", o.weight, 4, 16, 16);
    v("param", o.param, 5, 0, 16);
    v("src_stride", o.src_stride, 5, 16, 16);
    v("src", o.src, 6, 0, 32);
    v("experts", o.experts, 9, 0, 16);
    v("top_k", o.top_k, 9, 16, 4);
    v("mul", o.mul, 12, 0, 16);
    v("shift", o.shift, 12, 16, 6);
    v("prune", o.prune, 13, 0, 16);
  }
};

struct ExpertsOp {
  static constexpr std::uint32_t kOpcode = 0x23;
  static constexpr const char* kName = "EXPERTS";
  Waits wait{};
  std::uint32_t act = 0, table = 0, row_words1 = 0, blocks1 = 0, row_words2 = 0, blocks2 = 0, hidden_stride = 0,
                src_stride = 0, src = 0, res = 0, res_stride = 0, hidden = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("act", o.act, 0, 11, 2);
    v("table", o.table, 0, 13, 1);
    v("row_words1", o.row_words1, 3, 0, 16);
    v("blocks1", o.blocks1, 3, 16, 16);
    v("row_words2", o.row_words2, 4, 0, 16);
    v("blocks2", o.blocks2, 4, 16, 16);
    v("hidden_stride", o.hidden_stride, 5, 0, 16);
    v("src_stride", o.src_stride, 5, 16, 16);
    v("src", o.src, 6, 0, 32);
    v("res", o.res, 7, 0, 32);
    v("res_stride", o.res_stride, 8, 0, 16);
    v("hidden", o.hidden, 9, 0, 32);
  }
};

struct NormOp {
  static constexpr std::uint32_t kOpcode = 0x30;
  static constexpr const char* kName = "NORM";
  Waits wait{};
  std::uint32_t chase = 0, rows = 0, words = 0, channels = 0, param = 0, dst_stride = 0, src_stride = 0, src = 0,
                dst_address = 0, shift = 0, eps = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("chase", o.chase, 0, 14, 1);
    v("rows", o.rows, 3, 0, 16);
    v("words", o.words, 3, 16, 16);
    v("channels", o.channels, 4, 0, 16);
    v("param", o.param, 4, 16, 16);
    v("dst_stride", o.dst_stride, 5, 0, 16);
    v("src_stride", o.src_stride, 5, 16, 16);
    v("src", o.src, 6, 0, 32);
    v("dst_address", o.dst_address, 7, 0, 32);
    v("shift", o.shift, 8, 0, 6);
    v("eps", o.eps, 9, 0, 32);
  }
};

struct UpsampleOp {
  static constexpr std::uint32_t kOpcode = 0x31;
  static constexpr const char* kName = "UPSAMPLE";
  Waits wait{};
  std::uint32_t rows = 0, words = 0, width = 0, height = 0, src = 0, dst_address = 0, src_row = 0, dst_row = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("rows", o.rows, 3, 0, 16);
    v("words", o.words, 3, 16, 16);
    v("width", o.width, 4, 0, 16);
    v("height", o.height, 4, 16, 16);
    v("src", o.src, 6, 0, 32);
    v("dst_address", o.dst_address, 7, 0, 32);
    v("src_row", o.src_row, 8, 0, 16);
    v("dst_row", o.dst_row, 8, 16, 16);
  }
};

struct CopyOutOp {
  static constexpr std::uint32_t kOpcode = 0x40;
  static constexpr const char* kName = "COPY_OUT";
  Waits wait{};
  std::uint32_t space = 0, ddr = 0, src = 0, words = 0;
  template <class Self, class V>
  static void visit(Self& o, V&& v) {
    v("space", o.space, 0, 8, 1);
    v("ddr", o.ddr, 3, 0, 32);
    v("src", o.src, 4, 0, 32);
    v("words", o.words, 5, 0, 32);
  }
};

using AnyOp = std::variant<EndOp, TileOp, CopyInOp, LoadExpertsOp, GemmOp, AttendOp, RouteOp, ExpertsOp, NormOp,
                           UpsampleOp, CopyOutOp>;

/// Its opcode's upper bits; nothing for END.
std::optional<Engine> engine_of(const AnyOp& op);
Waits& waits_of(AnyOp& op);
const Waits& waits_of(const AnyOp& op);

/// A value that does not fit its field is a program bug.
MicroOp encode(const AnyOp& op);
/// Nothing when the opcode is unknown or a bit that no field owns is set.
std::optional<AnyOp> decode(const MicroOp& words);
/// "GEMM wait=3,0,1,0 rows=129 …"; fields that are 0 are left out.
std::string disassemble(const AnyOp& op);

}  // namespace m3vit::accel
