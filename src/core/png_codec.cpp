#include <png.h>

#include <cassert>
#include <csetjmp>
#include <cstring>

#include "core/codecs.h"
#include "core/error.h"

namespace m3vit {
namespace {

[[noreturn]] void fail(const std::string& where, std::string wanted, std::string found) {
  throw Error{{.where = where, .field = {}, .wanted = std::move(wanted), .found = std::move(found), .hint = {}}};
}

/// What libpng's callbacks see. No exception may cross libpng's C frames: an error is noted and jumps back.
struct Session {
  std::span<const std::uint8_t> in;
  std::vector<std::uint8_t>* out = nullptr;
  char message[160] = {};
  std::jmp_buf back;
};

void on_error(png_structp png, png_const_charp message) {
  auto* session = static_cast<Session*>(png_get_error_ptr(png));
  std::strncpy(session->message, message, sizeof session->message - 1);
  std::longjmp(session->back, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep to, png_size_t n) {
  auto* session = static_cast<Session*>(png_get_io_ptr(png));
  if (session->in.size() < n) png_error(png, "the file ends early");
  std::memcpy(to, session->in.data(), n);
  session->in = session->in.subspan(n);
}

void on_write(png_structp png, png_bytep from, png_size_t n) {
  auto* session = static_cast<Session*>(png_get_io_ptr(png));
  try {
    session->out->insert(session->out->end(), from, from + n);
  } catch (...) {
    png_error(png, "out of memory");
  }
}

void on_flush(png_structp) {}

struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

struct Writer {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { png_destroy_write_struct(&png, &info); }
};

/// The functions with setjmp hold nothing with a destructor and return false after an error.
bool read_header(Reader& reader, Session& session) {
  if (setjmp(session.back) != 0) return false;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  if (reader.png == nullptr) return false;
  reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) return false;
  png_set_user_limits(reader.png, 1U << 28U, 1U << 28U);
  png_set_chunk_malloc_max(reader.png, 16U << 20U);
  png_set_chunk_cache_max(reader.png, 128);
  png_set_read_fn(reader.png, &session, on_read);
  png_read_info(reader.png, reader.info);
  return true;
}

bool set_transforms(Reader& reader, Session& session, Wanted wanted) {
  if (setjmp(session.back) != 0) return false;
  const png_byte color = png_get_color_type(reader.png, reader.info);
  if (color == PNG_COLOR_TYPE_PALETTE) {
    if (wanted == Wanted::kRgb8) {
      png_set_palette_to_rgb(reader.png);
    } else {
      png_set_packing(reader.png);  // one index a byte
    }
  } else if (color == PNG_COLOR_TYPE_GRAY || color == PNG_COLOR_TYPE_GRAY_ALPHA) {
    if (png_get_bit_depth(reader.png, reader.info) < 8) png_set_expand_gray_1_2_4_to_8(reader.png);
    if (wanted == Wanted::kRgb8) png_set_gray_to_rgb(reader.png);
  }
  if (wanted == Wanted::kRgb8) png_set_scale_16(reader.png);
  png_set_strip_alpha(reader.png);
  png_set_swap(reader.png);  // 16-bit samples to little-endian
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return true;
}

bool read_rows(Reader& reader, Session& session, png_bytepp rows) {
  if (setjmp(session.back) != 0) return false;
  png_read_image(reader.png, rows);
  png_read_end(reader.png, nullptr);
  return true;
}

bool write_all(Writer& writer, Session& session, png_bytepp rows, int height, int width, int channels, int bits) {
  if (setjmp(session.back) != 0) return false;
  writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  if (writer.png == nullptr) return false;
  writer.info = png_create_info_struct(writer.png);
  if (writer.info == nullptr) return false;
  png_set_write_fn(writer.png, &session, on_write, on_flush);
  png_set_IHDR(writer.png, writer.info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), bits,
               channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(writer.png, 4);  // three times as fast as the default for a few per cent more bytes
  png_write_info(writer.png, writer.info);
  png_set_swap(writer.png);
  png_write_image(writer.png, rows);
  png_write_end(writer.png, nullptr);
  return true;
}

/// Opens the header and checks the size, before anything is allocated for pixels.
void open(Reader& reader, Session& session, const std::string& where) {
  const std::size_t file_bytes = session.in.size();
  if (!read_header(reader, session)) fail(where, "a readable PNG", session.message);
  const std::int64_t height = png_get_image_height(reader.png, reader.info);
  const std::int64_t width = png_get_image_width(reader.png, reader.info);
  if (height > kMostSide || width > kMostSide || height * width > kMostPixels) {
    fail(where, "at most 2^28 pixels, 2^16 a side", std::to_string(width) + " × " + std::to_string(height));
  }
  // Deflate shrinks at most 1032 : 1, so a short file cannot hold a large picture.
  const std::size_t raw = png_get_rowbytes(reader.png, reader.info) * static_cast<std::size_t>(height);
  if (raw / 1032 > file_bytes) fail(where, "a readable PNG", "too few bytes for its size");
}

template <class T>
std::vector<png_bytep> row_pointers(Image<T>& image) {
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (int y = 0; y < image.height; ++y) {
    rows[static_cast<std::size_t>(y)] = reinterpret_cast<png_bytep>(image.data.data() + image.index(y, 0));
  }
  return rows;
}

template <class T>
void read_pixels(Reader& reader, Session& session, Image<T>& image, const std::string& where) {
  image = Image<T>(static_cast<int>(png_get_image_height(reader.png, reader.info)),
                   static_cast<int>(png_get_image_width(reader.png, reader.info)),
                   png_get_channels(reader.png, reader.info));
  assert(png_get_rowbytes(reader.png, reader.info) ==
         static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels) * sizeof(T));
  std::vector<png_bytep> rows = row_pointers(image);
  if (!read_rows(reader, session, rows.data())) fail(where, "a readable PNG", session.message);
}

}  // namespace

