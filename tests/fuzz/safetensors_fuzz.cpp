/// Any bytes are a file whose tensors lie inside it, end to end, or an Error.
#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "core/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace m3vit;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const SafetensorsFile file = SafetensorsFile::parse(bytes, "fuzz.safetensors");
    const std::byte* next = nullptr;
    for (const TensorView& tensor : file.tensors()) {
      if (next != nullptr && tensor.bytes.data() != next) std::abort();
      next = tensor.bytes.data() + tensor.bytes.size();
      if (static_cast<std::size_t>(tensor.numel()) * dtype_bytes(tensor.dtype) != tensor.bytes.size()) std::abort();
      if (file.find(tensor.name) != &tensor) std::abort();
      try {
        to_f32(tensor, "fuzz.safetensors");
      } catch (const Error&) {  // an integer type
      }
    }
    if (next != nullptr && next != bytes.data() + bytes.size()) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
