#pragma once
/// Reads the pickles inside `.pth` files as data: nothing in the file is ever called. Known are the opcodes of
/// protocols 2–4, ordered dicts and torch's tensor rebuilders; every other object becomes kOpaque. libtorch's own
/// unpickler turns an OrderedDict, which every state dict is, into None, hence this one. Source: Python's pickletools,
/// torch/serialization.py.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace m3vit {

/// A tensor as the pickle describes it; its bytes lie in the storage of that key, elsewhere in the file.
struct PickledTensor {
  std::string storage;
  Dtype dtype = Dtype::kF32;
  std::int64_t storage_numel = 0;
  std::int64_t offset = 0;  ///< elements
  std::vector<std::int64_t> shape, strides;
};

struct PickledStorage {
  std::string key;
  Dtype dtype = Dtype::kF32;
  std::int64_t numel = 0;
};

class Pickle {
 public:
  using Id = std::uint32_t;
  enum class Kind { kNone, kInt, kFloat, kString, kTuple, kList, kDict, kGlobal, kStorage, kTensor, kOpaque };
  struct Node {
    Kind kind = Kind::kNone;
    std::int64_t integer = 0;
    std::string text{};        ///< kString; kGlobal: "module name"
    std::vector<Id> items{};   ///< tuple, list; dict: key, value, key, value …
    std::uint32_t detail = 0;  ///< kTensor, kStorage: index into tensors or storages
  };

  /// Parses one pickle at the start of `bytes`. Throws Error naming `where` and the offset of what is wrong.
  static Pickle parse(std::span<const std::byte> bytes, const std::string& where);

  const Node& root() const { return nodes_[root_]; }
  const Node& node(Id id) const { return nodes_[id]; }
  const PickledTensor& tensor(const Node& n) const { return tensors_[n.detail]; }
  const std::vector<PickledTensor>& tensors() const { return tensors_; }
  /// The value under a string key of a dict, or nullptr.
  const Node* find(const Node& dict, std::string_view key) const;
  std::size_t consumed() const { return consumed_; }  ///< bytes up to and with STOP

 private:
  friend class PickleMachine;
  std::vector<Node> nodes_;  // an arena: memoised objects may form cycles
  std::vector<PickledTensor> tensors_;
  std::vector<PickledStorage> storages_;
  Id root_ = 0;
  std::size_t consumed_ = 0;
};

}  // namespace m3vit
