#pragma once
/// Lets a loop's items overlap although each ends with a part that has to wait for all items of earlier places: a
/// token's experts add to the residual stream in ascending order, whichever threads run them. Items must be started in
/// ascending order of places (Team hands them out so); then the one whose turn it is never waits.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace m3vit {

class Turns {
 public:
  explicit Turns(std::size_t most_places) : pending_(new std::atomic<std::int32_t>[most_places]) {}

  /// Items of each place from 0 on are told by `expect`, before any is waited for.
  void start() { turn_.store(0, std::memory_order_relaxed); }
  /// items ≥ 1.
  void expect(std::size_t place, std::int32_t items) { pending_[place].store(items, std::memory_order_relaxed); }
  /// Returns when every item of the places before `place` is done.
  void wait(std::uint32_t place) {
    for (int spins = 0;; ++spins) {
      const std::uint32_t now = turn_.load(std::memory_order_acquire);
      if (now == place) return;
      if (spins < kSpins) {
        relax();
      } else {
        turn_.wait(now, std::memory_order_acquire);
      }
    }
  }
  /// One item of `place`, which has waited, is done.
  void done(std::uint32_t place) {
    if (pending_[place].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    turn_.store(place + 1, std::memory_order_release);
    turn_.notify_all();
  }

 private:
  static constexpr int kSpins = 2000;
  static void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  std::unique_ptr<std::atomic<std::int32_t>[]> pending_;
  std::atomic<std::uint32_t> turn_{0};
};

}  // namespace m3vit
