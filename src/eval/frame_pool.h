#pragma once
/// Worker threads for per-frame metrics whose results are handed back in the order of submission, so that sums do not
/// depend on timing.
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace m3vit {

template <class Result>
class FramePool {
 public:
  /// `take` gets the results, in order, on the submitting thread. At most `backlog` jobs are under way.
  FramePool(int threads, std::size_t backlog, std::function<void(Result)> take)
      : backlog_(backlog), take_(std::move(take)) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~FramePool() {
    {
      const std::lock_guard lock(mutex_);
      jobs_.clear();
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_) t.join();
  }
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  /// Waits while the backlog is full. Rethrows what an earlier job threw.
  void submit(std::function<Result()> job) {
    while (results_.size() >= backlog_) take_front();
    std::packaged_task<Result()> task(std::move(job));
    results_.push_back(task.get_future());
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(task));
    }
    wake_.notify_one();
  }
  void finish() {
    while (!results_.empty()) take_front();
  }

 private:
  void take_front() {
    std::future<Result> front = std::move(results_.front());
    results_.pop_front();
    take_(front.get());
  }
  void work() {
    while (true) {
      std::packaged_task<Result()> task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        task = std::move(jobs_.front());
        jobs_.pop_front();
      }
      task();
    }
  }

  std::size_t backlog_;
  std::function<void(Result)> take_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<Result()>> jobs_;
  std::deque<std::future<Result>> results_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace m3vit
