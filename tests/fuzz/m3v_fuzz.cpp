/// Any header over any data is a file whose sections lie in it, in order, and whose tasks run, or an Error. Also any
/// bytes as they are.
///
/// An input is a header's text, a zero, and some bytes that fill the data area over and over: behind checksums and
/// sizes that a fuzzer would not guess, so these are put right here.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "m3vit/m3vit.hpp"
#include "runtime/crc32c.h"
#include "runtime/m3v.h"

namespace m3vit {
namespace {

using nlohmann::json;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kMostData = std::size_t{1} << 20U;
constexpr std::size_t kMostPixels = 64 * 64;
constexpr std::size_t kMostWork = std::size_t{1} << 22U;

std::size_t aligned(std::size_t n) { return (n + kM3vAlignment - 1) / kM3vAlignment * kM3vAlignment; }

bool small(const json& section, const char* key, std::size_t& value) {
  if (!section.is_object() || !section.contains(key) || !section[key].is_number_unsigned()) return false;
  const auto found = section[key].get<std::uint64_t>();
  value = static_cast<std::size_t>(std::min<std::uint64_t>(found, kMostData));
  return found < kMostData;
}

/// Data for the sections of `header`, in which their checksums are put right as far as they are where a file has them.
Bytes fill(json& header, const Bytes& pattern) {
  Bytes data;
  if (!header.is_object() || !header.contains("sections") || !header["sections"].is_array()) return data;
  for (json& section : header["sections"]) {
    std::size_t offset = 0;
    std::size_t bytes = 0;
    if (!small(section, "offset", offset) || !small(section, "bytes", bytes) || offset + bytes > kMostData) continue;
    while (data.size() < offset + bytes)
      data.push_back(pattern.empty() ? std::byte{} : pattern[data.size() % pattern.size()]);
    const std::uint32_t crc = crc32c(std::span(data).subspan(offset, bytes));
    std::string text(8, '0');
    for (std::size_t i = 0; i < 8; ++i) text[7 - i] = "0123456789abcdef"[(crc >> (4 * i)) & 0xFU];
    if (section.contains("crc32c") && section["crc32c"].is_string()) section["crc32c"] = text;
  }
  return data;
}

Bytes file_of(const std::string& header, const Bytes& data) {
  Bytes file(aligned(kM3vPrelude + header.size()) + data.size());
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(header)));
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), kM3vMagic.data(), kM3vMagic.size());
  std::memcpy(file.data() + 4, &crc, sizeof crc);
  std::memcpy(file.data() + 8, &length, sizeof length);
  std::memcpy(file.data() + kM3vPrelude, header.data(), header.size());
  std::copy(data.begin(), data.end(), file.end() - static_cast<std::ptrdiff_t>(data.size()));
  return file;
}

/// Whether the file was accepted; then its sections are in it, apart and named.
bool accepted(const Bytes& bytes, bool& intact) {
  try {
    const M3vFile file = M3vFile::parse(bytes, "fuzz.m3v");
    const std::byte* next = bytes.data() + kM3vPrelude;
    for (const M3vSection& s : file.sections()) {
      if (s.bytes.data() < next || s.bytes.data() + s.bytes.size() > bytes.data() + bytes.size()) std::abort();
      if (s.bytes.data() != bytes.data() + s.offset || file.find(s.name) != &s) std::abort();
      next = s.bytes.data() + s.bytes.size();
    }
    if (file.sections().empty() || file.tasks().empty() || next != bytes.data() + bytes.size()) std::abort();
    try {
      file.verify();
      intact = true;
    } catch (const Error&) {
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Every task, whatever the weights are: NaN, infinities, experts that all tie.
void run(const Bytes& bytes) {
  const Model model = Model::from_bytes(bytes, "fuzz.m3v");
  const std::size_t pixels = static_cast<std::size_t>(model.height()) * static_cast<std::size_t>(model.width());
  if (pixels > kMostPixels) return;
  try {
    Session session = model.session({.threads = 1, .keep_routing = true, .batch = 2});
    if (session.memory().arena > kMostWork) return;
    const std::vector<std::uint8_t> picture(3 * pixels, 100);
    const RgbView view{picture.data(), model.height(), model.width()};
    const RgbView views[] = {view, view};
    for (const TaskInfo& task : model.tasks()) {
      std::vector<float> out(model.output_size(task.name)), other(out.size());
      session.run(task.name, view, out);
      const std::span<float> outs[] = {out, other};
      session.run_batch(task.name, views, outs);
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (out[i] != other[i] && !(std::isnan(out[i]) && std::isnan(other[i]))) std::abort();
      }
      std::vector<std::uint8_t> classes(pixels);
      if (task.channels < 2 || task.channels > 256) continue;
      session.run_classes(task.name, view, classes);
      for (const std::uint8_t c : classes) {
        if (c >= task.channels) std::abort();
      }
    }
  } catch (const Error&) {  // a plan beyond what there is memory for
  }
}

}  // namespace
}  // namespace m3vit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace m3vit;
  bool intact = false;
  const auto* const begin = reinterpret_cast<const std::byte*>(data);
  accepted(Bytes(begin, begin + size), intact);

  const std::byte* const zero = std::find(begin, begin + size, std::byte{});
  const std::string text(reinterpret_cast<const char*>(data), static_cast<std::size_t>(zero - begin));
  const Bytes pattern(zero == begin + size ? zero : zero + 1, begin + size);
  json header = json::parse(text, nullptr, /*allow_exceptions=*/false);
  intact = false;
  if (header.is_discarded()) {
    accepted(file_of(text, pattern), intact);
    return 0;
  }
  const Bytes content = fill(header, pattern);
  const Bytes file = file_of(header.dump(-1, ' ', false, json::error_handler_t::replace), content);
  if (accepted(file, intact) && intact) run(file);
  return 0;
}
