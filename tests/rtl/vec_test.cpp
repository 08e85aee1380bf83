// The VEC engine against the golden arithmetic: every written word is compared in order, under stalls of every port.
#include <array>
#include <cmath>
#include <functional>

#include "accel/golden/arith.h"
#include "rtl/rtl_testing.h"
#include "vec32.h"
#include "vec8.h"

namespace m3vit::rtl {
namespace {

using Op = std::array<std::uint32_t, 16>;

std::uint32_t pair(std::int64_t low, std::int64_t high) { return static_cast<std::uint32_t>(low | high << 16); }

// An op with its memories. Writes must come in the order of `want`.
template <class Dut, int W>
class Vec {
 public:
  using Act = std::array<std::int8_t, W>;
  using Res = std::array<std::int16_t, W>;
  struct Write {
    int address;
    Act word;
  };

  Vec(std::uint32_t seed, double flow) : rng(seed), flow_(flow), xmem(4096), amem(4096) { bench.reset(); }

  // Channel c of the norm parameters that begin at word `base`.
  void load_params(int base, const std::vector<accel::Param>& params) {
    for (std::size_t beat = 0; beat < (params.size() + 7) / 8; ++beat) {
      for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t c = 8 * beat + i;
        const std::uint64_t bits = (c < params.size() ? params[c] : accel::Param{}).bits();
        put_bytes(bench->param_data_i, 8 * i, &bits, 8);
      }
      bench->param_addr_i = static_cast<std::uint8_t>(static_cast<std::size_t>(base * W / 8) + beat);
      bench->param_we_i = 1;
      clock();
    }
    bench->param_we_i = 0;
  }

  // Runs the op to its end; `each_cycle` may change memories and inputs. Returns its cycles, acceptance to done.
  std::uint64_t run(
      const Op& op, std::vector<Write> writes, int words_of_row, const std::function<void()>& each_cycle = [] {}) {
    want_ = std::move(writes);
    next_ = 0;
    EXPECT_TRUE(bench->op_ready_o);
    std::memcpy(&bench->op_i, op.data(), sizeof op);
    bench->op_valid_i = 1;
    clock();
    bench->op_valid_i = 0;
    std::memset(&bench->op_i, 0xA5, sizeof op);  // it must have been kept
    const std::uint64_t start = bench.cycle();
    while (!bench->done_o) {
      each_cycle();
      clock();
      if (testing::Test::HasFatalFailure()) return 0;
      EXPECT_EQ(bench->rows_done_o, next_ / static_cast<std::size_t>(words_of_row));
      if (bench.cycle() - start > 200000) {
        ADD_FAILURE() << "no end after " << next_ << " of " << want_.size() << " words, seed " << rng.seed();
        return 0;
      }
    }
    const std::uint64_t cycles = bench.cycle() - start;
    EXPECT_EQ(next_, want_.size());
    clock();
    EXPECT_FALSE(bench->done_o);
    return cycles;
  }

  Bench<Dut> bench;
  Random rng;

 private:
  void clock() {
    bench->xmem_gnt_i = rng.coin(flow_);
    bench->amem_gnt_i = rng.coin(flow_);
    bench->amem_ready_i = rng.coin(flow_);
    bench.settle();
    const bool read_x = bench->xmem_req_o && bench->xmem_gnt_i;
    const bool read_a = bench->amem_req_o && bench->amem_gnt_i;
    const std::size_t x_at = bench->xmem_addr_o, a_at = bench->amem_raddr_o;
    if (bench->amem_valid_o && bench->amem_ready_i) check_write();
    bench.tick();
    // data stays for one cycle only
    const Res junk_x = filled<Res>(-21846);
    const Act junk_a = filled<Act>(90);
    put_bytes(bench->xmem_data_i, 0, read_x ? xmem.at(x_at).data() : junk_x.data(), sizeof(Res));
    put_bytes(bench->amem_rdata_i, 0, read_a ? amem.at(a_at).data() : junk_a.data(), sizeof(Act));
    if (read_x && on_read) on_read(static_cast<int>(x_at));
  }
  template <class Word>
  static Word filled(typename Word::value_type v) {
    Word w;
    w.fill(v);
    return w;
  }
  void check_write() {
    ASSERT_LT(next_, want_.size()) << "a word too many, seed " << rng.seed();
    const Write& w = want_[next_];
    const auto index = static_cast<std::int64_t>(next_);
    ASSERT_TRUE(same(static_cast<int>(bench->amem_waddr_o), w.address, bench.cycle(), "address", index, rng.seed()));
    for (int n = 0; n < W; ++n)
      ASSERT_TRUE(same(get<std::int8_t>(bench->amem_wdata_o, static_cast<std::size_t>(n)),
                       w.word[static_cast<std::size_t>(n)], bench.cycle(), "y", index * W + n, rng.seed()));
    ++next_;
  }

  double flow_;
  std::vector<Write> want_;
  std::size_t next_ = 0;

