#include "accel/compiler/micro_op.h"

#include <cassert>

namespace m3vit::accel {
namespace {

std::uint32_t mask(int bits) { return bits == 32 ? ~0U : (1U << static_cast<unsigned>(bits)) - 1U; }

/// Waits stand at the same place in every op.
template <class Self, class V>
void visit_all(Self& op, V&& v) {
  v("wait.load", op.wait[0], 1, 0, 16);
  v("wait.gemm", op.wait[1], 1, 16, 16);
  v("wait.vec", op.wait[2], 2, 0, 16);
  v("wait.store", op.wait[3], 2, 16, 16);
  std::decay_t<Self>::visit(op, v);
}

template <class Op>
bool decode_as(const MicroOp& words, std::optional<AnyOp>& out) {
  if ((words[0] & 0xFFU) != Op::kOpcode) return false;
  Op op;
  visit_all(op, [&](const char*, std::uint32_t& field, std::size_t word, int lowest, int bits) {
    field = words[word] >> static_cast<unsigned>(lowest) & mask(bits);
  });
  if (encode(op) == words) out = op;
  return true;
}

}  // namespace

std::optional<Engine> engine_of(const AnyOp& op) {
  const std::uint32_t code = std::visit([](const auto& o) { return o.kOpcode; }, op);
  if (code == EndOp::kOpcode) return std::nullopt;
  return static_cast<Engine>((code >> 4U) - 1U);
}

Waits& waits_of(AnyOp& op) {
  return std::visit([](auto& o) -> Waits& { return o.wait; }, op);
}
const Waits& waits_of(const AnyOp& op) {
  return std::visit([](const auto& o) -> const Waits& { return o.wait; }, op);
}

MicroOp encode(const AnyOp& op) {
  MicroOp words{};
  std::visit(
      [&](const auto& o) {
        words[0] = o.kOpcode;
        visit_all(o, [&](const char*, std::uint32_t field, std::size_t word, int lowest, [[maybe_unused]] int bits) {
          assert((field & ~mask(bits)) == 0);
          words[word] |= field << static_cast<unsigned>(lowest);
        });
      },
      op);
  return words;
}

std::optional<AnyOp> decode(const MicroOp& words) {
  std::optional<AnyOp> op;
  const auto any = [&]<class... Ops>(std::variant<Ops...>*) { return (decode_as<Ops>(words, op) || ...); };
  any(static_cast<AnyOp*>(nullptr));
  return op;
}

std::string disassemble(const AnyOp& op) {
  return std::visit(
      [](const auto& o) {
        std::string text = o.kName;
        visit_all(o, [&](const char* name, std::uint32_t field, std::size_t, int, int) {
          if (field != 0) text.append(" ").append(name).append("=").append(std::to_string(field));
        });
        return text;
      },
      op);
}

}  // namespace m3vit::accel
