#include "core/image_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <jpeglib.h>
#include <png.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "core/error.h"
#include "core/rng.h"
#include "error_text.h"
#include "temp_dir.h"

namespace m3vit {
namespace {

using testing::HasSubstr;

template <class T>
Image<T> random_image(int height, int width, int channels, std::uint64_t seed) {
  Rng rng{seed};
  Image<T> image(height, width, channels);
  for (T& v : image.data) v = static_cast<T>(rng.next());
  return image;
}

/// PNG files of kinds our writer does not make. `samples` one byte a pixel value, packed by libpng.
void write_other_png(const std::filesystem::path& path, int color_type, int bits, const ImageU8& samples,
                     bool interlaced = false) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, file);
  png_set_IHDR(png, info, static_cast<png_uint_32>(samples.width), static_cast<png_uint_32>(samples.height), bits,
               color_type, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (color_type == PNG_COLOR_TYPE_PALETTE) {
    std::vector<png_color> palette;
    palette.reserve(std::size_t{1} << static_cast<unsigned>(bits));
    for (int i = 0; i < (1 << bits); ++i) {
      palette.push_back({static_cast<png_byte>(i), static_cast<png_byte>(255 - i), static_cast<png_byte>(7 * i)});
    }
    png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
    const png_byte transparent = 0;
    png_set_tRNS(png, info, &transparent, 1, nullptr);  // as VOC's files have; must not matter
  }
  png_write_info(png, info);
  png_set_packing(png);
  std::vector<png_bytep> rows;
  rows.reserve(static_cast<std::size_t>(samples.height));
  for (int y = 0; y < samples.height; ++y) {
    rows.push_back(const_cast<png_bytep>(samples.data.data() + samples.index(y, 0)));
  }
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  std::fclose(file);
}

void write_jpeg(const std::filesystem::path& path, const ImageU8& image, bool progressive = false) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  jpeg_stdio_dest(&info, file);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = image.channels;
  info.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  for (int y = 0; y < image.height; ++y) {
    JSAMPROW row = const_cast<JSAMPROW>(image.data.data() + image.index(y, 0));
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::fclose(file);
}

template <class T>
void expect_same(const ImageU16& got, const Image<T>& want) {
  ASSERT_EQ(got.height, want.height);
  ASSERT_EQ(got.width, want.width);
  ASSERT_EQ(got.channels, want.channels);
  EXPECT_TRUE(std::equal(got.data.begin(), got.data.end(), want.data.begin()));
}

TEST(Png, RoundTripsEveryDepthAndChannelCount) {
  const TempDir dir;
  const auto path = dir / "x.png";
  for (const int channels : {1, 3}) {
    for (const auto& [h, w] : {std::pair{1, 1}, {3, 5}, {17, 64}}) {
      int bits = 0;
      const auto u8 = random_image<std::uint8_t>(h, w, channels, 7);
      write_png(path, u8);
      expect_same(read_map(path, &bits), u8);
      EXPECT_EQ(bits, 8);
      const auto u16 = random_image<std::uint16_t>(h, w, channels, 8);
      write_png(path, u16);
      expect_same(read_map(path, &bits), u16);
      EXPECT_EQ(bits, 16);
      const ImageSize size = read_image_size(path);
      EXPECT_EQ(size.height, h);
      EXPECT_EQ(size.width, w);
      EXPECT_EQ(size.channels, channels);
      EXPECT_EQ(size.bits, 16);
    }
  }
  EXPECT_EQ(files_in(dir.path()), 1U);
}

TEST(Png, ReadRgbSpreadsGreyAndScales16Bit) {
  const TempDir dir;
  ImageU8 grey(1, 2, 1);
  grey.data = {10, 200};
  write_png(dir / "g.png", grey);
  EXPECT_THAT(read_rgb(dir / "g.png").data, testing::ElementsAre(10, 10, 10, 200, 200, 200));
  ImageU16 deep(1, 2, 3);
  deep.data = {0, 65535, 257, 128, 129, 514};
  write_png(dir / "d.png", deep);
  EXPECT_THAT(read_rgb(dir / "d.png").data, testing::ElementsAre(0, 255, 1, 0, 1, 2)) << "rounded v / 257";
}

TEST(Png, APaletteMapGivesItsIndicesAndAsRgbItsColours) {
  const TempDir dir;
  for (const int bits : {1, 2, 4, 8}) {
    for (const bool interlaced : {false, true}) {
      ImageU8 indices = random_image<std::uint8_t>(9, 13, 1, static_cast<std::uint64_t>(bits));
      for (std::uint8_t& v : indices.data) v = static_cast<std::uint8_t>(v & ((1 << bits) - 1));
      write_other_png(dir / "p.png", PNG_COLOR_TYPE_PALETTE, bits, indices, interlaced);
      int stored = 0;
      expect_same(read_map(dir / "p.png", &stored), indices);
      EXPECT_EQ(stored, 8);
      const ImageSize size = read_image_size(dir / "p.png");
      EXPECT_EQ(size.channels, 1);
      EXPECT_EQ(size.bits, 8);
      const ImageU8 rgb = read_rgb(dir / "p.png");
      ASSERT_EQ(rgb.channels, 3);
      for (std::size_t i = 0; i < indices.data.size(); ++i) {
        ASSERT_EQ(rgb.data[3 * i], indices.data[i]);
        ASSERT_EQ(rgb.data[3 * i + 1], 255 - indices.data[i]);
      }
    }
  }
}

TEST(Png, AlphaIsDroppedAndNarrowGreyIsScaled) {
  const TempDir dir;
  ImageU8 rgba(1, 2, 4);
  rgba.data = {1, 2, 3, 0, 4, 5, 6, 255};
  write_other_png(dir / "a.png", PNG_COLOR_TYPE_RGB_ALPHA, 8, rgba);
  EXPECT_THAT(read_rgb(dir / "a.png").data, testing::ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(read_map(dir / "a.png").channels, 3);
  ImageU8 bits(1, 4, 1);
  bits.data = {0, 1, 1, 0};
  write_other_png(dir / "b.png", PNG_COLOR_TYPE_GRAY, 1, bits);
  EXPECT_THAT(read_map(dir / "b.png").data, testing::ElementsAre(0, 255, 255, 0));
}

TEST(Jpeg, ReadsColourGreyAndProgressive) {
  const TempDir dir;
  ImageU8 smooth(24, 40, 3);
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 40; ++x) {
      smooth.at(y, x, 0) = static_cast<std::uint8_t>(6 * x);
      smooth.at(y, x, 1) = static_cast<std::uint8_t>(10 * y);
      smooth.at(y, x, 2) = 90;
    }
  }
  for (const bool progressive : {false, true}) {
    write_jpeg(dir / "c.jpg", smooth, progressive);
    const ImageU8 got = read_rgb(dir / "c.jpg");
    ASSERT_EQ(got.height, 24);
    ASSERT_EQ(got.width, 40);
    int worst = 0;
    for (std::size_t i = 0; i < got.data.size(); ++i) {
      worst = std::max(worst, std::abs(int{got.data[i]} - int{smooth.data[i]}));
    }
    EXPECT_LE(worst, 12) << "chroma is subsampled";
  }
  ImageU8 grey(8, 8, 1, 77);
  write_jpeg(dir / "g.jpg", grey);
  EXPECT_EQ(read_map(dir / "g.jpg").channels, 1);
  EXPECT_EQ(read_map(dir / "g.jpg").at(3, 3), 77);
  EXPECT_EQ(read_rgb(dir / "g.jpg").at(3, 3, 2), 77);
  EXPECT_EQ(read_image_size(dir / "g.jpg").channels, 1);
  EXPECT_EQ(read_image_size(dir / "c.jpg").channels, 3);
}

