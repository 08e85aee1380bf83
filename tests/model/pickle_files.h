#pragma once
/// Writes what Python's torch.save writes, byte by byte, for the import tests: the zip format and the one before it.
#include <torch/torch.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace m3vit::testing_model {

struct NamedTensor {
  std::string name;
  torch::Tensor tensor;  ///< any strides; each distinct storage is written once
};

struct TorchFile {
  std::vector<NamedTensor> tensors;
  std::string under;        ///< "": the state dict itself; else {under: state dict, "epoch": 7, "args": an object}
  bool parameters = false;  ///< wrap tensors as nn.Parameter
};

/// The pickle of the object, protocol 2; storage keys "0", "1" … in order of appearance. `legacy` storages carry a view
/// field.
std::string pickle_of(const TorchFile& file, bool legacy = false);
void write_zip(const std::filesystem::path& path, const TorchFile& file);
void write_legacy(const std::filesystem::path& path, const TorchFile& file);
/// A zip with this pickle and one storage "0" of four f32 zeros.
void write_zip_of_pickle(const std::filesystem::path& path, const std::string& pickle);

}  // namespace m3vit::testing_model
