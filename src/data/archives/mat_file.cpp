#include "data/archives/mat_file.h"

#include <matio.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/mapped_file.h"

namespace m3vit {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30U;
constexpr std::size_t kMaxSide = std::size_t{1} << 16U;
constexpr std::size_t kMaxElements = std::size_t{1} << 26U;
constexpr std::size_t kMaxValues = 100'000;
constexpr int kMaxDepth = 8;
constexpr std::size_t kHeaderBytes = 128;

[[noreturn]] void fail_at(const std::string& file, std::string field, std::string wanted, std::string found) {
  throw Error{
      {.where = file, .field = std::move(field), .wanted = std::move(wanted), .found = std::move(found), .hint = {}}};
}

bool is_number_class(matio_classes c) { return c >= MAT_C_DOUBLE && c <= MAT_C_UINT64; }

std::string class_text(const matvar_t& v) {
  static constexpr const char* kNames[] = {"an empty value", "a cell array", "a structure",    "an object", "text",
                                           "sparse",         "double",       "single",         "int8",      "uint8",
                                           "int16",          "uint16",       "int32",          "uint32",    "int64",
                                           "uint64",         "a function",   "an opaque value"};
  const auto index = static_cast<std::size_t>(v.class_type);
  std::string text = index < std::size(kNames) ? kNames[index] : "an unknown class";
  for (int i = 0; i < v.rank && v.dims != nullptr; ++i) text += (i == 0 ? " " : "x") + std::to_string(v.dims[i]);
  return v.isComplex != 0 ? "complex " + text : text;
}

std::size_t element_count(const matvar_t& v) {
  std::size_t n = 1;
  for (int i = 0; i < v.rank; ++i) n *= v.dims[i];
  return n;
}

/// From the headers alone, before any data is read.
void check_sizes(matvar_t* v, const std::string& file, const std::string& path, int depth, std::size_t& elements,
                 std::size_t& values) {
  if (depth > kMaxDepth) fail_at(file, path, "at most 8 levels", "more");
  if (++values > kMaxValues) fail_at(file, path, "at most 100000 values", "more");
  if (v->rank == 0 || v->dims == nullptr) return;  // an empty element, as [] in a field may be stored
  if (v->rank < 1 || v->rank > 8) {
    fail_at(file, path, "1 to 8 dimensions", std::to_string(v->rank));
  }
  std::size_t count = 1;
  for (int i = 0; i < v->rank; ++i) {
    if (v->dims[i] > kMaxSide || (v->dims[i] != 0 && count > kMaxElements / v->dims[i])) {
      fail_at(file, path, "at most 2^16 a side and 2^26 elements", class_text(*v));
    }
    count *= v->dims[i];
  }
  elements += count;
  if (elements > kMaxElements) fail_at(file, path, "at most 2^26 elements in the file", class_text(*v));
  if (v->class_type != MAT_C_STRUCT) return;
  const unsigned fields = Mat_VarGetNumberOfFields(v);
  for (std::size_t element = 0; element < count; ++element) {
    for (unsigned f = 0; f < fields; ++f) {
      matvar_t* child = Mat_VarGetStructFieldByIndex(v, f, element);
      if (child != nullptr) check_sizes(child, file, path, depth + 1, elements, values);
    }
  }
}

template <class T>
void copy_matrix(const matvar_t& v, ImageF32& out) {
  const T* values = static_cast<const T*>(v.data);
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {  // MATLAB stores columns
      out.at(y, x) = static_cast<float>(
          values[static_cast<std::size_t>(x) * static_cast<std::size_t>(out.height) + static_cast<std::size_t>(y)]);
    }
  }
}

}  // namespace

void check_mat_layout(std::span<const std::byte> bytes, const std::string& file) {
  if (bytes.size() > kMaxFileBytes) fail_at(file, "size", "at most 2^30 bytes", std::to_string(bytes.size()));
  if (bytes.size() < kHeaderBytes) {
    fail_at(file, "header", "a MATLAB v5 file of 128 bytes or more", std::to_string(bytes.size()) + " bytes");
  }
  const char* text = reinterpret_cast<const char*>(bytes.data());
  const bool little = text[126] == 'I' && text[127] == 'M';
  const bool big = text[126] == 'M' && text[127] == 'I';
  const int version = static_cast<unsigned char>(little ? text[125] : text[124]);
  if (!little && !big) fail_at(file, "header", "a MATLAB v5 file", "other bytes");
  if (version != 1) {
    fail_at(file, "version", "MATLAB v5", version == 2 ? "v7.3 (HDF5): save it with -v7" : std::to_string(version));
  }
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, text + at, sizeof value);
    return little == (std::endian::native == std::endian::little) ? value : __builtin_bswap32(value);
  };
  for (std::size_t at = kHeaderBytes; at < bytes.size();) {
    constexpr std::uint32_t kMatrix = 14;
    constexpr std::uint32_t kCompressed = 15;
    const std::size_t left = bytes.size() - at;
    if (left < 8) fail_at(file, "variable", "a tag of 8 bytes", std::to_string(left));
    const std::uint32_t type = word(at);
    const std::uint32_t length = word(at + 4);
    if (type != kMatrix && type != kCompressed) {
      fail_at(file, "variable", "a matrix or compressed element", "element type " + std::to_string(type));
    }
    if (length > left - 8) {
      fail_at(file, "variable", std::to_string(length) + " bytes as its tag says", std::to_string(left - 8));
    }
    at += 8 + std::size_t{length};
  }
}

