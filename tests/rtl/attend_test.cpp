// ATTEND with an array written in C++: lanes with the latencies of m3_lane, memories, and the attention of the golden
// arithmetic to compare with.
#include <algorithm>
#include <array>
#include <deque>

#include "accel/golden/arith.h"
#include "attend8.h"
#include "rtl/rtl_testing.h"

namespace m3vit::rtl {
namespace {

constexpr int W = 8;

struct Shape {
  int rows, keys, head_words;
};

class Attend {
 public:
  Attend(std::uint32_t seed, Shape s) : rng_(seed), s_(s), key_words_((s.keys + W - 1) / W) { bench_.reset(); }

  // One op; returns its cycles.
  std::uint64_t run() {
    const int channels = s_.head_words * W;
    const int src = static_cast<int>(rng_.in(0, 20)), src_stride = s_.head_words + static_cast<int>(rng_.in(0, 2));
    const bool in_place = rng_.coin(0.3);
    const int dst = in_place ? src : 2000 + static_cast<int>(rng_.in(0, 20));
    const int dst_stride = in_place ? src_stride : s_.head_words + static_cast<int>(rng_.in(0, 2));
    const int key = static_cast<int>(rng_.in(0, 9)), value = key + key_words_ * s_.head_words;
    const auto mul = static_cast<std::uint16_t>(rng_.edgy(20000, 65535));
    const int shift = static_cast<int>(rng_.in(18, 24));
    const auto gain = static_cast<std::uint16_t>(rng_.edgy(1 << 14, (1 << 15) - 1));
    const int shift_out = static_cast<int>(rng_.in(24, 27)) + 8;

    // memories hold anything; keys and values beyond the last key stay so
    for (auto& lane : weights_)
      for (auto& word : lane) word = random_word();
    for (auto& word : amem_) word = random_word();
    std::vector<std::vector<std::int8_t>> k, v;
    for (int j = 0; j < s_.keys; ++j) {
      k.push_back(random_row(channels));
      v.push_back(random_row(channels));
      for (int c = 0; c < channels; ++c) {
        const int i = c / W, n = c % W;
        weights_[at(j % W)][at(key + j / W * s_.head_words + i)][at(n)] = k.back()[at(c)];
        weights_[at(n)][at(value + i * key_words_ + j / W)][at(j % W)] = v.back()[at(c)];
      }
    }
    std::vector<Word> want = amem_;
    for (int r = 0; r < s_.rows; ++r) {
      std::vector<std::int32_t> scores;
      for (const auto& row : k) {
        std::int32_t sum = 0;
        for (int c = 0; c < channels; ++c) sum += amem_[at(src + r * src_stride + c / W)][at(c % W)] * row[at(c)];
        scores.push_back(accel::sat16(accel::rshift(std::int64_t{sum} * mul, shift)));
      }
      const std::int32_t most = *std::max_element(scores.begin(), scores.end());
      std::uint32_t total = 0;
      for (auto& p : scores) total += static_cast<std::uint32_t>(p = accel::softmax_weight(most - p));
      const accel::Reciprocal scale = accel::reciprocal(total, gain);
      for (int c = 0; c < channels; ++c) {
        std::int64_t sum = 0;
        for (int j = 0; j < s_.keys; ++j) sum += scores[at(j)] * v[at(j)][at(c)];
        want[at(dst + r * dst_stride + c / W)][at(c % W)] =
            accel::sat8(accel::rshift(sum * scale.r, shift_out - scale.n));
      }
    }

    bench_->rows_i = static_cast<std::uint16_t>(s_.rows);
    bench_->keys_i = static_cast<std::uint16_t>(s_.keys);
    bench_->hw_i = static_cast<std::uint16_t>(s_.head_words);
    bench_->kb_i = static_cast<std::uint16_t>(key_words_);
    bench_->src_i = static_cast<std::uint16_t>(src);
    bench_->src_stride_i = static_cast<std::uint16_t>(src_stride);
    bench_->dst_i = static_cast<std::uint16_t>(dst);
    bench_->dst_stride_i = static_cast<std::uint16_t>(dst_stride);
    bench_->key_i = static_cast<std::uint16_t>(key);
    bench_->value_i = static_cast<std::uint16_t>(value);
    bench_->mul_i = mul;
    bench_->shift_i = static_cast<std::uint8_t>(shift);
    bench_->gain_i = gain;
    bench_->shift_out_i = static_cast<std::uint8_t>(shift_out);
    bench_->start_i = 1;
    clock();
    bench_->start_i = 0;
    const std::uint64_t start = bench_.cycle();
    while (!bench_->done_o && bench_.cycle() < start + 100000) clock();
    EXPECT_TRUE(bench_->done_o) << "no end, seed " << rng_.seed();
    const std::uint64_t cycles = bench_.cycle() - start;
    clock();
    for (std::size_t a = 0; a < want.size(); ++a)
      for (std::size_t n = 0; n < W; ++n)
        if (const auto ok = same(amem_[a][n], want[a][n], bench_.cycle(), "amem word " + std::to_string(a) + " byte",
                                 static_cast<std::int64_t>(n), rng_.seed());
            !ok) {
          ADD_FAILURE() << ok.message();
          return cycles;
        }
    return cycles;
  }