 public:
  std::vector<Res> xmem;
  std::vector<Act> amem;
  std::function<void(int)> on_read;  // address in xmem
};

// Rows of every character: plain, tiny, constant, zero, at the ends, one channel only.
std::vector<std::int16_t> random_row(Random& rng, int channels) {
  std::vector<std::int16_t> row(static_cast<std::size_t>(channels));
  const std::int64_t kind = rng.in(0, 5);
  const std::int64_t scale = kind == 0 ? 32767 : kind == 1 ? 3 : kind == 2 ? 900 : 0;
  const std::int64_t offset = kind == 3 ? rng.in(-32767, 32767) : kind == 2 ? rng.in(-9000, 9000) : 0;
  for (auto& x : row) x = static_cast<std::int16_t>(offset + rng.edgy(-scale, scale));
  if (kind == 4)
    for (auto& x : row) x = rng.coin(0.5) ? std::int16_t{32767} : std::int16_t{-32767};
  if (kind == 5)
    row[static_cast<std::size_t>(rng.in(0, channels - 1))] = static_cast<std::int16_t>(rng.edgy(-32767, 32767));
  return row;
}

struct NormShape {
  int rows, channels;
};

template <class Dut, int W>
std::uint64_t norm_case(std::uint32_t seed, double flow, NormShape s, bool chase) {
  Vec<Dut, W> vec(seed, flow);
  Random& rng = vec.rng;
  const int words = (s.channels + W - 1) / W;
  const int src_stride = words + static_cast<int>(rng.in(0, 2)), dst_stride = words + static_cast<int>(rng.in(0, 2));
  const int src = static_cast<int>(rng.in(0, 50)), dst = static_cast<int>(rng.in(0, 50));
  const int base = static_cast<int>(rng.in(0, 64 - words));
  const int shift = static_cast<int>(rng.coin(0.2) ? rng.edgy(0, 63) : rng.in(14, 26));
  const auto eps = static_cast<std::uint32_t>(rng.coin(0.5) ? rng.edgy(1, 0xFFFFFFFF) : 1);

  std::vector<accel::Param> params(static_cast<std::size_t>(s.channels));
  for (auto& p : params) {
    p.mul = static_cast<std::uint16_t>(rng.edgy(-32768, 32767));
    p.bias = static_cast<std::int32_t>(rng.coin(0.2) ? rng.edgy(INT32_MIN, INT32_MAX) : rng.in(-(1 << 24), 1 << 24));
  }
  vec.load_params(base, params);

  std::vector<std::vector<std::int16_t>> rows;
  std::vector<typename Vec<Dut, W>::Write> writes;
  for (int r = 0; r < s.rows; ++r) {
    const auto row = random_row(rng, s.channels);
    accel::RowStats sums;
    for (const std::int16_t x : row) {
      sums.sum += x;
      sums.squares += std::int64_t{x} * x;
    }
    const accel::InverseSqrt scale = accel::norm_scale(sums, s.channels, eps);
    for (int w = 0; w < words; ++w) {
      typename Vec<Dut, W>::Act y{};
      for (int n = 0; n < W && w * W + n < s.channels; ++n) {
        const auto c = static_cast<std::size_t>(w * W + n);
        y[static_cast<std::size_t>(n)] =
            accel::norm_affine(accel::normalise(row[c], sums, s.channels, scale), params[c], shift);
      }
      writes.push_back({dst + r * dst_stride + w, y});
    }
    rows.push_back(row);
  }

  int released = 0;
  const auto release = [&] {
    for (int c = 0; c < words * W; ++c) {
      const auto& row = rows[static_cast<std::size_t>(released)];
      vec.xmem[static_cast<std::size_t>(src + released * src_stride + c / W)][static_cast<std::size_t>(c % W)] =
          c < s.channels ? row[static_cast<std::size_t>(c)] : std::int16_t{0};
    }
    ++released;
  };
  if (!chase)
    while (released < s.rows) release();
  for (auto& word : vec.xmem)
    if (chase) word.fill(0x5555);  // what is read too early is not the row
  vec.on_read = [&](int address) { EXPECT_LT((address - src) / src_stride, released) << "seed " << seed; };

  Op op{};
  op[0] = 0x30U | (chase ? 1U << 14U : 0U);
  op[3] = pair(s.rows, words);
  op[4] = pair(s.channels, base);
  op[5] = pair(dst_stride, src_stride);
  op[6] = static_cast<std::uint32_t>(src);
  op[7] = static_cast<std::uint32_t>(dst);
  op[8] = static_cast<std::uint32_t>(shift);
  op[9] = eps;
  const auto each_cycle = [&] {
    if (chase && released < s.rows && rng.coin(0.1)) release();
    vec.bench->chase_rows_i = static_cast<std::uint16_t>(released);
    vec.bench->chase_en_i = chase && released < s.rows;
  };
  each_cycle();
  return vec.run(op, std::move(writes), words, each_cycle);
}

template <class Dut, int W>
void random_norms(std::uint32_t n, double flow, bool chase) {
  for (const std::uint32_t seed : seeds(n)) {
    Random rng(seed + 1000);
    const int channels = static_cast<int>(rng.coin(0.1) ? rng.in(1, 64 * W) : rng.in(1, 6 * W));
    norm_case<Dut, W>(seed, flow, {static_cast<int>(rng.in(1, 30 * W / channels + 1)), channels}, chase);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Norm, EqualsGoldenAtWidth8) { random_norms<vec8, 8>(40, 1, false); }
TEST(Norm, EqualsGoldenUnderStallsAtWidth8) { random_norms<vec8, 8>(40, 0.4, false); }
TEST(Norm, EqualsGoldenUnderStallsAtWidth32) { random_norms<vec32, 32>(15, 0.6, false); }
TEST(Norm, ReadsNoRowThatIsNotYetWrittenWhenItChases) { random_norms<vec8, 8>(30, 0.7, true); }
TEST(Norm, TakesTheLongestRow) { norm_case<vec32, 32>(1, 1, {3, 64 * 32}, false); }

// Rows cost two reads a word; the pipeline's length comes on top once.
TEST(Norm, TakesTwoCyclesAWord) {
  for (const int words : {6, 12, 24}) {
    const auto reads = static_cast<std::uint64_t>(50 * 2 * words);
    const std::uint64_t cycles = norm_case<vec8, 8>(1, 1, {50, 8 * words}, false);
    EXPECT_GE(cycles, reads) << words;
    EXPECT_LE(cycles, reads + 2 * static_cast<std::uint64_t>(words) + 60) << words;
  }
}

struct Map {
  int width, height, words, first, lines;  // source map; strip of the output map
};

template <class Dut, int W>
std::uint64_t upsample_case(std::uint32_t seed, double flow, Map m) {
  Vec<Dut, W> vec(seed, flow);
  Random& rng = vec.rng;
  const int src_first = std::max(0, m.first / 2 - 1);
  const int src = static_cast<int>(rng.in(0, 50)), dst = static_cast<int>(rng.in(2000, 2100));
  std::vector<typename Vec<Dut, W>::Act> map(static_cast<std::size_t>(m.width * m.height * m.words));
  const auto at = [&](int y, int x, int w) -> auto& {
    return map[static_cast<std::size_t>(
        (std::clamp(y, 0, m.height - 1) * m.width + std::clamp(x, 0, m.width - 1)) * m.words + w)];
  };
  for (auto& word : map)
    for (auto& v : word) v = static_cast<std::int8_t>(rng.edgy(-127, 127));
  for (int y = src_first; y < m.height; ++y)
    for (int i = 0; i < m.width * m.words; ++i)
      vec.amem[static_cast<std::size_t>(src + (y - src_first) * m.width * m.words + i)] = at(y, 0, i);

  std::vector<typename Vec<Dut, W>::Write> writes;
  for (int y = m.first; y < m.first + m.lines; ++y)
    for (int x = 0; x < 2 * m.width; ++x)
      for (int w = 0; w < m.words; ++w) {
        const int far_y = y / 2 + (y % 2 == 0 ? -1 : 1), far_x = x / 2 + (x % 2 == 0 ? -1 : 1);
        typename Vec<Dut, W>::Act out;
        for (std::size_t n = 0; n < W; ++n)
          out[n] = accel::upsample(at(y / 2, x / 2, w)[n], at(y / 2, far_x, w)[n], at(far_y, x / 2, w)[n],
                                   at(far_y, far_x, w)[n]);
        writes.push_back({dst + static_cast<int>(writes.size()), out});
      }
  Op op{};
  op[0] = 0x31;
  op[3] = pair(m.lines, m.words);
  op[4] = pair(m.width, m.height);
  op[6] = static_cast<std::uint32_t>(src);
  op[7] = static_cast<std::uint32_t>(dst);
  op[8] = pair(src_first, m.first);
  return vec.run(op, std::move(writes), 2 * m.width * m.words);
}

template <class Dut, int W>
void random_maps(std::uint32_t n, double flow) {
  for (const std::uint32_t seed : seeds(n)) {
    Random rng(seed + 2000);
    Map m{static_cast<int>(rng.in(1, 9)), static_cast<int>(rng.in(1, 7)), static_cast<int>(rng.in(1, 3)), 0, 0};
    m.first = static_cast<int>(rng.in(0, 2 * m.height - 1));
    m.lines = static_cast<int>(rng.in(1, 2 * m.height - m.first));
    upsample_case<Dut, W>(seed, flow, m);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Upsample, EqualsGoldenOnAnyStripOfAnyMapAtWidth8) { random_maps<vec8, 8>(40, 1); }
TEST(Upsample, EqualsGoldenUnderStallsAtWidth8) { random_maps<vec8, 8>(40, 0.4); }
TEST(Upsample, EqualsGoldenUnderStallsAtWidth32) { random_maps<vec32, 32>(15, 0.6); }
TEST(Upsample, TakesFourCyclesAWord) {
  const std::uint64_t few = upsample_case<vec8, 8>(1, 1, {5, 4, 2, 0, 2});
  const std::uint64_t many = upsample_case<vec8, 8>(1, 1, {5, 4, 2, 0, 8});
  EXPECT_EQ(many - few, std::uint64_t{6 * 10 * 2 * 4});
  EXPECT_LE(few, std::uint64_t{2 * 10 * 2 * 4 + 16});
}

}  // namespace
}  // namespace m3vit::rtl
