#pragma once
/// Reader (memory-mapped) and writer of `.safetensors`. The reader trusts nothing: header length, JSON, every dtype,
/// shape product (overflow), offset and size are checked; tensors must tile the data area exactly, without overlap,
/// hole or trailing bytes. Non-goal: lazily loading from a stream.
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace m3vit {

class MappedFile;

struct TensorView {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::int64_t numel() const;
};

class SafetensorsFile {
 public:
  /// Throws Error with the file, the tensor or header field, what was wanted and found.
  static SafetensorsFile open(const std::filesystem::path& path);
  /// For tests and fuzzing: parses bytes in memory, which must outlive the result.
  static SafetensorsFile parse(std::span<const std::byte> bytes, const std::string& where);

  const std::vector<TensorView>& tensors() const { return tensors_; }  ///< in file order
  const TensorView* find(std::string_view name) const;
  const TensorView& get(std::string_view name) const;  ///< throws Error when missing
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& where() const { return where_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::string where_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

/// F32 | F16 | BF16 | F64 → float; throws Error for other types.
std::vector<float> to_f32(const TensorView& tensor, const std::string& where);

/// Writes to PATH.tmp-PID, syncs, renames: the old file or the whole new one, nothing between.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace m3vit
