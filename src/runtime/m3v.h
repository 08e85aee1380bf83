#pragma once
/// The packed model file `.m3v`, version 1 (docs/m3v.md):
///     "M3V1" | u32 crc32c of the header | u64 header length | JSON header | zeros to 4096 | sections, each
///     4096-aligned
/// The reader trusts nothing: magic, checksum and JSON of the header, and for every section name, offset and size must
/// be what the configuration demands, back to back, up to the file's last byte. It reads in place.
/// Non-goal: lenient reading; a file is whole or it is an error that names the section.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "runtime/layout.h"

namespace m3vit {

class ReadFile;

inline constexpr std::string_view kM3vMagic = "M3V1";
inline constexpr std::size_t kM3vAlignment = 4096;
inline constexpr std::size_t kM3vPrelude = 16;  ///< magic, checksum, length

struct M3vSection {
  std::string name;
  std::span<const std::byte> bytes;
  std::uint32_t crc = 0;
  std::uint64_t offset = 0;  ///< from the file's start
};

class M3vFile {
 public:
  /// Throws Error naming the file and the header field or section.
  static M3vFile open(const std::filesystem::path& path);
  /// Takes a file's bytes.
  static M3vFile from_bytes(std::vector<std::byte> bytes, const std::string& where);
  /// Reads bytes that must outlive the result (tests, fuzzing).
  static M3vFile parse(std::span<const std::byte> bytes, const std::string& where);

  const std::string& where() const { return where_; }
  const Config& config() const { return config_; }
  const std::string& config_text() const { return config_text_; }
  const Packing& packing() const { return packing_; }
  /// Indices into config().tasks of the tasks this file can run, ascending.
  const std::vector<int>& tasks() const { return packing_.tasks; }
  const std::string& producer() const { return producer_; }
  std::string_view dtype() const { return precision_name(packing_.dtype); }
  const std::vector<M3vSection>& sections() const { return sections_; }
  /// nullptr when this file lacks it.
  const M3vSection* find(std::string_view name) const;
  std::size_t bytes() const { return bytes_.size(); }

  /// Compares every section with its checksum; throws Error naming the first that differs. Reads in place.
  void verify() const;
  /// Compares bytes read from elsewhere with a section's checksum.
  void check(const M3vSection& section, std::span<const std::byte> bytes) const;
  /// Throws the Error for a section of which a read brought `bytes` and an errno, or 0: the file ends early.
  [[noreturn]] void fail_read(const M3vSection& section, std::size_t bytes, int error) const;
  /// The file for reading past the mapping; nullptr for bytes in memory.
  const ReadFile* source() const { return source_.get(); }

 private:
  void read();
  void read_header(std::string_view text);
  void read_packing(const nlohmann::json& root);

  std::shared_ptr<const void> owner_;  ///< mapping or bytes
  std::shared_ptr<const ReadFile> source_;
  std::span<const std::byte> bytes_;
  std::string where_, config_text_, producer_;
  Config config_;
  Packing packing_;
  std::vector<M3vSection> sections_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

/// Writes sections one after another in the order of section_layouts, then the header with their checksums. `out` must
/// be seekable; making the file appear atomically is the caller's part.
class M3vWriter {
 public:
  M3vWriter(std::ostream& out, const Config& config, Packing packing, std::string producer, const std::string& where);
  /// The next section, whole.
  void section(const SectionLayout& layout, std::span<const std::byte> bytes);
  /// After the last one. Throws Error when the stream failed.
  void finish();

 private:
  void write_header();
  void pad(std::size_t to);

  std::ostream& out_;
  std::string where_, producer_;
  const Config& config_;
  Packing packing_;
  std::vector<SectionLayout> layouts_;
  std::vector<std::uint32_t> crcs_;
  std::size_t header_bytes_ = 0;
  std::size_t position_ = 0;
};

}  // namespace m3vit
