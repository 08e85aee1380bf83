#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "error_text.h"
#include "temp_dir.h"

namespace m3vit {
namespace {

using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

/// A file with this header and `data` bytes of zeros.
std::string file_with(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + std::string(data, '\0');
}

std::string error_of(const std::string& file) {
  return error_text([&] { SafetensorsFile::parse(bytes_of(file), "m.st"); });
}

TEST(Safetensors, RoundTripKeepsNamesShapesBytesAndMetadata) {
  const TempDir dir;
  const std::vector<float> a{1.5F, -2.0F, std::numeric_limits<float>::quiet_NaN(), 0, 1, 2};
  const std::vector<std::uint16_t> b{0x3F80, 0xC000};
  const std::vector<std::int8_t> c{-1, 2, -3};
  const std::vector<std::int64_t> d{std::numeric_limits<std::int64_t>::min()};
  const std::vector<TensorView> tensors{{"bytes", Dtype::kI8, {3}, bytes_of(c)},
                                        {"a.weight", Dtype::kF32, {2, 3}, bytes_of(a)},
                                        {"empty", Dtype::kF32, {0, 7}, {}},
                                        {"b \"quoted\" ü", Dtype::kBF16, {2, 1}, bytes_of(b)},
                                        {"scalar", Dtype::kI64, {}, bytes_of(d)}};
  const std::map<std::string, std::string> metadata{{"format", "pt"}, {"config", "{\"a\":\"ä\\n\"}"}};
  const auto path = dir / "m.safetensors";
  write_safetensors(path, tensors, metadata);
  EXPECT_EQ(files_in(dir.path()), 1U) << "no temporary left";

  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const TensorView& want : tensors) {
    const TensorView& got = file.get(want.name);
    EXPECT_EQ(got.dtype, want.dtype) << want.name;
    EXPECT_EQ(got.shape, want.shape) << want.name;
    EXPECT_TRUE(std::equal(got.bytes.begin(), got.bytes.end(), want.bytes.begin(), want.bytes.end())) << want.name;
    const auto address = reinterpret_cast<std::uintptr_t>(got.bytes.data());
    EXPECT_EQ(address % dtype_bytes(want.dtype), 0U) << want.name << " is misaligned";
  }
  EXPECT_EQ(file.find("nothing"), nullptr);
  EXPECT_EQ(error_text([&] { file.get("nothing"); }),
            path.string() + ": tensor nothing: want it in the file, found none of that name");
}

TEST(Safetensors, WriterAlignsTheHeaderAsTheReferenceDoes) {
  const TempDir dir;
  const std::vector<float> one{1};
  const TensorView t{"t", Dtype::kF32, {1}, bytes_of(one)};
  write_safetensors(dir / "m", std::span(&t, 1), {{"format", "pt"}});
  // What Python's safetensors 0.4 writes for {"t": tensor([1.])} with metadata {"format": "pt"}, spaces included.
  std::string header = R"({"__metadata__":{"format":"pt"},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string want = file_with(header, 4);
  std::memcpy(want.data() + want.size() - 4, one.data(), 4);
  EXPECT_EQ(read_all(dir / "m"), want);
}

TEST(Safetensors, ReadsAFileWithoutMetadataInAnyOrderOfTensors) {
  const std::string text = file_with(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}})"
      "   ",
      6);
  const SafetensorsFile file = SafetensorsFile::parse(bytes_of(text), "m.st");
  EXPECT_TRUE(file.metadata().empty());
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(file.tensors()[0].name, "a") << "in file order";
  EXPECT_EQ(file.tensors()[1].numel(), 2);
}

TEST(Safetensors, ZeroSizeTensorsMayLieAtAnyBorder) {
  const std::string text = file_with(
      R"({"z":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[2,2]},)"
      R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]},)"
      R"("y":{"dtype":"F32","shape":[0],"data_offsets":[3,3]}})",
      3);
  const SafetensorsFile file = SafetensorsFile::parse(bytes_of(text), "m.st");
  EXPECT_EQ(file.get("z").numel(), 0);
  EXPECT_EQ(file.get("b").numel(), 1);
}

struct Corruption {
  const char* name;
  std::string file;
  const char* message;  ///< a part of it
};

const std::string kOne = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::string two(const std::string& first, const std::string& second) {
  return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
         R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
}

std::string with_length(std::uint64_t length, std::string file) {
  std::memcpy(file.data(), &length, sizeof length);
  return file;
}

class SafetensorsRejects : public testing::TestWithParam<Corruption> {};

TEST_P(SafetensorsRejects, Corruption) {
  EXPECT_THAT(error_of(GetParam().file), HasSubstr(GetParam().message));
  EXPECT_THAT(error_of(GetParam().file), HasSubstr("m.st: "));
}

