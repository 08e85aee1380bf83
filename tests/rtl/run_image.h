#pragma once
/// A compiled model's image in simulation.
#include <cstddef>
#include <cstring>
#include <vector>

#include "rtl/machine.h"

namespace m3vit::rtl {

/// Runs the program at `first` (64-byte units); `image` is then as the machine left it. Throws after `limit` cycles, or
/// if the machine complains.
template <class Dut>
Counters run_image(std::vector<std::byte>& image, std::uint32_t first, DdrModel ddr, std::uint64_t limit) {
  Machine<Dut> machine(image.size() + 4096, ddr);
  std::memcpy(machine.memory.data(), image.data(), image.size());
  const Counters counters = machine.run(first, limit);
  std::memcpy(image.data(), machine.memory.data(), image.size());
  return counters;
}

}  // namespace m3vit::rtl
