#include "accel/compiler/micro_op.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace m3vit::accel {
namespace {

template <class Op>
void round_trip() {
  Rng rng(Op::kOpcode + 1);
  for (int i = 0; i < 100; ++i) {
    Op op;
    for (std::uint32_t& w : op.wait) w = static_cast<std::uint32_t>(rng.below(65536));
    MicroOp owned{};
    Op::visit(op, [&](const char* name, std::uint32_t& field, std::size_t word, int lowest, int bits) {
      const std::uint32_t mask = bits == 32 ? ~0U : (1U << static_cast<unsigned>(bits)) - 1U;
      field = static_cast<std::uint32_t>(rng.next()) & mask;
      EXPECT_EQ(owned[word] & (mask << static_cast<unsigned>(lowest)), 0U) << Op::kName << ' ' << name << " overlaps";
      owned[word] |= mask << static_cast<unsigned>(lowest);
    });
    EXPECT_EQ(owned[0] & 0xFFU, 0U);
    EXPECT_EQ(owned[1] | owned[2], 0U);
    const MicroOp words = encode(op);
    const auto back = decode(words);
    ASSERT_TRUE(back.has_value());
    ASSERT_TRUE(std::holds_alternative<Op>(*back));
    EXPECT_EQ(encode(*back), words);
    EXPECT_EQ(disassemble(*back), disassemble(op));
    for (std::size_t word = 0; word < words.size(); ++word) {  // any bit that no field owns makes it illegal
      const std::uint32_t free = word == 0 ? ~(owned[0] | 0xFFU) : word <= 2 ? 0U : ~owned[word];
      if (free == 0) continue;
      MicroOp stray = words;
      stray[word] |= free & (~free + 1U);
      EXPECT_FALSE(decode(stray).has_value()) << Op::kName << " word " << word;
    }
  }
}

template <class... Ops>
void round_trips(const std::variant<Ops...>*) {
  (round_trip<Ops>(), ...);
}

TEST(MicroOp, EveryOpSurvivesEncodingAndOwnsItsBitsAlone) { round_trips(static_cast<const AnyOp*>(nullptr)); }

TEST(MicroOp, LiesWhereTheContractSays) {
  GemmOp op;
  op.wait = {1, 2, 3, 4};
  op.conv = 1;
  op.dst = 2;
  op.rows = 0x1234;
  op.row_words = 0x5678;
  op.src = 0x9ABCDEF0;
  const MicroOp words = encode(op);
  EXPECT_EQ(words[0], 0x20U | 1U << 8U | 2U << 9U);
  EXPECT_EQ(words[1], 0x00020001U);
  EXPECT_EQ(words[2], 0x00040003U);
  EXPECT_EQ(words[3], 0x56781234U);
  EXPECT_EQ(words[6], 0x9ABCDEF0U);
}

TEST(MicroOp, UnknownOpcodesAreRefused) {
  MicroOp words{};
  words[0] = 0x7F;
  EXPECT_FALSE(decode(words).has_value());
}

TEST(MicroOp, ReadsAsText) {
  TileOp op;
  op.wait[1] = 7;
  op.ddr = 12;
  op.words = 144;
  EXPECT_EQ(disassemble(op), "TILE wait.gemm=7 ddr=12 words=144");
}

}  // namespace
}  // namespace m3vit::accel
