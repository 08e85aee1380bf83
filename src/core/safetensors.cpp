#include "core/safetensors.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/json_text.h"
#include "core/mapped_file.h"

namespace m3vit {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they lie");

using nlohmann::json;

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // the reference reader's limit
constexpr std::size_t kMostDims = 64;

[[noreturn]] void fail(const std::string& where, std::string field, std::string wanted, std::string found) {
  throw Error{
      {.where = where, .field = std::move(field), .wanted = std::move(wanted), .found = std::move(found), .hint = {}}};
}

std::string dtype_list() {
  std::string all;
  for (const Dtype d : {Dtype::kF32, Dtype::kF16, Dtype::kBF16, Dtype::kF64, Dtype::kI64, Dtype::kI32, Dtype::kI16,
                        Dtype::kI8, Dtype::kU8, Dtype::kBool}) {
    all += (all.empty() ? "" : ", ") + std::string(dtype_name(d));
  }
  return all;
}

/// Bytes of a tensor, or nullopt beyond 63 bits.
std::optional<std::uint64_t> tensor_bytes(Dtype dtype, const std::vector<std::int64_t>& shape) {
  std::int64_t bytes = static_cast<std::int64_t>(dtype_bytes(dtype));
  // A zero anywhere makes the product zero, however large the other sizes are.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  for (const std::int64_t d : shape) {
    if (__builtin_mul_overflow(bytes, d, &bytes)) return std::nullopt;
  }
  return static_cast<std::uint64_t>(bytes);
}

/// One tensor's entry of the header, with its place in the data area.
struct Entry {
  TensorView view;
  std::uint64_t begin = 0, end = 0;
};

std::uint64_t offset_of(const json& value, const std::string& where, const std::string& field) {
  if (!value.is_number_unsigned()) fail(where, field, "an offset of 0 or more", shown(value));
  return value.get<std::uint64_t>();
}

Entry parse_entry(const std::string& name, const json& value, std::uint64_t data_size, const std::string& where) {
  const std::string field = "tensor " + printable(name);
  if (!value.is_object()) fail(where, field, "an object with dtype, shape and data_offsets", shown(value));
  for (const auto& [key, ignored] : value.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      fail(where, field, "the keys dtype, shape and data_offsets", shown(json(key)));
    }
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) fail(where, field, std::string("the key ") + key, "none");
  }
  Entry entry;
  entry.view.name = name;
  const json& dtype = value["dtype"];
  const std::optional<Dtype> found = dtype.is_string() ? find_dtype(dtype.get_ref<const std::string&>()) : std::nullopt;
  if (!found) fail(where, field + ".dtype", "one of " + dtype_list(), shown(dtype));
  entry.view.dtype = *found;

  const json& shape = value["shape"];
  if (!shape.is_array() || shape.size() > kMostDims) fail(where, field + ".shape", "a list of sizes", shown(shape));
  for (const json& d : shape) {
    if (!d.is_number_unsigned() ||
        d.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(where, field + ".shape", "sizes of 0 or more", shown(shape));
    }
    entry.view.shape.push_back(d.get<std::int64_t>());
  }
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) {
    fail(where, field + ".data_offsets", "[begin, end]", shown(offsets));
  }
  entry.begin = offset_of(offsets[0], where, field + ".data_offsets");
  entry.end = offset_of(offsets[1], where, field + ".data_offsets");
  if (entry.begin > entry.end || entry.end > data_size) {
    fail(where, field + ".data_offsets", "0 ≤ begin ≤ end ≤ " + std::to_string(data_size) + " (the data's size)",
         shown(offsets));
  }
  const std::optional<std::uint64_t> bytes = tensor_bytes(entry.view.dtype, entry.view.shape);
  if (!bytes) fail(where, field + ".shape", "a size below 2^63 bytes", shown(shape));
  if (*bytes != entry.end - entry.begin) {
    fail(where, field + ".data_offsets", std::to_string(*bytes) + " bytes as dtype and shape say",
         std::to_string(entry.end - entry.begin));
  }
  return entry;
}

std::map<std::string, std::string> parse_metadata(const json& value, const std::string& where) {
  if (!value.is_object()) fail(where, "__metadata__", "a map of strings", shown(value));
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail(where, "__metadata__." + printable(key), "a string", shown(text));
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

}  // namespace

