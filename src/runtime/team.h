#pragma once
/// A fixed team of threads that share loops. Items are handed out one by one, so who computes what varies from run to
/// run; callers give items that do not depend on each other, and so results do not vary.
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace m3vit {

class Team {
 public:
  /// `threads` ≥ 1 counts the caller, who works too.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls fn(item, worker) for every item below `items`; worker < threads(). Returns when all are done. Allocates
  /// nothing. fn must not throw and must not call run.
  template <class F>
  void run(std::size_t items, const F& fn) {
    if (items == 0) return;
    if (workers_.empty() || items == 1) {
      for (std::size_t i = 0; i < items; ++i) fn(i, std::size_t{0});
      return;
    }
    run_shared(
        items, [](const void* f, std::size_t item, std::size_t worker) { (*static_cast<const F*>(f))(item, worker); },
        &fn);
  }

 private:
  using Call = void (*)(const void* fn, std::size_t item, std::size_t worker);
  void run_shared(std::size_t items, Call call, const void* fn);
  void work(std::size_t worker);
  void take_items(std::size_t worker);
  void dismiss();

  std::vector<std::jthread> workers_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  std::atomic<unsigned> round_{0};  ///< written under mutex_; workers also spin on it
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> busy_{0};  ///< workers still in this round
  bool stop_ = false;                 ///< under mutex_
  std::size_t items_ = 0;
  Call call_ = nullptr;
  const void* fn_ = nullptr;
};

/// Cores this process may run on; at least 1.
int usable_threads();

}  // namespace m3vit