TEST(Images, TheContentDecidesNotTheName) {
  const TempDir dir;
  write_jpeg(dir / "x.png", ImageU8(8, 8, 3, 9));
  EXPECT_EQ(read_rgb(dir / "x.png").height, 8);
}

/// What the process writes to stderr while `call` runs.
template <class F>
std::string stderr_of(F&& call) {
  testing::internal::CaptureStderr();
  call();
  return testing::internal::GetCapturedStderr();
}

TEST(Images, DamageIsAnErrorThatNamesTheFileAndNothingIsPrinted) {
  const TempDir dir;
  write_png(dir / "good.png", random_image<std::uint8_t>(40, 40, 3, 1));
  write_jpeg(dir / "good.jpg", random_image<std::uint8_t>(40, 40, 3, 1));
  write_jpeg(dir / "goodp.jpg", random_image<std::uint8_t>(40, 40, 3, 1), true);
  const std::string printed = stderr_of([&] {
    for (const char* name : {"good.png", "good.jpg", "goodp.jpg"}) {
      const std::string whole = read_all(dir / name);
      for (std::size_t n = 0; n < whole.size() - 16; n += 1 + whole.size() / 97) {
        const auto cut = dir.write("cut", whole.substr(0, n));
        EXPECT_THAT(error_text([&] { read_rgb(cut); }), HasSubstr(cut.string() + ": want a ")) << name << " " << n;
        EXPECT_THROW(read_map(cut), Error) << name << " " << n;
      }
      // Bytes changed inside: an error or an image, but no crash and no chatter.
      for (std::size_t n = 8; n < whole.size(); n += 1 + whole.size() / 211) {
        std::string bad = whole;
        bad[n] = static_cast<char>(bad[n] ^ 0x5A);
        const auto path = dir.write("bad", bad);
        try {
          read_rgb(path);
          read_map(path);
          read_image_size(path);
        } catch (const Error& e) {
          EXPECT_THAT(e.what(), HasSubstr(path.string()));
        }
      }
    }
  });
  EXPECT_EQ(printed, "");
}

