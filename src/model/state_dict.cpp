#include "model/state_dict.h"

#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <map>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "model/pickle.h"

namespace m3vit {
namespace {

using Bytes = std::span<const std::byte>;
constexpr std::size_t kMaxPickleBytes = std::size_t{64} << 20U;

torch::ScalarType scalar_type(Dtype d) {
  switch (d) {
    case Dtype::kF32:
      return torch::kFloat;
    case Dtype::kF16:
      return torch::kHalf;
    case Dtype::kBF16:
      return torch::kBFloat16;
    case Dtype::kF64:
      return torch::kDouble;
    case Dtype::kI64:
      return torch::kLong;
    case Dtype::kI32:
      return torch::kInt;
    case Dtype::kI16:
      return torch::kShort;
    case Dtype::kI8:
      return torch::kChar;
    case Dtype::kU8:
      return torch::kByte;
    case Dtype::kBool:
      return torch::kBool;
  }
  return torch::kFloat;
}

/// An owned, contiguous copy; floating types as f32.
torch::Tensor copy_of(Bytes bytes, Dtype dtype, const std::vector<std::int64_t>& shape,
                      const std::vector<std::int64_t>& strides) {
  // from_blob wants a mutable pointer but nothing writes through this view before it is copied.
  const torch::Tensor view = torch::from_blob(const_cast<std::byte*>(bytes.data()), shape, strides, scalar_type(dtype));
  return view.is_floating_point() ? view.to(torch::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous()
                                  : view.clone(torch::MemoryFormat::Contiguous);
}

torch::Tensor materialise(const PickledTensor& t, Bytes storage, const std::string& where, const std::string& name) {
  const auto size = static_cast<std::int64_t>(dtype_bytes(t.dtype));
  const std::int64_t numel = static_cast<std::int64_t>(storage.size()) / size;
  // The last element's index, with every product checked against the storage before it can overflow.
  std::int64_t last = t.offset;
  bool fits = t.offset <= numel, empty = false;
  for (std::size_t i = 0; i < t.shape.size() && fits; ++i) {
    empty = empty || t.shape[i] == 0;
    if (t.shape[i] < 2 || t.strides[i] == 0) {
      fits = t.shape[i] <= numel + 1;
    } else if (t.strides[i] > numel || t.shape[i] - 1 > (numel - last) / t.strides[i]) {
      fits = false;
    } else {
      last += (t.shape[i] - 1) * t.strides[i];
    }
  }
  if (!fits || (!empty && last >= numel)) {
    throw Error{{.where = where,
                 .field = name,
                 .wanted = fmt::format("a tensor inside its storage of {} elements", numel),
                 .found = fmt::format("offset {}, shape [{}], strides [{}]", t.offset, fmt::join(t.shape, ", "),
                                      fmt::join(t.strides, ", "))}};
  }
  return copy_of(storage.subspan(static_cast<std::size_t>(t.offset * size)), t.dtype, t.shape, t.strides);
}

using StorageOf = std::function<Bytes(const PickledTensor&)>;

void collect(const Pickle& pickle, const StorageOf& storage_of, StateDict& result) {
  const Pickle::Node* dict = &pickle.root();
  for (int level = 0; level < 3;
       ++level) {  // {"model": {"state_dict": …}} is as deep as people go; a cycle ends here too
    for (const char* key : {"model", "state_dict", "model_state_dict", "module"}) {
      const Pickle::Node* inner = pickle.find(*dict, key);
      if (inner == nullptr || inner->kind != Pickle::Kind::kDict) continue;
      dict = inner;
      break;
    }
  }
  if (dict->kind == Pickle::Kind::kDict) {
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      const Pickle::Node &key = pickle.node(dict->items[i]), &value = pickle.node(dict->items[i + 1]);
      if (key.kind != Pickle::Kind::kString || value.kind != Pickle::Kind::kTensor) continue;
      const PickledTensor& t = pickle.tensor(value);
      result.tensors.emplace_back(key.text, materialise(t, storage_of(t), result.where, key.text));
    }
  }
  if (result.tensors.empty()) {
    throw Error{
        {.where = result.where,
         .wanted = "a state dict (names to tensors), itself or under model, state_dict, model_state_dict, module",
         .found = "no tensors there",
         .hint = "in Python: torch.save(model.state_dict(), FILE)"}};
  }
}

void read_zip(const std::filesystem::path& path, StateDict& result) {
  result.format = "torch zip";
  try {
    caffe2::serialize::PyTorchStreamReader reader(path.string());
    if (reader.hasRecord("byteorder")) {
      const auto [data, size] = reader.getRecord("byteorder");
      if (std::string_view(static_cast<const char*>(data.get()), size) != "little") {
        throw Error{{.where = result.where, .field = "byteorder", .wanted = "little"}};
      }
    }
    const auto [data, size] = reader.getRecord("data.pkl");
    if (size > kMaxPickleBytes) {
      throw Error{{.where = result.where,
                   .field = "data.pkl",
                   .wanted = fmt::format("at most {} bytes", kMaxPickleBytes),
                   .found = std::to_string(size)}};
    }
    const Pickle pickle = Pickle::parse({static_cast<const std::byte*>(data.get()), size}, result.where);
    std::map<std::string, std::pair<at::DataPtr, std::size_t>> storages;
    collect(
        pickle,
        [&](const PickledTensor& t) {
          auto it = storages.find(t.storage);
          if (it == storages.end()) {
            auto [bytes, length] = reader.getRecord("data/" + t.storage);
            it = storages.emplace(t.storage, std::pair(std::move(bytes), length)).first;
          }
          return Bytes(static_cast<const std::byte*>(it->second.first.get()), it->second.second);
        },
        result);
  } catch (const c10::Error& e) {  // libtorch's zip reader: damaged archive, missing record, CRC
    throw Error{{.where = result.where,
                 .wanted = "a zip archive as torch.save writes it",
                 .found = std::string(e.what_without_backtrace())}};
  }
}

/// Magic, protocol and system information, the object, the storage keys, each a pickle; then every storage as an int64
/// element count and its elements.
void read_legacy(Bytes bytes, StateDict& result) {
  result.format = "torch legacy";
  const auto next = [&] {
    Pickle p = Pickle::parse(bytes.first(std::min(bytes.size(), kMaxPickleBytes)), result.where);
    bytes = bytes.subspan(p.consumed());
    return p;
  };
  for (int header = 0; header < 3; ++header) next();
  const Pickle object = next(), keys = next();
  std::map<std::string, Dtype> dtypes;
  for (const PickledTensor& t : object.tensors()) dtypes.emplace(t.storage, t.dtype);
  std::map<std::string, Bytes> storages;
  for (const Pickle::Id id : keys.root().items) {
    const std::string& key = keys.node(id).text;
    std::int64_t numel = -1;
    if (bytes.size() >= sizeof(numel)) std::memcpy(&numel, bytes.data(), sizeof(numel));
    const auto dtype = dtypes.find(key);
    const std::size_t size = dtype == dtypes.end() ? 0 : dtype_bytes(dtype->second);
    if (size == 0 || numel < 0 || static_cast<std::uint64_t>(numel) > (bytes.size() - sizeof(numel)) / size) {
      throw Error{{.where = result.where, .field = "storage " + key, .wanted = "its elements", .found = "end of file"}};
    }
    storages[key] = bytes.subspan(sizeof(numel), static_cast<std::size_t>(numel) * size);
    bytes = bytes.subspan(sizeof(numel) + static_cast<std::size_t>(numel) * size);
  }
  collect(
      object, [&](const PickledTensor& t) { return storages[t.storage]; }, result);
}

void read_safetensors(const std::filesystem::path& path, StateDict& result) {
  result.format = "safetensors";
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const TensorView& t : file.tensors()) {
    std::vector<std::int64_t> strides(t.shape.size(), 1);
    for (std::size_t i = t.shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<std::int64_t>(1, t.shape[i]);
    result.tensors.emplace_back(t.name, copy_of(t.bytes, t.dtype, t.shape, strides));
  }
}

}  // namespace

StateDict read_state_dict(const std::filesystem::path& path) {
  StateDict result;
  result.where = path.string();
  const MappedFile file(path);
  const Bytes bytes = file.bytes();
  const auto starts_with = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  if (starts_with("PK\x03\x04")) {
    read_zip(path, result);
  } else if (starts_with(
                 "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")) {  // PROTO 2, LONG1: torch's magic
    read_legacy(bytes, result);
  } else if (starts_with("\x80")) {
    throw Error{{.where = result.where,
                 .wanted = "a file of torch.save or a .safetensors",
                 .found = "another Python pickle",
                 .hint = "in Python: torch.save(torch.load(FILE)['state_dict'], 'weights.pth')"}};
  } else {
    read_safetensors(path, result);
  }
  return result;
}

}  // namespace m3vit
