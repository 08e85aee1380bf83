/// Any bytes are an array of the size its header says, or an Error.
#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "core/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace m3vit;
  try {
    const NpyArray array = parse_npy({reinterpret_cast<const std::byte*>(data), size}, "fuzz.npy");
    std::size_t numel = 1;
    for (const std::int64_t d : array.shape) numel *= static_cast<std::size_t>(d);
    if (numel != array.data.size() || numel > size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
