// A process whose peak memory is compared with the plan: `memory_probe MODEL TASK BUDGET` runs two frames, without
// arguments it only holds what a caller holds. Prints {"peak": bytes, …}.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "m3vit/m3vit.hpp"

namespace {

std::size_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    constexpr std::size_t kPixels = std::size_t{512} * 512;
    std::vector<std::uint8_t> picture(3 * kPixels, 100);
    std::vector<std::uint8_t> classes(kPixels, 1);
    std::size_t planned = 0;
    std::uint64_t read = 0;
    std::string io;
    if (argc == 4) {
      const m3vit::Model model = m3vit::Model::open(argv[1]);
      m3vit::Session session = model.session({.threads = 2, .memory_budget = std::stoull(argv[3])});
      for (int frame = 0; frame < 2; ++frame) {
        session.run_classes(argv[2], m3vit::RgbView{picture.data(), 512, 512}, classes);
      }
      planned = session.memory().total();
      read = session.bytes_read();
      io = session.io();
    }
    std::printf("{\"peak\": %zu, \"planned\": %zu, \"read\": %llu, \"io\": \"%s\"}\n", peak_bytes(), planned,
                static_cast<unsigned long long>(read), io.c_str());
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
