#pragma once
/// MATLAB v5 `.mat` files through libmatio. Files are untrusted: class, rank, dimensions and byte counts are checked
/// before a value is touched, and every Error names the file and the path of the value ("anno.objects(2).mask").
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/image.h"

struct matvar_t;

namespace m3vit {

/// One value of a file: a matrix of numbers, text, or an array of structures. Lives as long as its MatFile.
class MatValue {
 public:
  std::size_t rows() const;
  std::size_t columns() const;
  std::size_t count() const { return rows() * columns(); }

  bool is_struct() const;
  /// Field number `field` (from 0) of element `element` (from 0). Throws Error when this is no structure array or has
  /// not so many; `name` is the field's usual name, for messages.
  MatValue field(std::size_t field, const char* name, std::size_t element) const;

  /// Real numbers of any MATLAB class, rank 2, as [rows, columns, 1]; throws Error otherwise.
  ImageF32 matrix() const;
  /// The only number of a 1×1 matrix.
  double number() const;
  /// A row of characters.
  std::string text() const;

  const std::string& path() const { return path_; }
  /// Throws Error about this value.
  [[noreturn]] void fail(std::string wanted, std::string found) const;

 private:
  friend class MatFile;
  MatValue(const std::string& file, std::string path, matvar_t* value);
  const std::string* file_;
  std::string path_;
  matvar_t* value_;
};

/// Checks that header and top-level tags lie inside the file: libmatio reads what is left of a shortened one without a
/// word. Throws Error naming `file`.
void check_mat_layout(std::span<const std::byte> bytes, const std::string& file);

class MatFile {
 public:
  /// Reads the variable `name` with all that is in it. Throws Error when the file is missing, is no MATLAB v5 file,
  /// ends early or lacks the variable, and for sizes that no picture has (2^16 a side, 2^26 elements in all).
  MatFile(const std::filesystem::path& path, const char* name);
  ~MatFile();
  MatFile(const MatFile&) = delete;
  MatFile& operator=(const MatFile&) = delete;
  MatValue root() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m3vit
