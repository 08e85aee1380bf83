#pragma once
/// Pieces of work in child processes, several at a time. A training has libtorch's threads, its random generator and
/// its memory to itself there, and one that is killed takes no other along.
#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace m3vit {

/// A child's messages to its parent.
using Send = std::function<void(const nlohmann::json& message)>;
/// Runs in the child. False: it was interrupted (SIGTERM, which the parent passes on) and is not finished.
using Work = std::function<bool(std::size_t index, const Send& send)>;

struct ProcessEvents {  ///< in the parent, on the calling thread
  std::function<void(std::size_t index)> started = [](std::size_t) {};
  std::function<void(std::size_t index, const nlohmann::json& message)> message = [](std::size_t,
                                                                                     const nlohmann::json&) {};
  std::function<void(std::size_t index)> finished = [](std::size_t) {};
};

struct ProcessesEnd {
  bool interrupted = false;
  std::vector<std::pair<std::size_t, std::string>> failures;  ///< what broke in a child, by its index
};

/// Calls work(0 … count − 1), `at_a_time` children at once. A child that fails is named in the result and the others go
/// on; one that throws Error (the caller's mistake, likely every child's) stops all and is thrown again here. When
/// `interrupted` turns true, or a child says it was, all get SIGTERM and are waited for. The children form process
/// groups of their own, so that a terminal's Ctrl-C reaches them through the parent alone, and end with the parent. The
/// caller must have no other threads: children are forks.
ProcessesEnd run_processes(std::size_t count, int at_a_time, const Work& work, const ProcessEvents& events,
                           const std::function<bool()>& interrupted);

}  // namespace m3vit