INSTANTIATE_TEST_SUITE_P(
    Table, SafetensorsRejects,
    testing::Values(
        Corruption{"Empty", "", "header length: want 8 bytes, found 0"},
        Corruption{"SevenBytes", std::string(7, '\0'), "header length: want 8 bytes, found 7"},
        Corruption{"NoHeader", std::string(8, '\0'), "header: want a JSON object, found \"\""},
        Corruption{"HeaderBeyondTheLimit", with_length(100'000'001, file_with(kOne, 8)),
                   "header length: want at most 100000000 bytes, found 100000001"},
        Corruption{"HeaderLengthOverflows", with_length(~std::uint64_t{0}, file_with(kOne, 8)), "18446744073709551615"},
        Corruption{"HeaderBeyondTheFile", with_length(1000, file_with(kOne, 8)),
                   "header length: want at most the 62 bytes left in the file, found 1000"},
        Corruption{"HeaderCutShort", with_length(20, file_with(kOne, 8)), "header: want JSON, found parse error"},
        Corruption{"HeaderNotAnObject", file_with("[]", 0), "header: want a JSON object"},
        Corruption{"HeaderStartsWithSpace", file_with(" {}", 0), "header: want a JSON object"},
        Corruption{"HeaderHasTrailingText", file_with("{}x", 0), "header: want JSON"},
        Corruption{"HeaderNotUtf8", file_with("{\"\xC3\x28\":{}}", 0), "header: want JSON"},
        Corruption{"HeaderNestsDeeply", file_with("{\"a\":" + std::string(100'000, '['), 0),
                   "header: want at most 8 levels of nesting"},
        Corruption{"SameNameTwice",
                   file_with(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                             2),
                   "header: want each key once, found \"a\" twice"},
        Corruption{"SameKeyTwice",
                   file_with(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
                   "header: want each key once, found \"dtype\" twice"},
        Corruption{"EntryNotAnObject", file_with(R"({"a":5})", 0), "tensor a: want an object with dtype"},
        Corruption{"UnknownKey", file_with(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}})", 1),
                   "tensor a: want the keys dtype, shape and data_offsets, found \"strides\""},
        Corruption{"NoShape", file_with(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1),
                   "tensor a: want the key shape, found none"},
        Corruption{"UnknownDtype", file_with(one("\"F8_E4M3\"", "[2]", "[0,2]"), 2),
                   "tensor a.dtype: want one of F32, F16, BF16"},
        Corruption{"DtypeNotAString", file_with(one("32", "[2]", "[0,8]"), 8), "tensor a.dtype: want one of"},
        Corruption{"NegativeSize", file_with(one("\"F32\"", "[-2]", "[0,8]"), 8), "tensor a.shape: want sizes of 0"},
        Corruption{"FractionalSize", file_with(one("\"F32\"", "[2.0]", "[0,8]"), 8), "tensor a.shape: want sizes of 0"},
        Corruption{"SizeBeyondInt64", file_with(one("\"F32\"", "[9223372036854775808]", "[0,8]"), 8),
                   "tensor a.shape: want sizes of 0"},
        Corruption{"ShapeNotAList", file_with(one("\"F32\"", "2", "[0,8]"), 8), "tensor a.shape: want a list"},
        Corruption{"ProductOverflows", file_with(one("\"F32\"", "[4294967296,4294967296]", "[0,8]"), 8),
                   "tensor a.shape: want a size below 2^63 bytes"},
        Corruption{"BytesOverflow", file_with(one("\"F32\"", "[4611686018427387904]", "[0,0]"), 0),
                   "tensor a.shape: want a size below 2^63 bytes"},
        Corruption{"NegativeOffset", file_with(one("\"F32\"", "[2]", "[-8,0]"), 8),
                   "tensor a.data_offsets: want an offset of 0 or more"},
        Corruption{"OneOffset", file_with(one("\"F32\"", "[2]", "[8]"), 8), "tensor a.data_offsets: want [begin, end]"},
        Corruption{"OffsetsSwapped", file_with(one("\"F32\"", "[2]", "[8,0]"), 8),
                   "tensor a.data_offsets: want 0 ≤ begin ≤ end ≤ 8 (the data's size), found [8,0]"},
        Corruption{"EndBeyondTheData", file_with(one("\"F32\"", "[2]", "[0,8]"), 7),
                   "tensor a.data_offsets: want 0 ≤ begin ≤ end ≤ 7"},
        Corruption{"BytesDifferFromShape", file_with(one("\"F32\"", "[2]", "[0,4]"), 8),
                   "tensor a.data_offsets: want 8 bytes as dtype and shape say, found 4"},
        Corruption{"Overlap", file_with(two("[0,4]", "[2,6]"), 6),
                   "tensor b.data_offsets: want to begin at 4, where the tensor before it ends, found 2"},
        Corruption{"SamePlace", file_with(two("[0,4]", "[0,4]"), 4), "want to begin at 4"},
        Corruption{"Hole", file_with(two("[0,4]", "[5,9]"), 9), "tensor b.data_offsets: want to begin at 4"},
        Corruption{"HoleAtTheStart", file_with(one("\"F32\"", "[2]", "[1,9]"), 9), "want to begin at 0"},
        Corruption{"EmptyTensorInsideAnother",
                   file_with(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                             R"("z":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                             4),
                   "tensor z.data_offsets: want to begin at 4"},
        Corruption{"TrailingBytes", file_with(kOne, 9),
                   "data: want the file to end with its last tensor, found 1 bytes more"},
        Corruption{"MetadataNotAMap", file_with(R"({"__metadata__":"pt"})", 0), "__metadata__: want a map of strings"},
        Corruption{"MetadataNotAString", file_with(R"({"__metadata__":{"step":5}})", 0),
                   "__metadata__.step: want a string, found 5"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string whole = file_with(kOne, 8);
  EXPECT_EQ(error_of(whole), "(no error)");
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_NE(error_of(whole.substr(0, n)), "(no error)") << n;
}

TEST(Safetensors, NamesWithControlCharactersArePrintedEscaped) {
  EXPECT_THAT(error_of(file_with("{\"a\\u001b[2J\":5}", 0)), HasSubstr("tensor \"a\\u001b[2J\": want an object"));
}

TEST(Safetensors, OpenNamesAMissingFile) {
  EXPECT_EQ(error_text([] { SafetensorsFile::open("/nonexistent/m.safetensors"); }),
            "/nonexistent/m.safetensors: want a readable file, found No such file or directory");
  const TempDir dir;
  EXPECT_THAT(error_text([&] { SafetensorsFile::open(dir.path()); }), HasSubstr("found a directory"));
}

TEST(Safetensors, WriterRefusesWhatItsReaderWouldRefuse) {
  const TempDir dir;
  const std::vector<float> data{1, 2};
  const auto error = [&](const std::vector<TensorView>& tensors, const std::map<std::string, std::string>& metadata) {
    return error_text([&] { write_safetensors(dir / "m", tensors, metadata); });
  };
  const TensorView good{"a", Dtype::kF32, {2}, bytes_of(data)};
  TensorView bad = good;
  bad.shape = {3};
  EXPECT_THAT(error({bad}, {}), HasSubstr("tensor a: want as many bytes as dtype and shape say, found 8"));
  EXPECT_THAT(error({good, good}, {}), HasSubstr("tensor a: want a name of its own"));
  EXPECT_THAT(error({good}, {{"x", "\xFF"}}), HasSubstr("header: want names and metadata in UTF-8"));
  EXPECT_EQ(files_in(dir.path()), 0U);
}

TEST(ToF32, ConvertsEveryFloatTypeAndRefusesIntegers) {
  const auto convert = [](Dtype dtype, std::span<const std::byte> bytes) {
    return to_f32({"t", dtype, {static_cast<std::int64_t>(bytes.size() / dtype_bytes(dtype))}, bytes}, "m.st");
  };
  EXPECT_THAT(convert(Dtype::kF32, bytes_of(std::vector<float>{1.5F, -0.0F})), testing::ElementsAre(1.5F, -0.0F));
  EXPECT_THAT(convert(Dtype::kF64, bytes_of(std::vector<double>{0.1, -3})), testing::ElementsAre(0.1F, -3.0F));
  EXPECT_THAT(convert(Dtype::kBF16, bytes_of(std::vector<std::uint16_t>{0x3FC0, 0xFF80})),
              testing::ElementsAre(1.5F, -INFINITY));
  EXPECT_THAT(convert(Dtype::kF16, bytes_of(std::vector<std::uint16_t>{0x3E00, 0xFBFF})),
              testing::ElementsAre(1.5F, -65504.0F));
  EXPECT_EQ(error_text([&] { convert(Dtype::kI8, bytes_of(std::vector<std::int8_t>{1})); }),
            "m.st: tensor t: want F32, F16, BF16 or F64, found I8");
}

TEST(Dtype, HalfMatchesTheCompilersOwnForEveryValue) {
  for (unsigned h = 0; h < 65536; ++h) {
    _Float16 half;
    const auto bits = static_cast<std::uint16_t>(h);
    std::memcpy(&half, &bits, 2);
    const float want = static_cast<float>(half);
    const float got = f16_to_f32(bits);
    if (std::isnan(want)) {
      EXPECT_TRUE(std::isnan(got)) << h;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(want)) << h;
    }
  }
}

TEST(Dtype, Bf16RoundsToNearestEvenAndKeepsNan) {
  for (unsigned b = 0; b < 65536; ++b) {
    const float f = bf16_to_f32(static_cast<std::uint16_t>(b));
    if (std::isnan(f)) continue;
    ASSERT_EQ(f32_to_bf16(f), b);
  }
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000U)), 0x3F80) << "tie to even, down";
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000U)), 0x3F82) << "tie to even, up";
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7F80) << "rounds to infinity";
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001U)))));
}

TEST(Dtype, NamesAndSizesAgree) {
  for (const char* name : {"F32", "F16", "BF16", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL"}) {
    ASSERT_TRUE(find_dtype(name)) << name;
    EXPECT_EQ(dtype_name(*find_dtype(name)), name);
  }
  EXPECT_EQ(find_dtype("f32"), std::nullopt);
  EXPECT_EQ(dtype_bytes(Dtype::kBF16), 2U);
  EXPECT_EQ(dtype_bytes(Dtype::kI64), 8U);
  EXPECT_EQ(dtype_bytes(Dtype::kBool), 1U);
}

}  // namespace
}  // namespace m3vit