TEST(Images, OtherFilesAreNamedClearly) {
  const TempDir dir;
  const auto text = dir.write("x.png", "hello, world");
  EXPECT_EQ(error_text([&] { read_rgb(text); }), text.string() + ": want a JPEG or PNG image, found another format");
  const auto empty = dir.write("e.png", "");
  EXPECT_EQ(error_text([&] { read_image_size(empty); }),
            empty.string() + ": want a JPEG or PNG image, found an empty file");
  EXPECT_THAT(error_text([&] { read_map(dir / "none.png"); }), HasSubstr("No such file"));
}

TEST(Png, ASmallFileThatClaimsAHugePictureAllocatesNothing) {
  const TempDir dir;
  write_png(dir / "x.png", ImageU8(4, 4, 1));
  std::string bytes = read_all(dir / "x.png");
  const auto set_size = [&](std::uint32_t width, std::uint32_t height) {
    std::string bad = bytes;
    for (int i = 0; i < 4; ++i) {
      bad[static_cast<std::size_t>(16 + i)] = static_cast<char>(width >> (24 - 8 * i));
      bad[static_cast<std::size_t>(20 + i)] = static_cast<char>(height >> (24 - 8 * i));
    }
    std::uint32_t crc = 0xFFFFFFFFU;
    for (std::size_t i = 12; i < 29; ++i) {
      crc ^= static_cast<unsigned char>(bad[i]);
      for (int k = 0; k < 8; ++k) crc = (crc >> 1U) ^ (0xEDB88320U & (0U - (crc & 1U)));
    }
    crc = ~crc;
    for (int i = 0; i < 4; ++i) bad[static_cast<std::size_t>(29 + i)] = static_cast<char>(crc >> (24 - 8 * i));
    return dir.write("bad.png", bad);
  };
  const auto wide = set_size(16384, 16384);
  EXPECT_THAT(error_text([&] { read_map(wide); }), HasSubstr("too few bytes for its size"));
  const auto wider = set_size(1U << 20U, 1U << 20U);
  EXPECT_THAT(error_text([&] { read_map(wider); }),
              HasSubstr("want at most 2^28 pixels, 2^16 a side, found 1048576 × 1048576"));
  const auto tall = set_size(1, 1U << 17U);
  EXPECT_THAT(error_text([&] { read_map(tall); }), HasSubstr("2^16 a side, found 1 × 131072"));
}

