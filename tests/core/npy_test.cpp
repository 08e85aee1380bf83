#include "core/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "error_text.h"
#include "temp_dir.h"

namespace m3vit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A version 1 file, or 2 and 3 with their longer length field.
std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  const auto length = static_cast<std::uint32_t>(header.size());
  const auto* bytes = reinterpret_cast<const char*>(&length);
  file.append(bytes, version == 1 ? 2 : 4);
  return file + header + data;
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string out;
  for (const T& v : values) out.append(reinterpret_cast<const char*>(&v), sizeof v);
  return out;
}

NpyArray parse(const std::string& file) {
  return parse_npy({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "x.npy");
}

std::string header(const std::string& descr, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
}

TEST(Npy, WritesWhatNumpyWrites) {
  const TempDir dir;
  const std::vector<float> data{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> shape{2, 3};
  write_npy(dir / "x.npy", shape, data);
  // numpy.save of arange(1, 7, dtype=float32).reshape(2, 3), NumPy 1.24: the header is padded to 118 bytes.
  std::string want = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  want.append(117 - want.size(), ' ');
  EXPECT_EQ(read_all(dir / "x.npy"), npy(want + "\n", raw<float>({1, 2, 3, 4, 5, 6})));
  EXPECT_EQ(files_in(dir.path()), 1U);
}

TEST(Npy, RoundTripsEveryRank) {
  const TempDir dir;
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{}, {5}, {2, 3}, {3, 4, 5}, {0, 4}, {1, 1, 1, 7}}) {
    std::size_t n = 1;
    for (const std::int64_t d : shape) n *= static_cast<std::size_t>(d);
    std::vector<float> data(n);
    for (std::size_t i = 0; i < n; ++i) data[i] = static_cast<float>(i) - 0.5F;
    write_npy(dir / "x.npy", shape, data);
    const NpyArray got = read_npy(dir / "x.npy");
    EXPECT_EQ(got.shape, shape);
    EXPECT_EQ(got.data, data);
  }
}

TEST(Npy, ReadsEveryTypeAndVersion) {
  EXPECT_THAT(parse(npy(header("<f8", "(2,)"), raw<double>({0.5, -1}))).data, ElementsAre(0.5F, -1.0F));
  EXPECT_THAT(parse(npy(header("<f2", "(1,)"), raw<std::uint16_t>({0x3E00}))).data, ElementsAre(1.5F));
  EXPECT_THAT(parse(npy(header("|i1", "(2,)"), raw<std::int8_t>({-3, 3}))).data, ElementsAre(-3.0F, 3.0F));
  EXPECT_THAT(parse(npy(header("<i2", "(1,)"), raw<std::int16_t>({-300}))).data, ElementsAre(-300.0F));
  EXPECT_THAT(parse(npy(header("<i4", "(1,)"), raw<std::int32_t>({-70000}))).data, ElementsAre(-70000.0F));
  EXPECT_THAT(parse(npy(header("<i8", "(1,)"), raw<std::int64_t>({1LL << 40}))).data, ElementsAre(0x1p40F));
  EXPECT_THAT(parse(npy(header("|u1", "(1,)"), raw<std::uint8_t>({200}))).data, ElementsAre(200.0F));
  EXPECT_THAT(parse(npy(header("<u2", "(1,)"), raw<std::uint16_t>({65535}))).data, ElementsAre(65535.0F));
  EXPECT_THAT(parse(npy(header("<u4", "(1,)"), raw<std::uint32_t>({1U << 31U}))).data, ElementsAre(0x1p31F));
  EXPECT_THAT(parse(npy(header("<u8", "(1,)"), raw<std::uint64_t>({1ULL << 63U}))).data, ElementsAre(0x1p63F));
  EXPECT_THAT(parse(npy(header("|b1", "(3,)"), std::string("\0\1\2", 3))).data, ElementsAre(0.0F, 1.0F, 1.0F));
  for (const char version : {1, 2, 3}) {
    EXPECT_THAT(parse(npy(header("<f4", "(1,)"), raw<float>({7}), version)).data, ElementsAre(7.0F));
  }
  EXPECT_EQ(parse(npy("{\"shape\": (2L, 1,), \"fortran_order\":False,\"descr\":\"<f4\"}", raw<float>({1, 2}))).shape,
            (std::vector<std::int64_t>{2, 1}))
      << "any order and quotes; Python 2 longs";
}

