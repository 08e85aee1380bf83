/// The published sizes on the shipped array by the cost model: what the accelerator promises, before it is simulated.
#include <gtest/gtest.h>

#include <iostream>

#include "accel/compiler/compile.h"
#include "accel/machine/timeline.h"

namespace m3vit::accel {
namespace {

QLinear zeros(int in, int out) {
  return {in, out, std::vector<std::int8_t>(static_cast<std::size_t>(in) * static_cast<std::size_t>(out)),
          std::vector<Param>(static_cast<std::size_t>(out))};
}
QNorm norm(int channels) { return {std::vector<Param>(static_cast<std::size_t>(channels)), 0, 1}; }

/// A model of the right shapes, all weights zero.
QuantModel shapes(int height, int width, int dim, int heads, int experts, int top_k, int depth = 12) {
  QuantModel q;
  ModelConfig& m = q.config.model;
  m.image_size = {height, width};
  m.embed_dim = dim;
  m.num_heads = heads;
  m.depth = depth;
  m.moe->num_experts = experts;
  m.moe->top_k = top_k;
  TaskConfig task;
  task.name = "depth";
  task.outputs = 1;
  q.config.tasks = {task};
  q.tasks = {0};
  q.patch = zeros(3 * 16 * 16, dim);
  q.position.resize(static_cast<std::size_t>(m.tokens() * dim));
  for (int b = 0; b < m.depth; ++b) {
    QBlock& block = q.blocks.emplace_back();
    block.norm1 = block.norm2 = norm(dim);
    const QLinear part = zeros(dim, dim / heads);
    block.heads.assign(static_cast<std::size_t>(heads), {part, part, part, {}, 1U << 14U, 40});
    block.proj = zeros(dim, dim);
    if (m.is_moe(b)) {
      block.routers[0] = {zeros(dim, experts), 0, {}, 0};
      for (int e = 0; e < experts; ++e) block.experts[e] = {zeros(dim, dim), zeros(dim, dim)};
    } else {
      block.slices.assign(4, {zeros(dim, dim), zeros(dim, dim)});
    }
  }
  QHead& head = q.heads[0];
  head.norm = norm(dim);
  head.convs.push_back(zeros(9 * dim, 256));
  for (int s = 1; s < 4; ++s) head.convs.push_back(zeros(9 * 256, 256));
  head.last = zeros(256, 1);
  return q;
}

struct Result {
  Timeline t;
  Footprint used;
};

/// Encoder only: up to the head's norm.
Result encoder(const QuantModel& model, ExpertMode mode) {
  const Compiled c = compile(model, {kZcu104, mode});
  std::vector<AnyOp> ops;
  for (const AnyOp& op : c.programs[0].ops) {
    const auto* gemm = std::get_if<GemmOp>(&op);
    if (gemm != nullptr && gemm->conv != 0) break;
    ops.push_back(op);
  }
  // The head's first tiles are loaded behind the encoder's end; they are not its work.
  while (std::holds_alternative<TileOp>(ops.back()) || std::holds_alternative<NormOp>(ops.back()) ||
         std::holds_alternative<CopyInOp>(ops.back())) {
    ops.pop_back();
  }
  Waits count{};
  for (const AnyOp& op : ops) ++count[static_cast<std::size_t>(*engine_of(op))];
  ops.emplace_back(EndOp{count});
  return {timeline(ops, c.array, {}, [](std::size_t layer, const RouteOp& op) { return uniform_entries(op, layer); }),
          c.footprint};
}

void print(const char* name, const Result& r) {
  std::cout << name << ": " << r.t.cycles << " cycles, " << r.t.cycles / 250e3 << " ms at 250 MHz, utilisation "
            << r.t.utilisation(kZcu104) << ", DDR " << static_cast<double>(r.t.ddr_bytes) * 1e-6
            << " MB, words of weights " << r.used.weight_words << ", amem " << r.used.act_words << ", xmem "
            << r.used.res_words << '\n';
}

TEST(CostModel, TinyAndSmallKeepTheirBounds) {
  const QuantModel tiny = shapes(128, 256, 192, 3, 16, 2);
  const Result t = encoder(tiny, ExpertMode::kExpert);
  print("tiny 128x256, expert order", t);
  EXPECT_LE(t.t.cycles, 2.5e-3 * 250e6);
  EXPECT_GE(t.t.utilisation(kZcu104), 0.60);
  print("tiny 128x256, token order", encoder(tiny, ExpertMode::kToken));
  print("tiny 128x256, token order cached", encoder(tiny, ExpertMode::kTokenCached));
  print("tiny 128x256, token pairs", encoder(tiny, ExpertMode::kTokenPairs));

  const QuantModel small = shapes(512, 512, 384, 6, 16, 4);
  const Result s = encoder(small, ExpertMode::kExpert);
  print("small 512x512, expert order", s);
  EXPECT_LE(s.t.cycles, 70e-3 * 250e6);
  EXPECT_GE(s.t.utilisation(kZcu104), 0.95);
  const Result token = encoder(small, ExpertMode::kToken);
  print("small 512x512, token order", token);
  print("small 512x512, token order cached", encoder(small, ExpertMode::kTokenCached));
  print("small 512x512, token pairs", encoder(small, ExpertMode::kTokenPairs));
  EXPECT_GE(token.t.cycles / s.t.cycles, 8.0);
}

TEST(CostModel, MemoryDoesNotGrowWithExperts) {
  const Result few = encoder(shapes(128, 256, 192, 3, 16, 2, 2), ExpertMode::kExpert);
  const Result many = encoder(shapes(128, 256, 192, 3, 1024, 2, 2), ExpertMode::kExpert);
  EXPECT_EQ(few.used.act_words, many.used.act_words);
  EXPECT_EQ(few.used.res_words, many.used.res_words);
  EXPECT_EQ(few.used.list_entries, many.used.list_entries);
  EXPECT_LE(many.used.weight_words, kZcu104.weight_words);
}

}  // namespace
}  // namespace m3vit::accel
