#include "model/pickle_files.h"

#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace m3vit::testing_model {
namespace {

/// Joined in one place: g++ 12 warns falsely about chains of operator+.
std::string join(std::initializer_list<std::string_view> parts) {
  std::string s;
  for (const std::string_view p : parts) s.append(p);
  return s;
}

std::string little_endian(std::uint64_t v, std::size_t bytes) {
  std::string s(bytes, '\0');
  std::memcpy(s.data(), &v, bytes);
  return s;
}

std::string unicode(const std::string& s) { return join({"X", little_endian(s.size(), 4), s}); }
std::string integer(std::int64_t v) { return join({"J", little_endian(static_cast<std::uint64_t>(v), 4)}); }
std::string global(std::string_view module, std::string_view name) { return join({"c", module, "\n", name, "\n"}); }

std::string sizes(torch::IntArrayRef values) {
  std::string s(1, '(');
  for (const int64_t v : values) s.append(integer(v));
  s.append(1, 't');
  return s;
}

const char* storage_type(torch::ScalarType t) {
  switch (t) {
    case torch::kHalf:
      return "HalfStorage";
    case torch::kBFloat16:
      return "BFloat16Storage";
    case torch::kDouble:
      return "DoubleStorage";
    case torch::kLong:
      return "LongStorage";
    default:
      return "FloatStorage";
  }
}

/// Distinct storages in order of first use.
std::vector<torch::Tensor> storages_of(const TorchFile& file) {
  std::vector<torch::Tensor> result;
  for (const NamedTensor& n : file.tensors) {
    const bool seen = std::any_of(result.begin(), result.end(), [&](const torch::Tensor& t) {
      return t.storage().data() == n.tensor.storage().data();
    });
    if (!seen) result.push_back(n.tensor);
  }
  return result;
}

std::size_t key_of(const std::vector<torch::Tensor>& storages, const torch::Tensor& tensor) {
  std::size_t key = 0;
  while (storages[key].storage().data() != tensor.storage().data()) ++key;
  return key;
}

std::string tensor_pickle(const torch::Tensor& t, std::size_t key, bool legacy) {
  const auto numel = static_cast<std::int64_t>(t.storage().nbytes() / t.element_size());
  return join({global("torch._utils", "_rebuild_tensor_v2"), "((", unicode("storage"),
               global("torch", storage_type(t.scalar_type())), unicode(std::to_string(key)), unicode("cpu"),
               integer(numel), legacy ? "N" : "", "tQ", integer(t.storage_offset()), sizes(t.sizes()),
               sizes(t.strides()), "\x89", global("collections", "OrderedDict"), ")R",  // no backward hooks
               "tR"});
}

}  // namespace

std::string pickle_of(const TorchFile& file, bool legacy) {
  const std::vector<torch::Tensor> storages = storages_of(file);
  std::string dict = join({global("collections", "OrderedDict"), ")Rq\x01("});
  for (const NamedTensor& n : file.tensors) {
    const std::string tensor = tensor_pickle(n.tensor, key_of(storages, n.tensor), legacy);
    dict.append(unicode(n.name));
    dict.append(file.parameters ? join({global("torch._utils", "_rebuild_parameter"), "(", tensor, "\x88",
                                        global("collections", "OrderedDict"), ")R", "tR"})
                                : tensor);
  }
  // state_dict() hangs `_metadata` on its OrderedDict: a BUILD with an attribute dict.
  dict.append(join({"u}", unicode("_metadata"), global("collections", "OrderedDict"), ")Rsb"}));
  if (!file.under.empty()) {
    dict = join({"}(", unicode("epoch"), "K\x07", unicode("args"), global("argparse", "Namespace"), ")\x81}",
                 unicode("lr"), "G", std::string(8, '\1'), "sb", unicode(file.under), dict, "u"});
  }
  return join({"\x80\x02", dict, "."});
}

void write_zip(const std::filesystem::path& path, const TorchFile& file) {
  caffe2::serialize::PyTorchStreamWriter writer(path.string());
  const std::string pickle = pickle_of(file);
  writer.writeRecord("data.pkl", pickle.data(), pickle.size());
  std::size_t key = 0;
  for (const torch::Tensor& t : storages_of(file)) {
    writer.writeRecord("data/" + std::to_string(key++), t.storage().data(), t.storage().nbytes());
  }
  writer.writeEndOfFile();
}

void write_zip_of_pickle(const std::filesystem::path& path, const std::string& pickle) {
  caffe2::serialize::PyTorchStreamWriter writer(path.string());
  const std::vector<float> zeros(4, 0.0F);
  writer.writeRecord("data.pkl", pickle.data(), pickle.size());
  writer.writeRecord("data/0", zeros.data(), sizeof(float) * zeros.size());
  writer.writeEndOfFile();
}

void write_legacy(const std::filesystem::path& path, const TorchFile& file) {
  std::ofstream out(path, std::ios::binary);
  const std::vector<torch::Tensor> storages = storages_of(file);
  const char magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  out.write(magic, sizeof(magic) - 1);
  out << "\x80\x02M\xe9\x03.";                                  // protocol 1001
  out << "\x80\x02}(" << unicode("little_endian") << "\x88u.";  // system information
  out << pickle_of(file, /*legacy=*/true) << "\x80\x02](";
  for (std::size_t key = 0; key < storages.size(); ++key) out << unicode(std::to_string(key));
  out << "e.";
  for (const torch::Tensor& t : storages) {
    out << little_endian(t.storage().nbytes() / t.element_size(), 8);
    out.write(static_cast<const char*>(t.storage().data()), static_cast<std::streamsize>(t.storage().nbytes()));
  }
}

}  // namespace m3vit::testing_model
