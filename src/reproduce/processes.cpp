#include "reproduce/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "core/error.h"

namespace m3vit {
namespace {

using nlohmann::json;

constexpr int kPollMilliseconds = 200;

void write_line(int fd, const json& message) {
  const std::string line = message.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = write(fd, line.data() + done, line.size() - done);
    if (n < 0 && errno != EINTR) return;  // the parent is gone; the work is saved all the same
    if (n > 0) done += static_cast<std::size_t>(n);
  }
}

json to_json(const Error::Parts& p) {
  return {{"where", p.where}, {"field", p.field}, {"wanted", p.wanted}, {"found", p.found}, {"hint", p.hint}};
}
Error::Parts parts_from_json(const json& j) {
  return {.where = j.at("where"),
          .field = j.at("field"),
          .wanted = j.at("wanted"),
          .found = j.at("found"),
          .hint = j.at("hint")};
}

[[noreturn]] void child(int fd, pid_t parent, std::size_t index, const Work& work) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);  // it died before the line above
  signal(SIGPIPE, SIG_IGN);
  json end;
  try {
    const bool finished = work(index, [fd](const json& message) { write_line(fd, {{"message", message}}); });
    end = {{"end", finished ? "finished" : "interrupted"}};
  } catch (const Error& e) {
    end = {{"error", to_json(e.parts())}};
  } catch (const std::exception& e) {
    end = {{"failed", e.what()}};
  }
  write_line(fd, end);
  _exit(0);  // nothing of the parent's is flushed or destroyed twice
}

class Pool {
 public:
  Pool(const Work& work, const ProcessEvents& events) : work_(work), events_(events) {}
  ~Pool() {
    for (const Child& c : running_) {  // an exception is on its way
      kill(c.pid, SIGTERM);
      waitpid(c.pid, nullptr, 0);
      close(c.fd);
    }
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  std::size_t running() const { return running_.size(); }
  bool stopping() const { return stopping_; }

  void start(std::size_t index) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) child(ends[1], parent, index, work_);
    close(ends[1]);
    running_.push_back({pid, ends[0], index, {}, json::object()});
    events_.started(index);
  }

  void stop() {
    if (stopping_) return;
    stopping_ = true;
    for (const Child& c : running_) kill(c.pid, SIGTERM);
  }

  /// Waits a little for messages and takes them.
  void listen() {
    std::vector<pollfd> fds;
    for (const Child& c : running_) fds.push_back({c.fd, POLLIN, 0});
    if (poll(fds.data(), fds.size(), kPollMilliseconds) <= 0) return;
    std::vector<Child> ended;
    for (std::size_t i = fds.size(); i-- > 0;) {
      if (fds[i].revents == 0 || take(running_[i])) continue;
      ended.push_back(std::move(running_[i]));
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (Child& c : ended) conclude(c);
  }

  ProcessesEnd result() {
    if (error_) throw Error(*error_);
    return std::move(result_);
  }

 private:
  struct Child {
    pid_t pid;
    int fd;
    std::size_t index;
    std::string text;
    json end;
  };

  /// False when the child has closed its end.
  bool take(Child& c) {
    char buffer[4096];
    const ssize_t n = read(c.fd, buffer, sizeof buffer);
    if (n < 0) return errno == EINTR;
    if (n == 0) return false;
    c.text.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t line = c.text.find('\n'); line != std::string::npos; line = c.text.find('\n')) {
      json document = json::parse(c.text.substr(0, line));
      c.text.erase(0, line + 1);
      if (document.contains("message")) {
        events_.message(c.index, document["message"]);
      } else {
        c.end = std::move(document);
      }
    }
    return true;
  }

  void conclude(Child& c) {
    close(c.fd);
    int status = 0;
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (c.end.contains("error")) {
      if (!error_) error_ = parts_from_json(c.end["error"]);
      stop();
    } else if (c.end.contains("failed")) {
      result_.failures.emplace_back(c.index, c.end["failed"]);
    } else if (c.end.value("end", "") == "finished") {
      events_.finished(c.index);
    } else if (stopping_ || c.end.contains("end")) {
      result_.interrupted = true;
      stop();
    } else {
      const std::string how = WIFSIGNALED(status) ? std::string("ended by the signal ") + strsignal(WTERMSIG(status))
                                                  : "ended with code " + std::to_string(WEXITSTATUS(status));
      result_.failures.emplace_back(c.index, "its process " + how);
    }
  }

  const Work& work_;
  const ProcessEvents& events_;
  std::vector<Child> running_;
  bool stopping_ = false;
  std::optional<Error::Parts> error_;
  ProcessesEnd result_;
};

}  // namespace

ProcessesEnd run_processes(std::size_t count, int at_a_time, const Work& work, const ProcessEvents& events,
                           const std::function<bool()>& interrupted) {
  Pool pool(work, events);
  std::size_t next = 0;
  bool asked = false;
  while (true) {
    if (!asked && interrupted()) {
      asked = true;
      pool.stop();
    }
    while (!pool.stopping() && next < count && pool.running() < static_cast<std::size_t>(std::max(1, at_a_time))) {
      pool.start(next++);
    }
    if (pool.running() == 0) break;
    pool.listen();
  }
  ProcessesEnd end = pool.result();
  end.interrupted = end.interrupted || (asked && next < count);
  return end;
}

}  // namespace m3vit
