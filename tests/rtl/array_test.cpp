// The array against plain sums: DDR beats into weights, parameters and tables, then random blocks of steps.
#include <deque>

#include "array32.h"
#include "array8.h"
#include "rtl/rtl_testing.h"

namespace m3vit::rtl {
namespace {

struct Channel {
  std::int32_t bias;
  std::uint16_t mul;
  std::uint8_t shift;
};

std::int64_t clamp(std::int64_t x, std::int64_t limit) { return x < -limit ? -limit : x > limit ? limit : x; }
// floor division by 2^s of x + 2^(s-1), written without shifts of negative numbers
std::int64_t divided(std::int64_t x, int s) {
  const std::int64_t d = std::int64_t{1} << s;
  x += d / 2;
  return x >= 0 ? x / d : -((-x + d - 1) / d);
}

template <class Dut, int W>
class ArrayCase {
 public:
  explicit ArrayCase(std::uint32_t seed) : rng_(seed) {}

  void run(int steps) {
    bench_.reset();
    load();
    for (const int act : {0, 1, 2}) pass(act, steps);
  }

 private:
  static constexpr int kBlocks = 6, kWords = 40;
  struct Beat {
    std::array<std::int64_t, W> acc;
    int block;
    std::uint16_t gate;
  };

  void load() {
    for (auto& word : weights_)
      for (auto& lane : word)
        for (auto& w : lane) w = static_cast<std::int8_t>(rng_.edgy(-127, 127));
    for (auto& block : params_)
      for (auto& c : block)
        c = {static_cast<std::int32_t>(rng_.edgy(-(1 << 20), 1 << 20)), static_cast<std::uint16_t>(rng_.edgy(0, 65535)),
             static_cast<std::uint8_t>(rng_.in(0, 3) == 0 ? rng_.in(0, 47) : rng_.in(16, 34))};
    for (auto& t : table_) t = static_cast<std::int8_t>(rng_.in(-127, 127));
    for (int a = 0; a < kWords; ++a)
      for (int part = 0; part < W * W / 64; ++part) {
        for (int i = 0; i < 64 / W; ++i)
          put_bytes(bench_->ld_data_i, static_cast<std::size_t>(i * W), weights_[a][part * 64 / W + i].data(), W);
        bench_->ld_part_i = static_cast<std::uint8_t>(part);
        bench_->ld_w_addr_i = static_cast<std::uint16_t>(a);
        bench_->ld_w_valid_i = 1;
        bench_.tick();
      }
    bench_->ld_w_valid_i = 0;
    for (int b = 0; b < kBlocks; ++b)
      for (int part = 0; part < W / 8; ++part) {
        for (int i = 0; i < 8; ++i) {
          const Channel& c = params_[b][part * 8 + i];
          const std::uint64_t bits = std::uint64_t{static_cast<std::uint32_t>(c.bias)} | std::uint64_t{c.mul} << 32U |
                                     std::uint64_t{c.shift} << 48U;
          put_bytes(bench_->ld_data_i, static_cast<std::size_t>(8 * i), &bits, 8);
        }
        bench_->ld_part_i = static_cast<std::uint8_t>(part);
        bench_->ld_p_addr_i = static_cast<std::uint8_t>(b);
        bench_->ld_p_valid_i = 1;
        bench_.tick();
      }
    bench_->ld_p_valid_i = 0;
    bench_->ld_t_valid_i = 1;
    for (int i = 0; i < 512; ++i) {
      bench_->ld_t_addr_i = static_cast<std::uint16_t>(i);
      bench_->ld_t_data_i = static_cast<std::uint8_t>(table_[i]);
      bench_.tick();
    }
    bench_->ld_t_valid_i = 0;
  }

