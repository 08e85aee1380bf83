#pragma once
/// A random MoE layer as an image and a program for the accelerator, and what the golden model makes of it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "accel/golden/golden.h"
#include "rtl/machine.h"

namespace m3vit::rtl {

struct LayerShape {
  int tokens = 9, dim = 16, hidden = 16, experts = 4, top_k = 2;
  enum class Gate : std::uint8_t { kRandom, kOneExpert, kEqual } gate = Gate::kRandom;
  std::uint16_t prune = 0;
  bool loud = false;  ///< sums beyond int16
};

class MoeLayer {
 public:
  /// `width` is the array's W.
  MoeLayer(const LayerShape& shape, int width, std::uint32_t seed) : s_(shape), w_(width), rng_(seed) {
    for (auto* v : {&rows_}) v->resize(static_cast<std::size_t>(s_.tokens * s_.dim));
    for (auto& x : rows_) x = static_cast<std::int8_t>(rng_.edgy(-127, 127));
    residual_.resize(rows_.size());
    const int largest = s_.loud ? 32767 : 4000;
    for (auto& x : residual_) x = static_cast<std::int16_t>(rng_.in(-largest, largest));
    for (auto& t : block_.gelu) t = static_cast<std::int8_t>(rng_.in(-127, 127));
    for (std::size_t f = 0; f < table_.size(); ++f)
      table_[f] = static_cast<std::uint16_t>(std::lround(32768 * std::exp2(-static_cast<double>(f) / 256)));
    router_.gate = linear(s_.dim, s_.experts);
    for (int e = 0; e < s_.experts; ++e) {
      accel::Param& p = router_.gate.params[static_cast<std::size_t>(e)];
      p.bias = static_cast<std::int32_t>(rng_.in(-9999, 9999));
      if (s_.gate == LayerShape::Gate::kOneExpert) p.bias = e == s_.experts / 2 ? 1 << 28 : p.bias;
      if (s_.gate == LayerShape::Gate::kEqual) p.bias = 7;
    }
    if (s_.gate == LayerShape::Gate::kEqual) std::ranges::fill(router_.gate.weight, std::int8_t{0});
    router_.logit = {0, static_cast<std::uint16_t>(rng_.in(20000, 60000)), 23};
    router_.prune = s_.prune;
    for (int e = 0; e < s_.experts; ++e) block_.experts[e] = {linear(s_.dim, s_.hidden), linear(s_.hidden, s_.dim)};
  }

  /// Residual after the layer.
  std::vector<std::int16_t> golden(accel::ExpertOrder order, std::uint64_t& clamped) const {
    std::vector<std::int16_t> x = residual_;
    entries_ = accel::golden_moe(block_, router_, s_.top_k, table_, rows_, x, order, clamped);
    return x;
  }
  const accel::Entries& entries() const { return entries_; }

