#include "data/problems.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "core/progress.h"

namespace m3vit {
namespace {

constexpr std::size_t kChecksPerJob = 64;

}  // namespace

void Problems::add(Error::Parts parts) {
  ++count_;
  if (list_.size() < kKept) list_.push_back(std::move(parts));
}

void Problems::add(const Problems& later) {
  count_ += later.count_;
  for (const Error::Parts& parts : later.list_) {
    if (list_.size() < kKept) list_.push_back(parts);
  }
}

void Problems::throw_if_any(const std::string& where, const std::string& wanted) const {
  if (count_ == 0) return;
  std::string text = count_ == 1 ? "1 problem:" : std::to_string(count_) + " problems:";
  const std::size_t shown = std::min(kShown, list_.size());
  for (std::size_t i = 0; i < shown; ++i) text.append("\n  ").append(Error(list_[i]).what());
  if (count_ > shown) text += "\n  … and " + std::to_string(count_ - shown) + " more";
  throw ProblemsError({.where = where, .field = {}, .wanted = wanted, .found = text, .hint = {}}, *this);
}

void check_all(std::size_t count, const std::function<void(std::size_t, Problems&)>& check, Problems& into,
               const std::string& label) {
  const std::size_t jobs = (count + kChecksPerJob - 1) / kChecksPerJob;
  std::vector<Problems> found(jobs);
  std::atomic<std::size_t> next{0}, done{0};
  Progress progress(label, static_cast<std::int64_t>(count), "frames",
                    label.empty() ? Progress::Style::kQuiet : Progress::Style::kAuto);
  const std::thread::id drawing = std::this_thread::get_id();
  const auto work = [&] {
    for (std::size_t job = next++; job < jobs; job = next++) {
      const std::size_t end = std::min(count, (job + 1) * kChecksPerJob);
      for (std::size_t i = job * kChecksPerJob; i < end; ++i) {
        check(i, found[job]);
        const std::size_t now = ++done;
        if (std::this_thread::get_id() == drawing) progress.update(static_cast<std::int64_t>(now));
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    const std::size_t threads = std::min<std::size_t>(std::max(1U, std::thread::hardware_concurrency()), jobs);
    for (std::size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
  }
  progress.update(static_cast<std::int64_t>(count));
  for (const Problems& p : found) into.add(p);
}

}  // namespace m3vit
