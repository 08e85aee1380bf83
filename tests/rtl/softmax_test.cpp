// Attention's softmax and its small units against the golden arithmetic.
#include <algorithm>

#include "accel/golden/arith.h"
#include "exp_unit.h"
#include "isqrt_unit.h"
#include "recip_unit.h"
#include "rtl/rtl_testing.h"
#include "softmax32.h"
#include "softmax8.h"

namespace m3vit::rtl {
namespace {

constexpr int kLag = 3;  // pairs between scores and the products with values

// Scores of rows in pairs, as the array sends them; p words and scales as the array asks for them.
template <class Dut, int W>
class Attention {
 public:
  Attention(std::uint32_t seed, double flow) : rng_(seed), flow_(flow) { bench_.reset(); }

  void run(int keys, int pairs) {
    const auto gain = static_cast<std::uint32_t>(rng_.edgy(1 << 14, (1 << 15) - 1));
    bench_->keys_i = static_cast<std::uint16_t>(keys);
    bench_->gain_i = static_cast<std::uint16_t>(gain);
    bench_->start_i = 1;
    bench_.tick();
    bench_->start_i = 0;
    std::vector<Pair> rows;
    for (int i = 0; i < pairs + kLag; ++i) {
      if (i < pairs) {
        rows.push_back({random_scores(keys), random_scores(keys)});
        send(rows.back(), keys);
      }
      if (i >= kLag) check(rows[static_cast<std::size_t>(i - kLag)], i - kLag, keys, gain);
      if (testing::Test::HasFatalFailure()) return;
    }
  }

  // Cycles from a pair's last score until it is done, alone.
  std::uint64_t latency(int keys) {
    bench_->keys_i = static_cast<std::uint16_t>(keys);
    bench_->gain_i = 1 << 14;
    bench_->start_i = 1;
    bench_.tick();
    bench_->start_i = 0;
    send({random_scores(keys), random_scores(keys)}, keys);
    const std::uint64_t from = bench_.cycle();
    while (bench_->pairs_done_o == 0 && bench_.cycle() < from + 1000) bench_.tick();
    return bench_.cycle() - from;
  }

 private:
  using Row = std::vector<std::int16_t>;
  struct Pair {
    Row rows[2];
  };

  Row random_scores(int keys) {
    Row row(static_cast<std::size_t>(keys));
    const std::int64_t kind = rng_.in(0, 3);
    const std::int64_t middle = rng_.edgy(-32000, 32000);
    const std::int64_t spread = kind == 0 ? 32767 : kind == 1 ? 140 : kind == 2 ? 10 : 0;
    for (auto& s : row) {
      s = static_cast<std::int16_t>(kind == 0
                                        ? rng_.edgy(-spread, spread)
                                        : std::clamp<std::int64_t>(middle + rng_.edgy(-spread, spread), -32767, 32767));
    }
    return row;
  }

  void gaps() {
    while (!rng_.coin(flow_)) bench_.tick();
  }

  void send(const Pair& pair, int keys) {
    for (int word = 0; word * W < keys; ++word)
      for (const Row& row : pair.rows) {
        gaps();
        for (int n = 0; n < W; ++n) {
          const int j = word * W + n;  // beyond the last key: anything
          const auto s =
              j < keys ? row[static_cast<std::size_t>(j)] : static_cast<std::int16_t>(rng_.edgy(-32767, 32767));
          put_bytes(bench_->score_i, static_cast<std::size_t>(2 * n), &s, 2);
        }
        bench_->score_valid_i = 1;
        bench_.tick();
        bench_->score_valid_i = 0;
      }
  }

  void check(const Pair& pair, int index, int keys, std::uint32_t gain) {
    const std::uint64_t from = bench_.cycle();
    while (bench_->pairs_done_o <= index) {
      bench_.tick();
      ASSERT_LT(bench_.cycle(), from + 1000) << "pair " << index << " does not come, seed " << rng_.seed();
    }
    std::vector<std::uint8_t> p[2];
    for (int r = 0; r < 2; ++r) {
      const Row& row = pair.rows[r];
      const std::int32_t most = *std::max_element(row.begin(), row.end());
      std::uint32_t sum = 0;
      for (const std::int16_t s : row) {
        p[r].push_back(accel::softmax_weight(most - s));
        sum += p[r].back();
      }
      p[r].resize(static_cast<std::size_t>((keys + W - 1) / W * W));  // no key, no weight
      const accel::Reciprocal scale = accel::reciprocal(sum, gain);
      bench_->scale_slot_i = index % 4;
      bench_->scale_row_i = static_cast<std::uint8_t>(r);
      bench_.settle();
      ASSERT_TRUE(
          same(static_cast<int>(bench_->scale_r_o), int{scale.r}, bench_.cycle(), "r", 2 * index + r, rng_.seed()));
      ASSERT_TRUE(same(static_cast<int>(bench_->scale_n_o), scale.n, bench_.cycle(), "n", 2 * index + r, rng_.seed()));
    }
    for (int word = 0; word * W < keys; ++word) {
      gaps();
      bench_->p_addr_i = static_cast<std::uint8_t>(index % 4 * 64 + word);
      bench_->p_read_i = 1;
      bench_.tick();
      bench_->p_read_i = 0;
      for (int n = 0; n < W; ++n) {
        const auto j = static_cast<std::size_t>(word * W + n);
        ASSERT_TRUE(same(get<std::uint8_t>(bench_->p0_o, static_cast<std::size_t>(n)), p[0][j], bench_.cycle(), "p0",
                         static_cast<std::int64_t>(j), rng_.seed()));
        ASSERT_TRUE(same(get<std::uint8_t>(bench_->p1_o, static_cast<std::size_t>(n)), p[1][j], bench_.cycle(), "p1",
                         static_cast<std::int64_t>(j), rng_.seed()));
      }
    }
  }

