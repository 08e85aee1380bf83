#include "core/npy.h"

#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "core/atomic_file.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/json_text.h"
#include "core/mapped_file.h"

namespace m3vit {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they lie");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMostDims = 32;  // NumPy's own limit

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// The header is a Python dict literal with exactly the keys descr, fortran_order and shape.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Header parse() {
    bool has_descr = false;
    bool has_order = false;
    bool has_shape = false;
    Header header;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !has_descr) {
        header.descr = quoted();
        has_descr = true;
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        header.fortran_order = word("True");
        if (!header.fortran_order && !word("False")) fail("fortran_order", "True or False", rest());
      } else if (key == "shape" && !has_shape) {
        header.shape = shape();
        has_shape = true;
      } else {
        fail("header", "the keys descr, fortran_order and shape, once each", shown(nlohmann::json(key)));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip();
    if (!text_.empty()) fail("header", "spaces after the dict", rest());
    if (!has_descr || !has_order || !has_shape) {
      fail("header", "the keys descr, fortran_order and shape", "not all of them");
    }
    return header;
  }

 private:
  [[noreturn]] void fail(std::string field, std::string wanted, std::string found) const {
    throw Error{{.where = where_,
                 .field = std::move(field),
                 .wanted = std::move(wanted),
                 .found = std::move(found),
                 .hint = {}}};
  }
  std::string rest() const { return text_.empty() ? "the end" : shown(nlohmann::json(text_.substr(0, 20))); }
  void skip() {
    const std::size_t n = text_.find_first_not_of(" \n\t\r");
    text_.remove_prefix(n == std::string_view::npos ? text_.size() : n);
  }
  bool accept(char c) {
    skip();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail("header", std::string("'") + c + "'", rest());
  }
  bool word(std::string_view w) {
    skip();
    if (!text_.starts_with(w)) return false;
    text_.remove_prefix(w.size());
    return true;
  }
  std::string quoted() {
    skip();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) fail("header", "a quoted string", rest());
    const std::size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) fail("header", "a closing quote", rest());
    std::string out(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return out;
  }
  std::int64_t integer() {
    skip();
    std::int64_t value = 0;
    std::size_t n = 0;
    for (; n < text_.size() && text_[n] >= '0' && text_[n] <= '9'; ++n) {
      const int digit = text_[n] - '0';
      if (value > (std::numeric_limits<std::int64_t>::max() - digit) / 10) {
        fail("shape", "a size below 2^63", rest());
      }
      value = value * 10 + digit;
    }
    if (n == 0) fail("shape", "a size of 0 or more", rest());
    text_.remove_prefix(n);
    if (!text_.empty() && text_.front() == 'L') text_.remove_prefix(1);  // written by Python 2
    return value;
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> dims;
    expect('(');
    while (!accept(')')) {
      if (dims.size() == kMostDims) fail("shape", "at most " + std::to_string(kMostDims) + " dimensions", "more");
      dims.push_back(integer());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return dims;
  }

  std::string_view text_;
  const std::string& where_;
};

template <class T>
void convert(std::span<const std::byte> bytes, std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

void convert_half(std::span<const std::byte> bytes, std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t value = 0;
    std::memcpy(&value, bytes.data() + i * 2, 2);
    out[i] = f16_to_f32(value);
  }
}

void convert_bool(std::span<const std::byte> bytes, std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = bytes[i] != std::byte{0} ? 1.0F : 0.0F;
}

/// First index fastest → last index fastest. np.save keeps the order of arrays that came from MATLAB files.
std::vector<float> to_c_order(const std::vector<float>& in, const std::vector<std::int64_t>& shape) {
  std::vector<std::size_t> stride(shape.size());
  std::size_t step = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    stride[d] = step;
    step *= static_cast<std::size_t>(shape[d]);
  }
  std::vector<float> out(in.size());
  std::vector<std::int64_t> index(shape.size());
  std::size_t from = 0;
  for (float& value : out) {
    value = in[from];
    for (std::size_t d = shape.size(); d-- > 0;) {
      from += stride[d];
      if (++index[d] < shape[d]) break;
      from -= stride[d] * static_cast<std::size_t>(shape[d]);
      index[d] = 0;
    }
  }
  return out;
}

struct NpyType {
  std::string_view name;  ///< without the byte-order character
  std::size_t bytes;
  void (*convert)(std::span<const std::byte>, std::vector<float>&);
};

