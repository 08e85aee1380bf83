#include "cli/process_memory.h"

#include <fstream>
#include <string>

namespace m3vit::cli {
namespace {

std::size_t status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

PeakMemory::PeakMemory() {
  std::ofstream("/proc/self/clear_refs") << 5;  // VmHWM back to the present size
  before_ = status_bytes("VmRSS");
}

std::size_t PeakMemory::bytes() const {
  const std::size_t peak = status_bytes("VmHWM");
  return peak > before_ ? peak - before_ : 0;
}

}  // namespace m3vit::cli