std::int64_t TensorView::numel() const { return static_cast<std::int64_t>(bytes.size() / dtype_bytes(dtype)); }

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& where) {
  SafetensorsFile file;
  file.where_ = where;
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    fail(where, "header length", "8 bytes", std::to_string(bytes.size()));
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  const std::uint64_t left = bytes.size() - sizeof length;
  if (length > kMostHeaderBytes) {
    fail(where, "header length", "at most " + std::to_string(kMostHeaderBytes) + " bytes", std::to_string(length));
  }
  if (length > left) {
    fail(where, "header length", "at most the " + std::to_string(left) + " bytes left in the file",
         std::to_string(length));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  if (!text.starts_with('{')) fail(where, "header", "a JSON object", shown(json(text.substr(0, 20))));
  const json header = parse_json(text, where, "header", {.depth = 8, .nodes = 4'000'000});
  const std::span<const std::byte> data = bytes.subspan(sizeof length + length);

  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      file.metadata_ = parse_metadata(value, where);
    } else {
      entries.push_back(parse_entry(name, value, data.size(), where));
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t cursor = 0;
  for (Entry& entry : entries) {
    if (entry.begin != cursor) {
      fail(where, "tensor " + printable(entry.view.name) + ".data_offsets",
           "to begin at " + std::to_string(cursor) + ", where the tensor before it ends", std::to_string(entry.begin));
    }
    cursor = entry.end;
    entry.view.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    file.by_name_.emplace(entry.view.name, file.tensors_.size());
    file.tensors_.push_back(std::move(entry.view));
  }
  if (cursor != data.size()) {
    fail(where, "data", "the file to end with its last tensor", std::to_string(data.size() - cursor) + " bytes more");
  }
  return file;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  auto mapped = std::make_shared<const MappedFile>(path);
  SafetensorsFile file = parse(mapped->bytes(), path.string());
  file.file_ = std::move(mapped);
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

const TensorView& SafetensorsFile::get(std::string_view name) const {
  if (const TensorView* tensor = find(name)) return *tensor;
  fail(where_, "tensor " + std::string(name), "it in the file", "none of that name");
}

std::vector<float> to_f32(const TensorView& tensor, const std::string& where) {
  const auto n = static_cast<std::size_t>(tensor.numel());
  std::vector<float> out(n);
  const std::byte* const in = tensor.bytes.data();
  switch (tensor.dtype) {
    case Dtype::kF32:
      if (n > 0) std::memcpy(out.data(), in, n * sizeof(float));
      return out;
    case Dtype::kF16:
    case Dtype::kBF16:
      for (std::size_t i = 0; i < n; ++i) {
        std::uint16_t value = 0;
        std::memcpy(&value, in + i * sizeof value, sizeof value);
        out[i] = tensor.dtype == Dtype::kF16 ? f16_to_f32(value) : bf16_to_f32(value);
      }
      return out;
    case Dtype::kF64:
      for (std::size_t i = 0; i < n; ++i) {
        double value = 0;
        std::memcpy(&value, in + i * sizeof value, sizeof value);
        out[i] = static_cast<float>(value);
      }
      return out;
    default:
      fail(where, "tensor " + printable(tensor.name), "F32, F16, BF16 or F64", std::string(dtype_name(tensor.dtype)));
  }
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Larger elements first, as the reference writer does: every tensor is then aligned to its element.
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
    return dtype_bytes(a->dtype) > dtype_bytes(b->dtype);
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const TensorView* tensor : order) {
    const std::string where = path.string();
    const std::string field = "tensor " + printable(tensor->name);
    if (tensor->name == "__metadata__" || !names.insert(tensor->name).second) {
      fail(where, field, "a name of its own", "a name already taken");
    }
    if (tensor_bytes(tensor->dtype, tensor->shape) != tensor->bytes.size()) {
      fail(where, field, "as many bytes as dtype and shape say", std::to_string(tensor->bytes.size()));
    }
    header[tensor->name] = {{"dtype", dtype_name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {offset, offset + tensor->bytes.size()}}};
    offset += tensor->bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    fail(path.string(), "header", "names and metadata in UTF-8", "other bytes");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  if (length > kMostHeaderBytes) {
    fail(path.string(), "header length", "at most " + std::to_string(kMostHeaderBytes) + " bytes",
         std::to_string(length));
  }
  AtomicFile file(path);
  std::ostream& out = file.stream();
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out << text;
  for (const TensorView* tensor : order) {
    out.write(reinterpret_cast<const char*>(tensor->bytes.data()), static_cast<std::streamsize>(tensor->bytes.size()));
  }
  file.commit();
}

}  // namespace m3vit
