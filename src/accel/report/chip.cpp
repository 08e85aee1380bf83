#include "accel/report/chip.h"

#include <algorithm>

namespace m3vit::accel {
namespace {

std::int64_t up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Block RAMs of 36 Kbit for `words` of `bits`: 72 bits × 512 deep when read and written apart, down to 9 × 4096.
int block_rams(std::int64_t words, std::int64_t bits) {
  std::int64_t best = INT64_MAX;
  for (std::int64_t depth = 512, width = 72; depth <= 4096; depth *= 2, width /= 2) {
    best = std::min(best, up(words, depth) * up(bits, width));
  }
  return static_cast<int>(best);
}
int ultra_rams(std::int64_t words, std::int64_t bits) { return static_cast<int>(up(words, 4096) * up(bits, 72)); }

ChipBytes bytes_of(const Array& a, std::int64_t weight_words, std::int64_t param_words, std::int64_t act_words,
                   std::int64_t res_words, std::int64_t entries) {
  const std::int64_t w = a.width;
  ChipBytes b;
  b.weights = weight_words * w * w;
  b.params = param_words * 8 * w;
  b.act = act_words * w;
  b.res = res_words * 2 * w;
  b.lists = entries * 50 / 8 + std::int64_t{a.max_experts} * 40 / 8;
  const std::int64_t rows = 2 * Array::kRows * a.row_words * w;
  const std::int64_t scores = 4 * Array::kRows * a.key_words * 3 * w;  // int16 scores and int8 numerators
  b.fixed = rows + scores + a.norm_words * 8 * w + 512 * w + 512;
  return b;
}

}  // namespace

ChipBytes chip_bytes(const Footprint& used, const Array& array) {
  return bytes_of(array, used.weight_words, used.param_words, used.act_words, used.res_words, used.list_entries);
}
ChipBytes chip_bytes(const Array& a) {
  return bytes_of(a, a.weight_words, a.param_words, a.act_words, a.res_words, a.list_entries);
}

std::int64_t layer_bytes(const LoadExpertsOp& load, int num_experts, const Array& array) {
  const std::int64_t w = array.width;
  return num_experts *
         (std::int64_t{load.words1 + load.words2} * w * w + std::int64_t{load.blocks1 + load.blocks2} * 8 * w);
}

ChipBytes all_on_chip(const ChipBytes& used, const LoadExpertsOp& load, int num_experts, const Array& array) {
  ChipBytes b = used;
  const std::int64_t w = array.width;
  b.weights = std::max(b.weights, num_experts * std::int64_t{load.words1 + load.words2} * w * w);
  b.params = std::max(b.params, num_experts * std::int64_t{load.blocks1 + load.blocks2} * 8 * w);
  return b;
}

DeviceShare device_share(const Array& a) {
  const std::int64_t w = a.width;
  DeviceShare d;
  // A multiplier for two int8 products; of a lane's post unit 33 × 16 bits and the gate (4 together); of a norm lane
  // square, D·x, (…)·r and ·mul (6 together).
  d.dsp = static_cast<int>(w * w + 10 * w);
  d.bram36 = static_cast<int>(w) * (block_rams(a.weight_words, 8 * w) + block_rams(a.param_words, 54)) +
             2 * block_rams(2 * a.row_words, 8 * w) + block_rams(8 * a.key_words, 16 * w) +
             2 * block_rams(4 * a.key_words, 8 * w) + static_cast<int>(w) * block_rams(a.norm_words, 48) / 2 +
             block_rams(a.list_entries, 29) + block_rams(a.list_entries, 23) + block_rams(a.list_entries, 13) +
             block_rams(a.max_experts, 40);
  d.uram = ultra_rams(a.act_words, 8 * w) + ultra_rams(a.res_words, 16 * w);
  return d;
}

}  // namespace m3vit::accel
