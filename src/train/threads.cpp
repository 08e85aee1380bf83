#include "train/threads.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace m3vit {
namespace {

/// OpenBLAS's own answer: 0 sequential, 1 pthreads, 2 OpenMP; −1 when the BLAS is not OpenBLAS.
int openblas_parallel() {
  using Query = int (*)();
  void* symbol = dlsym(RTLD_DEFAULT, "openblas_get_parallel");
  return symbol == nullptr ? -1 : reinterpret_cast<Query>(symbol)();
}

}  // namespace

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

void wait_passively() {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
  if (words.empty()) return;
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv("/proc/self/exe", argv.data());
}

int set_threads(int threads) {
  const int n = threads > 0 ? threads : usable_cores();
  at::set_num_threads(n);
  static const bool once = [] {
    at::set_num_interop_threads(1);
    return true;
  }();
  static_cast<void>(once);
  return n;
}

std::string describe_threads(int threads) {
  std::string text = std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  switch (openblas_parallel()) {
    case 0:
      return text + ", OpenBLAS sequential";
    case 2:
      return text + ", OpenBLAS on OpenMP";
    case 1:
      return text + ", OpenBLAS on its own pthreads" +
             (threads > 1 ? " (slow beside OpenMP: install libopenblas0-openmp)" : "");
    default:
      return text;
  }
}

}  // namespace m3vit