  Random rng_;
  double flow_;
  Bench<Dut> bench_;
};

template <class Dut, int W>
void random_rows(std::uint32_t n, double flow) {
  for (const std::uint32_t seed : seeds(n)) {
    Random rng(seed + 3000);
    Attention<Dut, W> attention(seed, flow);
    for (int op = 0; op < 3; ++op) {
      attention.run(static_cast<int>(rng.coin(0.1) ? rng.edgy(1, 64 * W) : rng.in(1, 5 * W)),
                    static_cast<int>(rng.in(1, 12)));
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(Softmax, EqualsGoldenAtWidth8) { random_rows<softmax8, 8>(30, 1); }
TEST(Softmax, EqualsGoldenWithGapsAtWidth8) { random_rows<softmax8, 8>(30, 0.5); }
TEST(Softmax, EqualsGoldenAtWidth32) { random_rows<softmax32, 32>(6, 1); }
TEST(Softmax, IsDoneAFixedTimeAfterTheLastScore) {
  for (const int keys : {1, 8, 33, 129}) {
    const std::uint64_t words = (static_cast<std::uint64_t>(keys) + 7) / 8;
    EXPECT_EQ((Attention<softmax8, 8>(1, 1).latency(keys)), 2 * words + 20) << keys;
  }
}

TEST(Exp, EqualsGoldenEverywhere) {
  VerilatedContext context;
  exp_unit dut(&context);
  for (int below = 0; below < 256; ++below) {
    dut.below_i = static_cast<std::uint8_t>(below);
    dut.eval();
    EXPECT_EQ(dut.p_o, accel::softmax_weight(below)) << below;
  }
}

TEST(Recip, EqualsGoldenOneACycle) {
  for (const std::uint32_t seed : seeds(1)) {
    Random rng(seed);
    Bench<recip_unit> bench;
    bench.reset();
    struct Item {
      std::uint32_t sum, gain;
    };
    std::vector<Item> items;
    std::size_t next = 0;
    for (int i = 0; i < 20000; ++i) {
      Item item{static_cast<std::uint32_t>(rng.edgy(1, (1 << 26) - 1)),
                static_cast<std::uint32_t>(rng.edgy(1 << 14, (1 << 15) - 1))};
      if (rng.coin(0.5)) item.sum = std::max(1U, item.sum >> static_cast<unsigned>(rng.in(0, 26)));
      if (rng.coin(0.1)) item.sum = 1U << static_cast<unsigned>(rng.in(0, 25));
      bench->valid_i = rng.coin(0.8);
      bench->sum_i = item.sum;
      bench->gain_i = static_cast<std::uint16_t>(item.gain);
      bench->tag_i = static_cast<std::uint8_t>(items.size() % 8);
      if (bench->valid_i) items.push_back(item);
      bench.tick();
      if (!bench->valid_o) continue;
      const accel::Reciprocal want = accel::reciprocal(items[next].sum, items[next].gain);
      const auto index = static_cast<std::int64_t>(next);
      ASSERT_TRUE(same(static_cast<int>(bench->r_o), int{want.r}, bench.cycle(), "r", index, seed)) << items[next].sum;
      ASSERT_TRUE(same(static_cast<int>(bench->n_o), want.n, bench.cycle(), "n", index, seed)) << items[next].sum;
      ASSERT_EQ(bench->tag_o, next % 8);
      ++next;
    }
    EXPECT_GT(next, 15000U);
  }
}

TEST(Isqrt, EqualsGoldenAtSquaresAndTheirNeighbours) {
  for (const std::uint32_t seed : seeds(1)) {
    Random rng(seed);
    Bench<isqrt_unit> bench;
    bench.reset();
    std::vector<std::uint64_t> values;
    std::size_t next = 0;
    for (int i = 0; i < 20000; ++i) {
      const auto root = static_cast<std::uint64_t>(rng.edgy(1, (1 << 28) - 1)) >> static_cast<unsigned>(rng.in(0, 20));
      bench->value_i = (root * root + static_cast<std::uint64_t>(rng.in(-1, 1))) & ((std::uint64_t{1} << 56U) - 1);
      if (rng.coin(0.3)) bench->value_i = static_cast<std::uint64_t>(rng.edgy(0, (std::int64_t{1} << 56) - 1));
      bench->valid_i = rng.coin(0.8);
      bench->tag_i = values.size() % 2 == 1;
      if (bench->valid_i) values.push_back(bench->value_i);
      bench.tick();
      if (!bench->valid_o) continue;
      ASSERT_TRUE(same(static_cast<std::uint32_t>(bench->root_o), accel::isqrt(values[next]), bench.cycle(), "root",
                       static_cast<std::int64_t>(next), seed));
      ASSERT_EQ(bench->tag_o, next % 2);
      ++next;
    }
    EXPECT_GT(next, 15000U);
  }
}

}  // namespace
}  // namespace m3vit::rtl
