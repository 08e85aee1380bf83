#pragma once
/// A model in the accelerator's numbers: what quantisation makes, the golden model runs and the compiler packs. Nothing
/// here depends on the array's size.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "accel/golden/arith.h"
#include "core/config.h"

namespace m3vit::accel {

/// y[o] = post(Σ_i w[o][i] · x[i]); parameters one an output.
struct QLinear {
  int in = 0, out = 0;
  std::vector<std::int8_t> weight;  ///< [out][in], ±127
  std::vector<Param> params;        ///< [out]
};

/// LayerNorm int16 → int8.
struct QNorm {
  std::vector<Param> params;  ///< [D], mul is int16
  int shift = 0;
  std::uint32_t eps = 1;
};

struct QHeadAttention {  ///< one attention head
  QLinear q, k, v;       ///< D → head_dim
  Param score;           ///< mul and shift: accumulator → 1/32 octave
  std::uint16_t gain = 1U << 14U;
  int shift_out = 0;
};

struct QMlp {  ///< one expert, or one slice of a dense MLP
  QLinear fc1, fc2;
};

struct QRouter {  ///< one task's
  QLinear gate;   ///< only `bias` of its parameters is used
  int first = 0;  ///< the expert that column 0 stands for
  Param logit;    ///< mul and shift: logit difference → 1/256 octave
  std::uint16_t prune = 0;
};

struct QBlock {
  QNorm norm1, norm2;
  std::vector<QHeadAttention> heads;
  QLinear proj;  ///< in = heads · head_dim
  ActTable gelu{};
  std::vector<QMlp> slices;        ///< dense
  std::map<int, QRouter> routers;  ///< MoE: by task
  std::map<int, QMlp> experts;     ///< MoE: by index; those that some task may choose
};

struct QHead {
  QNorm norm;
  std::vector<QLinear> convs;  ///< in = 9 · C, input t · C + c is channel c of tap t = 3·(dy + 1) + dx + 1
  QLinear last;                ///< 1×1, results int16
  double scale = 1.0;          ///< value of one unit of the output
};

struct QuantModel {
  Config config;
  std::vector<int> tasks;  ///< indices into config.tasks
  double residual_scale = 1.0;
  QLinear patch;                       ///< 3·p² → D, added to `position`
  std::vector<std::int16_t> position;  ///< [tokens][D], class token in row 0
  std::vector<QBlock> blocks;
  std::map<int, QHead> heads;  ///< by task
  GateTable gate_table{};
};

}  // namespace m3vit::accel