  /// Image with the program at its start. `mode` is that of EXPERTS.
  std::vector<std::uint8_t> image(int mode, int slots) {
    image_.assign(64 * 16, 0);
    const auto in = static_cast<std::uint32_t>(words(s_.dim)), hid = static_cast<std::uint32_t>(words(s_.hidden));
    const std::uint32_t gate_blocks = static_cast<std::uint32_t>(words(s_.experts));
    const std::uint32_t table_at = place(table_.data(), sizeof table_);
    const std::uint32_t gelu_at = place(block_.gelu.data(), sizeof block_.gelu);
    const std::uint32_t rows_at = place_rows(rows_);
    const std::uint32_t residual_at = place_rows(residual_);
    const std::uint32_t router_at = place_tile(router_.gate);
    std::uint32_t experts_at = 0, fc2 = 0, stride = 0;
    for (int e = 0; e < s_.experts; ++e) {
      const std::uint32_t at = place_tile(block_.experts[e].fc1);
      const std::uint32_t second = place_tile(block_.experts[e].fc2);
      if (e == 0) experts_at = at, fc2 = second - at;
      if (e == 1) stride = at - experts_at;
    }
    output_at_ = static_cast<std::uint32_t>(image_.size() / 64);
    const std::uint32_t count = static_cast<std::uint32_t>(s_.tokens) * in;
    image_.resize(image_.size() + 64 * (static_cast<std::size_t>(count) * 2 * w_ / 64 + 1));
    const std::uint32_t hidden_at = count;
    const std::uint32_t slot_words = in * hid, slot_params = std::max(in, hid);
    const std::vector<Op> program = {
        Op{0x11 | 4U << 8, 0, 0, table_at, 0, 1},
        Op{0x11 | 2U << 8, 0, 0, gelu_at, 0, 1},
        Op{0x11 | 0U << 8, 0, 0, rows_at, 0, count},
        Op{0x11 | 1U << 8, 0, 0, residual_at, 0, count},
        Op{0x10, 0, 0, router_at, gate_blocks * in | gate_blocks << 16, 0},
        Op{0x22, 5, 0, static_cast<std::uint32_t>(s_.tokens) | in << 16, gate_blocks, in << 16, 0, 0, 0,
           static_cast<std::uint32_t>(s_.experts) | static_cast<std::uint32_t>(s_.top_k) << 16, 0, 0,
           router_.logit.mul | std::uint32_t{router_.logit.shift} << 16, router_.prune},
        Op{0x12 | static_cast<std::uint32_t>(mode) << 8, 1U << 16, 0, experts_at, stride, fc2,
           slot_words | slot_words << 16, hid | in << 16, slot_words << 16, slot_params << 16,
           static_cast<std::uint32_t>(slots)},
        Op{0x23 | 2U << 11, 5 | 1U << 16, 0, in | hid << 16, hid | in << 16, hid | in << 16, 0, 0, in, hidden_at},
        Op{0x40 | 1U << 8, 2U << 16, 0, output_at_, 0, count},
        Op{0x00, 6 | 2U << 16, 1U << 16},
    };
    for (std::size_t i = 0; i < program.size(); ++i) std::memcpy(image_.data() + 64 * i, program[i].data(), 64);
    return image_;
  }
  /// Residual that the machine wrote.
  std::vector<std::int16_t> output(const std::vector<std::uint8_t>& memory) const {
    std::vector<std::int16_t> x(residual_.size());
    const int padded = words(s_.dim) * w_;
    for (int t = 0; t < s_.tokens; ++t)
      std::memcpy(x.data() + t * s_.dim, memory.data() + std::size_t{64} * output_at_ + std::size_t{2} * t * padded,
                  2 * static_cast<std::size_t>(s_.dim));
    return x;
  }
  int words(int channels) const { return (channels + w_ - 1) / w_; }

 private:
  accel::QLinear linear(int in, int out) {
    accel::QLinear m{in, out, std::vector<std::int8_t>(static_cast<std::size_t>(in * out)), {}};
    for (auto& w : m.weight) w = static_cast<std::int8_t>(rng_.edgy(-127, 127));
    const int shift = (s_.loud ? 14 : 23) + static_cast<int>(std::log2(in) / 2);
    for (int o = 0; o < out; ++o)
      m.params.push_back({static_cast<std::int32_t>(rng_.in(-20000, 20000)),
                          static_cast<std::uint16_t>(rng_.edgy(20000, 65535)),
                          static_cast<std::uint8_t>(rng_.in(shift - 1, shift + 1))});
    return m;
  }
  std::uint32_t place(const void* data, std::size_t bytes) {
    const std::size_t at = image_.size();
    image_.resize(at + (bytes + 63) / 64 * 64);
    std::memcpy(image_.data() + at, data, bytes);
    return static_cast<std::uint32_t>(at / 64);
  }
  template <class T>
  std::uint32_t place_rows(const std::vector<T>& rows) {
    const int padded = words(s_.dim) * w_;
    std::vector<T> all(static_cast<std::size_t>(s_.tokens * padded));
    for (int t = 0; t < s_.tokens; ++t) std::copy_n(rows.begin() + t * s_.dim, s_.dim, all.begin() + t * padded);
    return place(all.data(), all.size() * sizeof(T));
  }
  std::uint32_t place_tile(const accel::QLinear& m) {
    const int in = words(m.in), out = words(m.out);
    std::vector<std::uint8_t> tile(static_cast<std::size_t>(out * w_ * 8 + out * in * w_ * w_));
    for (int o = 0; o < m.out; ++o) {
      const std::uint64_t bits = m.params[static_cast<std::size_t>(o)].bits();
      std::memcpy(tile.data() + 8 * o, &bits, 8);
      for (int i = 0; i < m.in; ++i) {
        const int word = o / w_ * in + i / w_;
        tile[static_cast<std::size_t>(out * w_ * 8 + word * w_ * w_ + o % w_ * w_ + i % w_)] =
            static_cast<std::uint8_t>(m.weight[static_cast<std::size_t>(o * m.in + i)]);
      }
    }
    return place(tile.data(), tile.size());
  }

  LayerShape s_;
  int w_;
  Random rng_;
  std::vector<std::int8_t> rows_;
  std::vector<std::int16_t> residual_;
  accel::QBlock block_;
  accel::QRouter router_;
  accel::GateTable table_{};
  mutable accel::Entries entries_;
  std::vector<std::uint8_t> image_;
  std::uint32_t output_at_ = 0;
};

}  // namespace m3vit::rtl
