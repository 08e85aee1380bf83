#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>

// jpeglib.h needs size_t and FILE before it.
#include <jerror.h>
#include <jpeglib.h>

#include "core/codecs.h"
#include "core/error.h"

namespace m3vit {
namespace {

[[noreturn]] void fail(const std::string& where, std::string wanted, std::string found) {
  throw Error{{.where = where, .field = {}, .wanted = std::move(wanted), .found = std::move(found), .hint = {}}};
}

/// What libjpeg's callbacks see; `base` first, so that one pointer serves both.
struct ErrorManager {
  jpeg_error_mgr base;
  char message[JMSG_LENGTH_MAX] = {};
  std::jmp_buf back;
};

void on_error(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  info->err->format_message(info, manager->message);
  std::longjmp(manager->back, 1);
}

/// libjpeg paints the rest of a truncated picture grey and only warns: for us that is an error. Its other warnings
/// (stray bytes between markers …) occur in files that every viewer shows correctly.
void on_message(j_common_ptr info, int level) {
  if (level < 0 && (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER)) on_error(info);
}

void on_output(j_common_ptr) {}

struct Reader {
  ErrorManager errors{};
  jpeg_decompress_struct info{};
  bool created = false;
  Reader() {
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_error;
    errors.base.emit_message = on_message;
    errors.base.output_message = on_output;
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    if (created) jpeg_destroy_decompress(&info);
  }
};

/// The functions with setjmp hold nothing with a destructor and return false after an error.
bool read_header(Reader& reader, std::span<const std::uint8_t> file) {
  if (setjmp(reader.errors.back) != 0) return false;
  jpeg_create_decompress(&reader.info);
  reader.created = true;
  reader.info.mem->max_memory_to_use = 1L << 30U;  // a progressive file asks for its coefficients as a whole
  jpeg_mem_src(&reader.info, file.data(), file.size());
  jpeg_read_header(&reader.info, TRUE);
  return true;
}

bool read_pixels(Reader& reader, ImageU8& image) {
  if (setjmp(reader.errors.back) != 0) return false;
  reader.info.out_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&reader.info);
  while (reader.info.output_scanline < reader.info.output_height) {
    JSAMPROW row = image.data.data() + image.index(static_cast<int>(reader.info.output_scanline), 0);
    jpeg_read_scanlines(&reader.info, &row, 1);
  }
  jpeg_finish_decompress(&reader.info);
  return true;
}

void open(Reader& reader, std::span<const std::uint8_t> file, const std::string& where) {
  if (!read_header(reader, file)) fail(where, "a readable JPEG", reader.errors.message);
  const std::int64_t pixels = static_cast<std::int64_t>(reader.info.image_height) * reader.info.image_width;
  if (pixels > kMostPixels) {
    fail(where, "at most 2^28 pixels, 2^16 a side",
         std::to_string(reader.info.image_width) + " × " + std::to_string(reader.info.image_height));
  }
  // A Huffman code is at least one bit an 8×8 block, so a short file cannot hold a large picture.
  if (reader.info.arith_code == 0 && static_cast<std::size_t>(pixels) / 512 > file.size()) {
    fail(where, "a readable JPEG", "too few bytes for its size");
  }
}

}  // namespace

bool is_jpeg(std::span<const std::uint8_t> file) {
  return file.size() >= 3 && file[0] == 0xFF && file[1] == 0xD8 && file[2] == 0xFF;
}

ImageSize jpeg_size(std::span<const std::uint8_t> file, const std::string& where) {
  Reader reader;
  open(reader, file, where);
  return {.height = static_cast<int>(reader.info.image_height),
          .width = static_cast<int>(reader.info.image_width),
          .channels = reader.info.num_components == 1 ? 1 : 3,
          .bits = 8};
}

Decoded decode_jpeg(std::span<const std::uint8_t> file, Wanted wanted, const std::string& where) {
  Reader reader;
  open(reader, file, where);
  Decoded out;
  const bool grey = wanted == Wanted::kStored && reader.info.num_components == 1;
  out.u8 = ImageU8(static_cast<int>(reader.info.image_height), static_cast<int>(reader.info.image_width), grey ? 1 : 3);
  if (!read_pixels(reader, out.u8)) fail(where, "a readable JPEG", reader.errors.message);
  return out;
}

}  // namespace m3vit