bool is_png(std::span<const std::uint8_t> file) { return file.size() >= 8 && png_sig_cmp(file.data(), 0, 8) == 0; }

ImageSize png_size(std::span<const std::uint8_t> file, const std::string& where) {
  Session session;
  session.in = file;
  Reader reader;
  open(reader, session, where);
  const bool color = png_get_color_type(reader.png, reader.info) == PNG_COLOR_TYPE_RGB ||
                     png_get_color_type(reader.png, reader.info) == PNG_COLOR_TYPE_RGB_ALPHA;
  return {.height = static_cast<int>(png_get_image_height(reader.png, reader.info)),
          .width = static_cast<int>(png_get_image_width(reader.png, reader.info)),
          .channels = color ? 3 : 1,
          .bits = png_get_bit_depth(reader.png, reader.info) == 16 ? 16 : 8};
}

Decoded decode_png(std::span<const std::uint8_t> file, Wanted wanted, const std::string& where) {
  Session session;
  session.in = file;
  Reader reader;
  open(reader, session, where);
  if (!set_transforms(reader, session, wanted)) fail(where, "a readable PNG", session.message);
  Decoded out;
  out.bits = png_get_bit_depth(reader.png, reader.info) == 16 ? 16 : 8;
  if (out.bits == 16) {
    read_pixels(reader, session, out.u16, where);
  } else {
    read_pixels(reader, session, out.u8, where);
  }
  return out;
}

std::vector<std::uint8_t> encode_png(const void* samples, int height, int width, int channels, int bits) {
  assert((channels == 1 || channels == 3) && (bits == 8 || bits == 16) && height > 0 && width > 0);
  const std::size_t row_bytes =
      static_cast<std::size_t>(width) * static_cast<std::size_t>(channels) * static_cast<std::size_t>(bits / 8);
  std::vector<png_bytep> rows(static_cast<std::size_t>(height));
  for (std::size_t y = 0; y < rows.size(); ++y) {
    // libpng's writer takes non-const rows but only reads them.
    rows[y] = const_cast<png_bytep>(static_cast<const png_byte*>(samples) + y * row_bytes);
  }
  std::vector<std::uint8_t> out;
  Session session;
  session.out = &out;
  Writer writer;
  if (!write_all(writer, session, rows.data(), height, width, channels, bits)) {
    fail("PNG writer", "an image libpng can write", session.message);
  }
  return out;
}

}  // namespace m3vit