MatValue::MatValue(const std::string& file, std::string path, matvar_t* value)
    : file_(&file), path_(std::move(path)), value_(value) {}

void MatValue::fail(std::string wanted, std::string found) const {
  fail_at(*file_, path_, std::move(wanted), std::move(found));
}

std::size_t MatValue::rows() const { return value_->rank == 2 ? value_->dims[0] : 0; }
std::size_t MatValue::columns() const { return value_->rank == 2 ? value_->dims[1] : 0; }
bool MatValue::is_struct() const { return value_->class_type == MAT_C_STRUCT; }

MatValue MatValue::field(std::size_t field, const char* name, std::size_t element) const {
  if (!is_struct() || value_->rank != 2) fail("a structure array", class_text(*value_));
  if (element >= count()) fail("element " + std::to_string(element + 1), std::to_string(count()) + " elements");
  const unsigned fields = Mat_VarGetNumberOfFields(value_);
  std::string path = path_;
  if (count() > 1) path += "(" + std::to_string(element + 1) + ")";
  path.append(".").append(name);
  if (field >= fields) {
    fail_at(*file_, path, "field number " + std::to_string(field + 1), std::to_string(fields) + " fields");
  }
  matvar_t* child = Mat_VarGetStructFieldByIndex(value_, field, element);
  if (child == nullptr) fail_at(*file_, path, "a value", "none");
  return {*file_, std::move(path), child};
}

ImageF32 MatValue::matrix() const {
  const matvar_t& v = *value_;
  if (!is_number_class(v.class_type) || v.isComplex != 0 || v.rank != 2) {
    fail("a matrix of real numbers", class_text(v));
  }
  ImageF32 out(static_cast<int>(v.dims[0]), static_cast<int>(v.dims[1]), 1);
  if (out.empty()) return out;
  const std::size_t wanted = element_count(v) * Mat_SizeOfClass(v.class_type);
  if (v.data == nullptr || v.nbytes != wanted) {
    fail(std::to_string(wanted) + " bytes of data", v.data == nullptr ? "none" : std::to_string(v.nbytes));
  }
  switch (v.class_type) {
    case MAT_C_DOUBLE:
      copy_matrix<double>(v, out);
      break;
    case MAT_C_SINGLE:
      copy_matrix<float>(v, out);
      break;
    case MAT_C_INT8:
      copy_matrix<std::int8_t>(v, out);
      break;
    case MAT_C_UINT8:
      copy_matrix<std::uint8_t>(v, out);
      break;
    case MAT_C_INT16:
      copy_matrix<std::int16_t>(v, out);
      break;
    case MAT_C_UINT16:
      copy_matrix<std::uint16_t>(v, out);
      break;
    case MAT_C_INT32:
      copy_matrix<std::int32_t>(v, out);
      break;
    case MAT_C_UINT32:
      copy_matrix<std::uint32_t>(v, out);
      break;
    case MAT_C_INT64:
      copy_matrix<std::int64_t>(v, out);
      break;
    default:
      copy_matrix<std::uint64_t>(v, out);
      break;
  }
  return out;
}

double MatValue::number() const {
  const ImageF32 m = matrix();
  if (m.data.size() != 1) fail("one number", class_text(*value_));
  return static_cast<double>(m.data.front());
}

std::string MatValue::text() const {
  const matvar_t& v = *value_;
  if (v.class_type != MAT_C_CHAR || v.rank != 2 || v.dims[0] > 1) fail("a row of text", class_text(v));
  std::string out;
  const std::size_t length = element_count(v);
  if (length == 0) return out;
  const auto width = static_cast<std::size_t>(v.data_size);
  if (v.data == nullptr || (width != 1 && width != 2) || v.nbytes < length * width) {
    fail("characters of one or two bytes", std::to_string(v.nbytes) + " bytes");
  }
  for (std::size_t i = 0; i < length; ++i) {
    unsigned code = 0;
    if (width == 1) {
      code = static_cast<const std::uint8_t*>(v.data)[i];
    } else {
      std::uint16_t wide = 0;
      std::memcpy(&wide, static_cast<const char*>(v.data) + 2 * i, 2);
      code = wide;
    }
    out += code >= 0x20 && code < 0x7F ? static_cast<char>(code) : '?';
  }
  return out;
}

struct MatFile::State {
  std::string file, name;
  mat_t* mat = nullptr;
  matvar_t* variable = nullptr;
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    Mat_VarFree(variable);
    if (mat != nullptr) Mat_Close(mat);
  }
};

MatFile::MatFile(const std::filesystem::path& path, const char* name) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.file = path.string();
  s.name = name;
  check_mat_layout(MappedFile(path).bytes(), s.file);
  s.mat = Mat_Open(s.file.c_str(), MAT_ACC_RDONLY);
  if (s.mat == nullptr) fail_at(s.file, "header", "a MATLAB v5 file", "one that libmatio cannot open");
  s.variable = Mat_VarReadInfo(s.mat, name);
  if (s.variable == nullptr) fail_at(s.file, name, "this variable", "none of this name that can be read");
  std::size_t elements = 0;
  std::size_t values = 0;
  check_sizes(s.variable, s.file, name, 0, elements, values);
  if (Mat_VarReadDataAll(s.mat, s.variable) != 0) fail_at(s.file, name, "readable data", "damaged data");
}

MatFile::~MatFile() = default;

MatValue MatFile::root() const { return {state_->file, state_->name, state_->variable}; }

}  // namespace m3vit
