/// Any header over any image is a model whose programs and sections lie in the image and that is written as it was
/// read, or an Error. Also any bytes as they are.
///
/// An input is a header's text, a zero, and the image: the checksums and sizes that a fuzzer would not guess are put
/// right here.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "accel/compiler/accel_file.h"
#include "core/error.h"
#include "runtime/crc32c.h"

namespace m3vit::accel {
namespace {

using nlohmann::json;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kPrelude = 16;

Bytes file_of(const std::string& header, std::span<const std::byte> image) {
  const std::size_t begin = (kPrelude + header.size() + kAccelAlignment - 1) / kAccelAlignment * kAccelAlignment;
  Bytes file(begin + image.size());
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(header)));
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), kAccelMagic.data(), kAccelMagic.size());
  std::memcpy(file.data() + 4, &crc, sizeof crc);
  std::memcpy(file.data() + 8, &length, sizeof length);
  std::memcpy(file.data() + kPrelude, header.data(), header.size());
  std::copy(image.begin(), image.end(), file.begin() + static_cast<std::ptrdiff_t>(begin));
  return file;
}

void must(bool held) {
  if (!held) std::abort();
}

std::string written(const Compiled& model) {
  std::ostringstream out;
  write_accel_file(out, model, "fuzz");
  return out.str();
}

void read(const Bytes& file) {
  try {
    const Compiled model = read_accel_file(file, "fuzz");
    const std::size_t units = model.image.size() / Array::kBeatBytes;
    for (const TaskProgram& p : model.programs) {
      must(p.task >= 0 && p.task < static_cast<int>(model.config.tasks.size()));
      must(!p.ops.empty() && p.program + p.ops.size() <= units);
      const std::size_t map = p.output_pitch * static_cast<std::size_t>(p.height);
      must(std::size_t{p.output} * Array::kBeatBytes + map <= model.image.size());
    }
    for (const ImageBuilder::Section& s : model.sections) {
      must(std::size_t{s.address} * Array::kBeatBytes + s.bytes <= model.image.size());
    }
    const std::string text = written(model);
    must(written(read_accel_file(std::as_bytes(std::span(text)), "fuzz")) == text);
  } catch (const Error&) {
  }
}

}  // namespace
}  // namespace m3vit::accel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace m3vit::accel;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  read(Bytes(bytes.begin(), bytes.end()));

  const auto zero = std::find(bytes.begin(), bytes.end(), std::byte{});
  const auto text_size = static_cast<std::size_t>(zero - bytes.begin());
  const std::span<const std::byte> image = bytes.subspan(std::min(text_size + 1, size));
  const std::string text(reinterpret_cast<const char*>(data), text_size);
  json header = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (header.is_object()) {
    header["image"] = {{"bytes", image.size()}, {"crc32c", m3vit::crc32c(image)}};
    read(file_of(header.dump(-1, ' ', false, json::error_handler_t::replace), image));
  } else {
    read(file_of(text, image));
  }
  return 0;
}