TEST(Npy, FortranOrderIsTurnedIntoLastIndexFastest) {
  // What NumPy writes for np.asfortranarray(np.arange(6).reshape(2, 3)), and for shape (2, 2, 2).
  const auto fortran = [](const std::string& shape) {
    return "{'descr': '<f4', 'fortran_order': True, 'shape': " + shape + ", }\n";
  };
  EXPECT_THAT(parse(npy(fortran("(2, 3)"), raw<float>({0, 3, 1, 4, 2, 5}))).data, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(parse(npy(fortran("(2, 2, 2)"), raw<float>({0, 4, 2, 6, 1, 5, 3, 7}))).data,
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(parse(npy(fortran("(3,)"), raw<float>({7, 8, 9}))).data, ElementsAre(7, 8, 9));
  EXPECT_TRUE(parse(npy(fortran("(0, 2)"), "")).data.empty());
}

struct Corruption {
  const char* name;
  std::string file;
  const char* message;
};
class NpyRejects : public testing::TestWithParam<Corruption> {};
TEST_P(NpyRejects, Corruption) {
  EXPECT_THAT(error_text([&] { parse(GetParam().file); }), HasSubstr(std::string("x.npy: ") + GetParam().message));
}

const std::string kFour(4, '\0');

std::string many_ones(int dims) {
  std::string text = "(";
  for (int i = 0; i < dims; ++i) text += "1,";
  return text + ")";
}

INSTANTIATE_TEST_SUITE_P(
    Table, NpyRejects,
    testing::Values(
        Corruption{"Empty", "", "magic: want a NumPy .npy file"},
        Corruption{"WrongMagic", "NUMPY" + std::string(20, ' '), "magic: want a NumPy .npy file"},
        Corruption{"MagicAlone", "\x93NUMPY", "header: want 10 bytes or more, found 6"},
        Corruption{"Version4", npy(header("<f4", "(1,)"), kFour, 4), "version: want 1.0, 2.0 or 3.0, found 4.0"},
        Corruption{"ShortLengthField", npy("", "", 1) + "", "header: want '{', found the end"},
        Corruption{"Version2CutInItsLength", std::string("\x93NUMPY\x02\0\xFF\xFF", 10), "header: want 12 bytes"},
        Corruption{"HeaderBeyondTheFile", std::string("\x93NUMPY\x01\0\xFF\xFF{}", 12),
                   "header length: want at most the 2 bytes left, found 65535"},
        Corruption{"HugeHeader", std::string("\x93NUMPY\x02\0\xFF\xFF\xFF\xFF{}", 14), "header length: want at most"},
        Corruption{"NotADict", npy("[1, 2]\n", ""), "header: want '{', found \"[1, 2]"},
        Corruption{"UnclosedDict", npy("{'descr': '<f4'", ""), "header: want '}', found the end"},
        Corruption{"UnclosedQuote", npy("{'descr: ", ""), "header: want a closing quote"},
        Corruption{"UnknownKey", npy("{'order': 'C'}", ""), "header: want the keys descr, fortran_order and shape"},
        Corruption{"KeyTwice", npy("{'descr': '<f4', 'descr': '<f4'}", ""), "header: want the keys descr"},
        Corruption{"NoShape", npy("{'descr': '<f4', 'fortran_order': False}", kFour), "header: want the keys descr"},
        Corruption{"TextAfterTheDict", npy(header("<f4", "(1,)") + "import os\n", kFour),
                   "header: want spaces after the dict"},
        Corruption{"NoOrder", npy("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}", kFour),
                   "fortran_order: want True or False"},
        Corruption{"BigEndian", npy(header(">f4", "(1,)"), kFour), "descr: want little-endian"},
        Corruption{"Complex", npy(header("<c8", "(1,)"), kFour + kFour), "descr: want little-endian"},
        Corruption{"Object", npy(header("|O", "(1,)"), kFour), "descr: want little-endian"},
        Corruption{"NoByteOrderForFourBytes", npy(header("|f4", "(1,)"), kFour), "descr: want little-endian"},
        Corruption{"EmptyDescr", npy(header("", "(1,)"), kFour), "descr: want little-endian"},
        Corruption{"NegativeSize", npy(header("<f4", "(-1,)"), kFour), "shape: want a size of 0 or more"},
        Corruption{"SizeBeyond63Bits", npy(header("<f4", "(9223372036854775808,)"), kFour), "shape: want a size below"},
        Corruption{"ProductOverflows", npy(header("<f4", "(4294967296, 4294967296)"), kFour),
                   "shape: want a size that fits the file"},
        Corruption{"BytesOverflow", npy(header("<f8", "(4611686018427387904,)"), ""), "shape: want a size that fits"},
        Corruption{"TooManyDims", npy(header("<f4", many_ones(33)), kFour), "shape: want at most 32 dimensions"},
        Corruption{"DataTooShort", npy(header("<f4", "(2,)"), kFour),
                   "data: want 8 bytes as descr and shape say, found 4"},
        Corruption{"DataTooLong", npy(header("<f4", "(1,)"), kFour + "x"), "data: want 4 bytes"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Npy, EveryTruncationIsAnError) {
  const std::string whole = npy(header("<f4", "(2,)"), kFour + kFour);
  EXPECT_NO_THROW(parse(whole));
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_THROW(parse(whole.substr(0, n)), Error) << n;
}

}  // namespace
}  // namespace m3vit
