#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/section_reader.h"

namespace m3vit {
namespace {

class PreadReader final : public SectionReader {
 public:
  PreadReader(const ReadFile& file, std::size_t tickets) : file_(file), jobs_(tickets), queue_(tickets) {
    thread_ = std::thread([this] { work(); });
  }
  ~PreadReader() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    begin_.notify_one();
    thread_.join();
  }

  void start(std::size_t ticket, const Request& request) override {
    {
      const std::lock_guard lock(mutex_);
      jobs_[ticket] = {request, {}, false};
      queue_[(head_ + queued_) % queue_.size()] = ticket;
      ++queued_;
    }
    begin_.notify_one();
  }

  ReadResult wait(std::size_t ticket) override {
    std::unique_lock lock(mutex_);
    end_.wait(lock, [&] { return jobs_[ticket].done; });
    return jobs_[ticket].result;
  }

  std::string_view name() const override { return file_.direct() ? "pread, O_DIRECT" : "pread"; }

 private:
  struct Job {
    Request request;
    ReadResult result;
    bool done = false;
  };

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      begin_.wait(lock, [this] { return stop_ || queued_ > 0; });
      if (stop_) return;  // nobody waits any more: reads that had not begun are not wanted
      const std::size_t ticket = queue_[head_];
      head_ = (head_ + 1) % queue_.size();
      --queued_;
      const Request request = jobs_[ticket].request;
      lock.unlock();
      const ReadResult result = file_.read(request.offset, request.to, request.bytes);
      lock.lock();
      jobs_[ticket].result = result;
      jobs_[ticket].done = true;
      end_.notify_one();
    }
  }

  const ReadFile& file_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  std::vector<Job> jobs_;           ///< by ticket; all under mutex_
  std::vector<std::size_t> queue_;  ///< ring of tickets
  std::size_t head_ = 0, queued_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<SectionReader> make_pread_reader(const ReadFile& file, std::size_t tickets) {
  return std::make_unique<PreadReader>(file, tickets);
}

}  // namespace m3vit