 private:
  using Word = std::array<std::int8_t, W>;
  struct Block {  // its last step was in cycle `at`
    std::uint64_t at;
    std::array<std::array<std::int32_t, W>, 2> acc;
    std::array<std::array<std::int64_t, W>, 2> y{};
  };
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  Word random_word() {
    Word w;
    for (auto& x : w) x = static_cast<std::int8_t>(rng_.edgy(-127, 127));
    return w;
  }
  std::vector<std::int8_t> random_row(int channels) {
    std::vector<std::int8_t> row(at(channels));
    for (auto& x : row) x = static_cast<std::int8_t>(rng_.edgy(-127, 127));
    return row;
  }

  void clock() {
    const std::uint64_t now = bench_.cycle();
    bench_->beat_soon_i = 0;
    for (const Block& b : blocks_) {
      if (now == b.at + 7 || now == b.at + 8) bench_->beat_soon_i = 1;
      for (std::size_t r = 0; r < 2; ++r) {
        if (now != b.at + 8 + r) continue;
        for (std::size_t n = 0; n < W; ++n) {
          const std::int8_t q = accel::sat8(b.y[r][n]);
          const std::int16_t z = accel::sat16(b.y[r][n]);
          put_bytes(bench_->q_i, n, &q, 1);
          put_bytes(bench_->z_i, 2 * n, &z, 2);
        }
      }
    }
    while (!blocks_.empty() && now > blocks_.front().at + 9) blocks_.pop_front();
    bench_.settle();
    if (bench_->step_valid_o) step(now);
    for (Block& b : blocks_)
      for (std::size_t r = 0; r < 2; ++r)
        if (now == b.at + 3 + r) {
          const accel::Param par = accel::Param::from_bits(bench_->par_o);
          for (std::size_t n = 0; n < W; ++n) b.y[r][n] = accel::requantise(b.acc[r][n], par);
        }
    weight_address_ = bench_->w_raddr_o;
    const bool read = bench_->a_req_o;
    const std::size_t address = bench_->a_addr_o;
    const Word data = read ? amem_.at(address) : random_word();
    if (bench_->a_we_o)
      for (std::size_t n = 0; n < W; ++n) amem_.at(bench_->a_waddr_o)[n] = get<std::int8_t>(bench_->a_wdata_o, n);
    bench_.tick();
    put_bytes(bench_->a_data_i, 0, data.data(), W);
  }

  void step(std::uint64_t now) {
    if (bench_->step_first_o) acc_ = {};
    for (std::size_t r = 0; r < 2; ++r)
      for (std::size_t n = 0; n < W; ++n)
        for (std::size_t i = 0; i < W; ++i)
          acc_[r][n] += get<std::int8_t>(bench_->step_act_o, r * W + i) * weights_[n].at(weight_address_)[i];
    if (bench_->step_last_o) blocks_.push_back({now, acc_});
  }

  Random rng_;
  Shape s_;
  int key_words_;
  Bench<attend8> bench_;
  std::array<std::array<Word, 512>, W> weights_{};
  std::vector<Word> amem_ = std::vector<Word>(4096);
  std::array<std::array<std::int32_t, W>, 2> acc_{};
  std::deque<Block> blocks_;
  std::size_t weight_address_ = 0;
};

TEST(Attend, EqualsGoldenForAnyRowsKeysAndHeads) {
  for (const std::uint32_t seed : seeds(60)) {
    Random rng(seed + 4000);
    const Shape shape{static_cast<int>(rng.in(1, 12)), static_cast<int>(rng.in(1, 10 * W)),
                      static_cast<int>(rng.in(1, 4))};
    Attend attend(seed, shape);
    attend.run();
    attend.run();  // once more, with what the first has left behind
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "rows " << shape.rows << " keys " << shape.keys << " words of a head " << shape.head_words;
      return;
    }
  }
}

// The array never waits for softmax once Lag steps are longer than its latency.
TEST(Attend, TakesTheCyclesOfTheContract) {
  for (const auto& [keys, head_words] : {std::pair{40, 2}, std::pair{64, 4}, std::pair{129, 2}}) {
    const int blocks = (keys + W - 1) / W;
    const auto pair = static_cast<std::uint64_t>(blocks * std::max(head_words, 2) + head_words * std::max(blocks, 2));
    const std::uint64_t few = Attend(1, {41, keys, head_words}).run();
    const std::uint64_t many = Attend(1, {81, keys, head_words}).run();
    EXPECT_EQ(many - few, 20 * pair) << keys;
    EXPECT_LE(few, 21 * pair + 2 * static_cast<std::uint64_t>(head_words + blocks) + 50) << keys;
  }
}

}  // namespace
}  // namespace m3vit::rtl