constexpr std::array<NpyType, 12> kTypes{{
    {"f4", 4, convert<float>},
    {"f2", 2, convert_half},
    {"f8", 8, convert<double>},
    {"i1", 1, convert<std::int8_t>},
    {"i2", 2, convert<std::int16_t>},
    {"i4", 4, convert<std::int32_t>},
    {"i8", 8, convert<std::int64_t>},
    {"u1", 1, convert<std::uint8_t>},
    {"u2", 2, convert<std::uint16_t>},
    {"u4", 4, convert<std::uint32_t>},
    {"u8", 8, convert<std::uint64_t>},
    {"b1", 1, convert_bool},
}};

const NpyType& find_type(const std::string& descr, const std::string& where) {
  if (!descr.empty() && descr.front() != '>') {
    for (const NpyType& type : kTypes) {
      const bool order_fits = descr.front() == '<' || (descr.front() == '|' && type.bytes == 1);
      if (order_fits && descr.substr(1) == type.name) return type;
    }
  }
  throw Error{{.where = where,
               .field = "descr",
               .wanted = "little-endian f2, f4, f8, i1 … i8, u1 … u8 or b1",
               .found = shown(nlohmann::json(descr)),
               .hint = {}}};
}

}  // namespace

NpyArray parse_npy(std::span<const std::byte> bytes, const std::string& where) {
  const auto fail = [&](std::string field, std::string wanted, std::string found) {
    throw Error{{.where = where,
                 .field = std::move(field),
                 .wanted = std::move(wanted),
                 .found = std::move(found),
                 .hint = {}}};
  };
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic)) fail("magic", "a NumPy .npy file", "other bytes");
  if (text.size() < 10) fail("header", "10 bytes or more", std::to_string(text.size()));
  const int version = static_cast<unsigned char>(text[6]);
  if (version < 1 || version > 3 || text[7] != 0) {
    fail("version", "1.0, 2.0 or 3.0",
         std::to_string(version) + "." + std::to_string(static_cast<unsigned char>(text[7])));
  }
  std::size_t start = 10;
  std::uint32_t length = 0;
  if (version == 1) {
    std::uint16_t short_length = 0;
    std::memcpy(&short_length, text.data() + 8, sizeof short_length);
    length = short_length;
  } else {
    start = 12;
    if (text.size() < start) fail("header", "12 bytes or more", std::to_string(text.size()));
    std::memcpy(&length, text.data() + 8, sizeof length);
  }
  if (length > text.size() - start) {
    fail("header length", "at most the " + std::to_string(text.size() - start) + " bytes left", std::to_string(length));
  }
  const Header header = HeaderParser(text.substr(start, length), where).parse();
  const NpyType& type = find_type(header.descr, where);

  const std::span<const std::byte> data = bytes.subspan(start + length);
  std::uint64_t numel = 1;
  bool overflow = false;
  for (const std::int64_t d : header.shape) {
    overflow |= __builtin_mul_overflow(numel, static_cast<std::uint64_t>(d), &numel);
  }
  std::uint64_t wanted = 0;
  overflow |= __builtin_mul_overflow(numel, std::uint64_t{type.bytes}, &wanted);
  if (overflow) fail("shape", "a size that fits the file", "one beyond 64 bits");
  if (wanted != data.size()) {
    fail("data", std::to_string(wanted) + " bytes as descr and shape say", std::to_string(data.size()));
  }
  NpyArray array{header.shape, std::vector<float>(numel)};
  type.convert(data, array.data);
  if (header.fortran_order) array.data = to_c_order(array.data, array.shape);
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npy(file.bytes(), path.string());
}

void write_npy(const std::filesystem::path& path, std::span<const std::int64_t> shape, std::span<const float> data) {
  std::string dims;
  [[maybe_unused]] std::size_t numel = 1;
  for (const std::int64_t d : shape) {
    dims += std::to_string(d) + ", ";
    numel *= static_cast<std::size_t>(d);
  }
  assert(numel == data.size());
  if (shape.size() > 1) dims.resize(dims.size() - 2);
  if (shape.size() == 1) dims.pop_back();  // "(3,)"
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + dims + "), }";
  // Version 1.0: magic, version, length and header together a multiple of 64, padded with spaces, ended by a newline.
  const std::size_t unpadded = kMagic.size() + 4 + header.size() + 1;
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';
  const auto length = static_cast<std::uint16_t>(header.size());
  AtomicFile file(path);
  std::ostream& out = file.stream();
  out.write(kMagic.data(), static_cast<std::streamsize>(kMagic.size()));
  out.write("\x01\x00", 2);
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out << header;
  out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size_bytes()));
  file.commit();
}

}  // namespace m3vit