  // Blocks of random length back to back or with gaps; the beats are checked where the latency says they are.
  void pass(int act, int steps) {
    const int table = act == 2 ? static_cast<int>(rng_.in(0, 1)) : 0;
    bench_->act_sel_i = static_cast<std::uint8_t>(act);
    bench_->table_sel_i = static_cast<std::uint8_t>(table);
    bench_->own_par_i = 1;
    std::array<std::array<std::int64_t, W>, 2> acc{};
    int left = 0, block = 0;
    bool first = false;
    for (int s = 0; s < steps; ++s) {
      const bool valid = left > 0 || rng_.coin(0.8);
      if (valid && left == 0) {
        left = static_cast<int>(rng_.in(2, 7));
        block = static_cast<int>(rng_.in(0, kBlocks - 1));
        first = true;
      }
      const int word = static_cast<int>(rng_.in(0, kWords - 1));
      // the address a cycle before the operands: this bench takes two clocks a step, which the lanes do not mind
      bench_->w_raddr_i = static_cast<std::uint16_t>(word);
      bench_->valid_i = 0;
      clock(act, table);
      std::array<std::array<std::int8_t, W>, 2> x;
      for (auto& row : x)
        for (auto& v : row) v = static_cast<std::int8_t>(rng_.edgy(-128, 127));
      put_bytes(bench_->act_i, 0, x.data(), sizeof x);
      bench_->valid_i = static_cast<std::uint8_t>(valid);
      bench_->first_i = static_cast<std::uint8_t>(first);
      bench_->last_i = static_cast<std::uint8_t>(left == 1);
      bench_->p_raddr_i = static_cast<std::uint8_t>(block);
      if (valid) {
        for (int r = 0; r < 2; ++r)
          for (int n = 0; n < W; ++n) {
            if (first) acc[r][n] = 0;
            for (int k = 0; k < W; ++k) acc[r][n] += x[r][k] * weights_[word][n][k];
          }
        first = false;
        if (--left == 0)
          for (int r = 0; r < 2; ++r) {
            raw_.push_back({acc[r], block, 0});
            post_.push_back({acc[r], block, static_cast<std::uint16_t>(rng_.edgy(0, 32768))});
          }
      }
      clock(act, table);
    }
    bench_->valid_i = 0;
    for (int i = 0; i < 12; ++i) clock(act, table);
    EXPECT_TRUE(raw_.empty() && post_.empty());
  }

  void clock(int act, int table) {
    // the gate of a beat is wanted one cycle before the beat
    if (!post_.empty()) bench_->gate_i = post_[bench_->post_valid_o && post_.size() > 1 ? 1 : 0].gate;
    if (bench_->raw_valid_o) {
      ASSERT_FALSE(raw_.empty());
      const Beat beat = raw_.front();
      raw_.pop_front();
      for (int n = 0; n < W; ++n)
        ASSERT_TRUE(same(get<std::int32_t>(bench_->raw_o, n), beat.acc[n] + params_[beat.block][n].bias, bench_.cycle(),
                         "raw", n, rng_.seed()));
    }
    if (bench_->post_valid_o) {
      ASSERT_FALSE(post_.empty());
      const Beat beat = post_.front();
      post_.pop_front();
      for (int n = 0; n < W; ++n) {
        const Channel& c = params_[beat.block][n];
        const std::int64_t y = divided((beat.acc[n] + c.bias) * c.mul, c.shift);
        std::int64_t q = clamp(y, 127);
        if (act == 1) q = std::max<std::int64_t>(q, 0);
        if (act == 2) q = table_[256 * table + q + 128];
        ASSERT_TRUE(same(get<std::int8_t>(bench_->q_o, n), q, bench_.cycle(), "q", n, rng_.seed()));
        ASSERT_TRUE(same(get<std::int16_t>(bench_->z_o, n), divided(clamp(y, 32767) * beat.gate, 15), bench_.cycle(),
                         "z", n, rng_.seed()));
      }
    }
    bench_.tick();
  }

  Random rng_;
  Bench<Dut> bench_;
  std::array<std::array<std::array<std::int8_t, W>, W>, kWords> weights_{};  // [word][lane][input]
  std::array<std::array<Channel, W>, kBlocks> params_{};
  std::array<std::int8_t, 512> table_{};
  std::deque<Beat> raw_, post_;
};

TEST(Array, GivesPlainSumsRoundedHalfUpClampedAndActivatedAtWidth8) {
  for (const std::uint32_t seed : seeds(4)) ArrayCase<array8, 8>(seed).run(1000);
}

TEST(Array, GivesPlainSumsRoundedHalfUpClampedAndActivatedAtWidth32) {
  for (const std::uint32_t seed : seeds(1)) ArrayCase<array32, 32>(seed).run(500);
}

TEST(Checker, SeesADifferenceInSignAndSize) {
  EXPECT_TRUE(same(std::int8_t{-1}, -1, 0, "q", 0, 1));
  EXPECT_FALSE(same(std::int8_t{-1}, 255, 0, "q", 0, 1));
  EXPECT_FALSE(same(std::int16_t{2}, -2, 0, "q", 0, 1));
}

}  // namespace
}  // namespace m3vit::rtl
