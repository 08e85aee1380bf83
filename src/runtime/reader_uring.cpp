#include "runtime/section_reader.h"

#ifdef M3VIT_URING
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>
#endif

namespace m3vit {

#ifdef M3VIT_URING
namespace {

// Several parts of a section are in flight at once: drives answer a queue of reads faster than one.
constexpr std::size_t kPart = std::size_t{1} << 20U;
constexpr unsigned kEntries = 64;

class UringReader final : public SectionReader {
 public:
  UringReader(const ReadFile& file, std::size_t tickets) : file_(file), jobs_(tickets) {}
  ~UringReader() override {
    // The kernel writes into the caller's memory until the last read has ended.
    for (std::size_t t = 0; t < jobs_.size(); ++t) {
      if (jobs_[t].parts > 0) wait(t);
    }
    if (open_) ::io_uring_queue_exit(&ring_);
  }

  /// 0 or an errno.
  int open() {
    const int result = ::io_uring_queue_init(kEntries, &ring_, 0);
    open_ = result == 0;
    return -result;
  }

  void start(std::size_t ticket, const Request& request) override {
    Job& job = jobs_[ticket];
    job = {request, 0, false};
    const bool direct = file_.direct();
    const int descriptor = file_.descriptor();
    for (std::size_t at = 0; at < request.bytes; at += kPart) {
      io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
      if (entry == nullptr) {
        submit();
        entry = ::io_uring_get_sqe(&ring_);
      }
      if (entry == nullptr) {  // the kernel takes none now: `wait` reads it all itself
        job.incomplete = true;
        break;
      }
      const std::size_t part = std::min(kPart, request.bytes - at);
      const std::size_t length = direct ? ReadFile::round(part) : part;
      ::io_uring_prep_read(entry, descriptor, request.to + at, static_cast<unsigned>(length), request.offset + at);
      // Which ticket, and what it must bring: at the file's end a rounded read brings less than its length.
      ::io_uring_sqe_set_data64(entry, std::uint64_t{ticket} << 32U | part);
      ++job.parts;
    }
    submit();
  }

  ReadResult wait(std::size_t ticket) override {
    Job& job = jobs_[ticket];
    while (job.parts > 0) {
      submit();  // what the kernel did not take at once
      io_uring_cqe* done = nullptr;
      const int result = ::io_uring_wait_cqe(&ring_, &done);
      if (result == -EINTR || result == -EAGAIN) continue;
      if (result < 0) return {0, -result};
      const std::uint64_t data = ::io_uring_cqe_get_data64(done);
      Job& other = jobs_[data >> 32U];
      --other.parts;
      if (done->res < 0 || static_cast<std::uint64_t>(done->res) < (data & 0xFFFFFFFFU)) other.incomplete = true;
      ::io_uring_cqe_seen(&ring_, done);
    }
    if (!job.incomplete) return {job.request.bytes, 0};
    // Interrupted, cut short, or an error: the plain way says which.
    return file_.read(job.request.offset, job.request.to, job.request.bytes);
  }

  std::string_view name() const override { return file_.direct() ? "io_uring, O_DIRECT" : "io_uring"; }

 private:
  struct Job {
    Request request;
    std::size_t parts = 0;  ///< in flight
    bool incomplete = false;
  };
  void submit() {
    while (::io_uring_sq_ready(&ring_) > 0) {
      const int result = ::io_uring_submit(&ring_);
      if (result < 0 && result != -EINTR) return;  // busy: `wait` makes room and tries again
    }
  }

  const ReadFile& file_;
  std::vector<Job> jobs_;  ///< by ticket
  io_uring ring_{};
  bool open_ = false;
};

}  // namespace

std::unique_ptr<SectionReader> make_uring_reader(const ReadFile& file, std::size_t tickets, std::string& why) {
  auto reader = std::make_unique<UringReader>(file, tickets);
  const int error = reader->open();
  if (error == 0) return reader;
  why = std::strerror(error);
  return nullptr;
}

#else

std::unique_ptr<SectionReader> make_uring_reader(const ReadFile&, std::size_t, std::string& why) {
  why = "built without liburing";
  return nullptr;
}

#endif

}  // namespace m3vit