TEST(Jpeg, ASmallFileThatClaimsAHugePictureAllocatesNothing) {
  const TempDir dir;
  write_jpeg(dir / "x.jpg", ImageU8(8, 8, 3, 9));
  std::string bytes = read_all(dir / "x.jpg");
  const std::size_t frame = bytes.find("\xFF\xC0");  // then length (2), precision (1), height (2), width (2)
  ASSERT_NE(frame, std::string::npos);
  bytes.replace(frame + 5, 4, std::string("\x3F\xFF\x3F\xFF"));
  const auto bad = dir.write("bad.jpg", bytes);
  EXPECT_THAT(error_text([&] { read_rgb(bad); }), HasSubstr("too few bytes for its size"));
  bytes.replace(frame + 5, 4, std::string("\xFF\xDC\xFF\xDC"));
  const auto worse = dir.write("worse.jpg", bytes);
  EXPECT_THAT(error_text([&] { read_rgb(worse); }), HasSubstr("2^16 a side, found 65500 × 65500"));
}

/// The definition, in double precision and without separating the axes.
double naive_resize(const ImageU8& image, int height, int width, int y, int x, int c) {
  const double sy = static_cast<double>(image.height) / height;
  const double sx = static_cast<double>(image.width) / width;
  const auto weight = [](double distance, double scale) {
    return std::max(0.0, 1.0 - std::abs(distance) / std::max(1.0, scale));
  };
  double sum = 0;
  double total = 0;
  for (int i = 0; i < image.height; ++i) {
    for (int j = 0; j < image.width; ++j) {
      const double w = weight(i + 0.5 - (y + 0.5) * sy, sy) * weight(j + 0.5 - (x + 0.5) * sx, sx);
      sum += w * image.at(i, j, c);
      total += w;
    }
  }
  return sum / total;
}

TEST(ResizeRgb, MatchesTheDefinitionForAnyPairOfSizes) {
  const auto image = random_image<std::uint8_t>(13, 22, 3, 3);
  for (const auto& [h, w] : {std::pair{13, 22}, {1, 1}, {5, 7}, {13, 11}, {26, 44}, {40, 9}, {7, 50}}) {
    const ImageU8 got = resize_rgb(image, h, w);
    ASSERT_EQ(got.height, h);
    ASSERT_EQ(got.width, w);
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        for (int c = 0; c < 3; ++c) {
          // Half a level of rounding, and float sums in place of double.
          ASSERT_NEAR(got.at(y, x, c), naive_resize(image, h, w, y, x, c), 0.501)
              << h << "×" << w << " " << y << "," << x;
        }
      }
    }
  }
}

TEST(ResizeRgb, HandComputedRow) {
  // 6 → 2: centres 1.5 and 4.5, support 3: weights 2/3 1 2/3 1/3 of pixels 0 … 3 and their mirror image.
  ImageU8 row(1, 6, 1);
  row.data = {0, 30, 60, 93, 200, 250};
  const ImageU8 got = resize_rgb(row, 1, 2);
  EXPECT_EQ(int{got.at(0, 0)}, 38) << "37.875";
  EXPECT_EQ(int{got.at(0, 1)}, 168) << "168.25";
}

TEST(ResizeRgb, AConstantStaysAndTheSameSizeIsUntouched) {
  for (const int value : {0, 1, 127, 255}) {
    const ImageU8 flat(31, 17, 3, static_cast<std::uint8_t>(value));
    for (const auto& [h, w] : {std::pair{7, 5}, {62, 40}, {1, 100}}) {
      EXPECT_EQ(resize_rgb(flat, h, w), ImageU8(h, w, 3, static_cast<std::uint8_t>(value)));
    }
  }
  const auto image = random_image<std::uint8_t>(9, 9, 3, 4);
  EXPECT_EQ(resize_rgb(image, 9, 9), image);
}

TEST(NormaliseRgb, FollowsImageNetAndTurnsBack) {
  const auto image = random_image<std::uint8_t>(5, 7, 3, 5);
  std::vector<float> planes(3 * 35);
  normalise_rgb(image, planes);
  EXPECT_FLOAT_EQ(planes[35 + 7 * 2 + 3], (static_cast<float>(image.at(2, 3, 1)) / 255.0F - 0.456F) / 0.224F);
  EXPECT_EQ(denormalise_rgb(planes, 5, 7), image);
  const std::vector<float> wild(3, 1e9F);
  EXPECT_EQ(denormalise_rgb(wild, 1, 1).data, (std::vector<std::uint8_t>{255, 255, 255}));
}

}  // namespace
}  // namespace m3vit
