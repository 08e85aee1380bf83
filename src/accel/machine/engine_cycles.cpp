#include "accel/machine/engine_cycles.h"

#include <algorithm>
#include <deque>

namespace m3vit::accel {
namespace {

// Registers between events, as the modules of rtl/ have them.
constexpr Cycle kRunning = 2;         // op taken → the pass runs
constexpr Cycle kGather = 5;          // … → a convolution's first address
constexpr Cycle kToken = 3;           // … → the first token has been read
constexpr Cycle kFull = 2;            // last word fetched → the slot counts as full
constexpr Cycle kStepToDone = 14;     // last step issued → GEMM takes the next op
constexpr Cycle kStepToRows = 12;     // last step of a pair issued → rows_done
constexpr Cycle kStepToLogits = 7;    // … → the router has the pair
constexpr Cycle kFirstReading = 3;    // last logit read → the row waits for its second reading
constexpr Cycle kSecondReading = 16;  // … → 1 / sum
constexpr Cycle kSecondLeast = 8;     // cycles of a row's second reading
constexpr Cycle kScoreToSoftmax = 15;
constexpr Cycle kSoftmaxToScale = 17;
constexpr std::size_t kAttendLag = 3;
constexpr std::size_t kRouterPairs = 4;
constexpr Cycle kNormToScale = 34;
constexpr Cycle kNormToWritten = 14;
constexpr int kNormFlight = 8;

/// The two row-buffer slots and the array behind them.
class Pass {
 public:
  Pass(const PassShape& shape, const RowsReady& ready)
      : s_(shape), ready_(ready), steps_(std::max<std::int64_t>(shape.row_words, 2)) {}

  std::int64_t pairs() const { return (s_.rows + 1) / 2; }
  /// The next pair, not issued before `room`; returns when its last step is issued.
  Cycle next(Cycle room) {
    for (int half = 0; half < 2; ++half) fetch(half);
    const Cycle begin = std::max({issued_ + 1, fetched_ + kFull, room});
    before_ = issued_;
    issued_ = begin + s_.blocks * steps_ - 1;
    return begin + (s_.blocks - 1) * steps_ + s_.row_words - 1;
  }
  /// When the pair that `next` returned began, for the router's count.
  Cycle begun() const { return issued_ - s_.blocks * steps_ + 1; }

 private:
  void fetch(int half) {
    const auto row = static_cast<std::size_t>(row_);
    Cycle taken = std::max(kRunning, fetched_);  // the row before has left the register
    if (row_ < s_.rows) {
      if (s_.by_token) {
        token_ = row_ == 0 ? kToken : std::max(token_ + 2, taken_);
        taken = std::max(taken, token_ + 1);
      }
      if (ready_) taken = std::max(taken, ready_(row));
    }
    taken_ = taken;
    Cycle begin = taken + 1;
    if (s_.conv) begin = std::max(begin, kGather);
    if (half == 0) begin = std::max(begin, before_ + 1);  // the slot of two pairs ago is free
    fetched_ = begin + s_.row_words - 1;
    ++row_;
  }

