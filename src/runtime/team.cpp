#include "runtime/team.h"

#include <algorithm>

namespace m3vit {
namespace {

// A frame is some hundred short loops: waking a sleeper each time would cost more than the loop. Waiting gives up
// quickly, so that an idle or crowded machine is not kept busy.
constexpr int kSpins = 4000;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Done>
bool spin_until(const Done& done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    relax();
  }
  return false;
}

}  // namespace

int usable_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

Team::Team(int threads) {
  try {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { work(static_cast<std::size_t>(t)); });
  } catch (...) {
    dismiss();  // the system gave fewer threads than asked: those that run must not outlive the members they use
    throw;
  }
}

Team::~Team() { dismiss(); }

void Team::dismiss() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    round_.fetch_add(1, std::memory_order_release);
  }
  begin_.notify_all();
  workers_.clear();  // joins
}

void Team::run_shared(std::size_t items, Call call, const void* fn) {
  {
    const std::lock_guard lock(mutex_);
    items_ = items;
    call_ = call;
    fn_ = fn;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(workers_.size(), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
  }
  begin_.notify_all();
  take_items(0);
  if (spin_until([this] { return busy_.load(std::memory_order_acquire) == 0; })) return;
  std::unique_lock lock(mutex_);
  end_.wait(lock, [this] { return busy_.load(std::memory_order_acquire) == 0; });
}

void Team::take_items(std::size_t worker) {
  for (std::size_t item = next_.fetch_add(1, std::memory_order_relaxed); item < items_;
       item = next_.fetch_add(1, std::memory_order_relaxed)) {
    call_(fn_, item, worker);
  }
}

void Team::work(std::size_t worker) {
  unsigned seen = 0;
  while (true) {
    if (!spin_until([&] { return round_.load(std::memory_order_acquire) != seen; })) {
      std::unique_lock lock(mutex_);
      begin_.wait(lock, [&] { return round_.load(std::memory_order_relaxed) != seen; });
    }
    {
      const std::lock_guard lock(mutex_);
      seen = round_.load(std::memory_order_relaxed);
      if (stop_) return;
    }
    take_items(worker);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::lock_guard lock(mutex_);
      end_.notify_one();
    }
  }
}

}  // namespace m3vit