  const PassShape& s_;
  const RowsReady& ready_;
  std::int64_t steps_;
  std::int64_t row_ = 0;
  Cycle taken_ = 0, token_ = 0, fetched_ = 0;
  Cycle issued_ = -1, before_ = -1;  // last step of the pair before, and of the one before it
};

}  // namespace

EngineRun pass_cycles(const PassShape& shape, const RowsReady& ready) {
  Pass pass(shape, ready);
  EngineRun run;
  run.rows_ready.reserve(static_cast<std::size_t>(2 * pass.pairs()));
  for (std::int64_t p = 0; p < pass.pairs(); ++p) {
    run.last_step = pass.next(0);
    run.rows_ready.insert(run.rows_ready.end(), 2, run.last_step + kStepToRows);
  }
  run.done = run.last_step + kStepToDone;
  return run;
}

EngineRun attend_cycles(std::int64_t rows, std::int64_t head_words, std::int64_t key_blocks) {
  const auto pairs = static_cast<std::size_t>((rows + 1) / 2);
  const Cycle score = key_blocks * std::max<std::int64_t>(head_words, 2);
  const Cycle value = head_words * std::max<std::int64_t>(key_blocks, 2);
  std::vector<Cycle> fetched(pairs), scored(pairs), weighed(pairs);
  const auto fetch = [&](std::size_t p) {
    const Cycle before = p == 0 ? kRunning : fetched[p - 1] + 1;
    fetched[p] = std::max(before, p < 2 ? 0 : scored[p - 2] + 1) + 2 * head_words - 1;
  };
  fetch(0);
  Cycle worked = 0;  // softmax's last cycle with the pair before
  Cycle now = kRunning;
  for (std::size_t s = 0; s < pairs + kAttendLag; ++s) {
    if (s < pairs) {
      if (s + 1 < pairs) fetch(s + 1);
      now = std::max(now, fetched[s] + kFull);
      if (s + 1 < pairs && now == fetched[s + 1] + 1) ++now;  // no pair begins while another becomes full
      now += score;
      scored[s] = now - 1;
      worked = std::max(scored[s] + kScoreToSoftmax, worked + 1) + 2 * key_blocks - 1;
      weighed[s] = worked + kSoftmaxToScale;
    } else {
      ++now;
    }
    now = s < kAttendLag ? now + 1 : std::max(now, weighed[s - kAttendLag]) + value;
  }
  EngineRun run;
  run.last_step = now - 1;
  run.done = run.last_step + kStepToDone - 1;
  return run;
}

EngineRun route_cycles(const RouteShape& shape, int top_k, const std::function<int(std::size_t row)>& kept,
                       const RowsReady& ready) {
  const PassShape pass_shape{.rows = shape.rows, .row_words = shape.row_words, .blocks = shape.blocks};
  Pass pass(pass_shape, ready);
  const auto rows = static_cast<std::size_t>(shape.rows);
  std::vector<Cycle> read_again(rows), left(rows);  // last cycle of the second reading, of the pushes
  std::vector<Cycle> pair_left(static_cast<std::size_t>(pass.pairs()));
  EngineRun run;
  Cycle first = 0;
  Cycle second = 0;
  Cycle pushed = 0;
  for (std::size_t p = 0; p < pair_left.size(); ++p) {
    run.last_step = pass.next(p < kRouterPairs ? 0 : pair_left[p - kRouterPairs] + 1);
    for (std::size_t r = 2 * p; r < std::min(rows, 2 * p + 2); ++r) {
      Cycle begin = std::max(first, run.last_step + kStepToLogits);
      if (r >= 2) begin = std::max(begin, read_again[r - 2] + 1);
      first = begin + shape.experts;
      begin = std::max(second, first + kFirstReading);
      if (r >= 4) begin = std::max(begin, left[r - 4] + 1);
      second = begin + std::max<Cycle>(shape.experts, kSecondLeast);
      read_again[r] = second - 1;
      pushed = std::max(pushed, begin + shape.experts + kSecondReading) + 3 * top_k + kept(r);
      left[r] = pushed - 1;
    }
    pair_left[p] = read_again[std::min(rows, 2 * p + 2) - 1];
  }
  run.done = pushed + 2;
  return run;
}

EngineRun norm_cycles(std::int64_t rows, std::int64_t words, const RowsReady& ready) {
  EngineRun run;
  std::deque<Cycle> scales;  // of rows in flight, when 1/std is known
  std::int64_t entered = 0;
  std::int64_t sums_word = 0;
  std::int64_t y_word = 0;
  int flight = 0;
  run.rows_ready.reserve(static_cast<std::size_t>(rows));
  for (Cycle t = kRunning; static_cast<std::int64_t>(run.rows_ready.size()) < rows; ++t) {
    const int before = flight;  // what the register shows
    if (!scales.empty() && scales.front() <= t) {
      if (++y_word < words) continue;
      y_word = 0;
      --flight;
      scales.pop_front();
      run.rows_ready.push_back(t + kNormToWritten);
    } else if (entered < rows &&
               (sums_word > 0 || (before < kNormFlight && (!ready || ready(static_cast<std::size_t>(entered)) <= t)))) {
      if (sums_word == 0) ++flight;
      if (++sums_word < words) continue;
      sums_word = 0;
      ++entered;
      scales.push_back(t + kNormToScale);
    } else if (scales.empty() && ready) {
      t = std::max(t, ready(static_cast<std::size_t>(entered)) - 1);
    } else if (!scales.empty() && entered == rows) {
      t = std::max(t, scales.front() - 1);
    }
  }
  run.done = run.rows_ready.back() + 1;
  return run;
}

EngineRun upsample_cycles(std::int64_t output_words) { return {.done = 4 * output_words + 11, .rows_ready = {}}; }

EngineRun store_cycles(std::int64_t beats, std::int64_t pieces, std::int64_t last_pieces) {
  return {.done = 3 + (beats - 1) * (pieces + 2) + last_pieces + 4, .rows_ready = {}};
}

}  // namespace m3vit::accel
