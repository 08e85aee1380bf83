#include "runtime/m3v.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/version.h"
#include "runtime/crc32c.h"
#include "runtime/read_file.h"

namespace m3vit {
namespace {

using nlohmann::json;

// Panels of 32 columns (runtime/kernels/kernels.h): one layout that every instruction set of this build reads.
constexpr std::string_view kTarget = "panel32.2";
// Far above what a configuration may ask for (core/config_validate.cpp); check_packing knows the model's own.
constexpr std::uint64_t kMostExperts = std::uint64_t{1} << 30U;
constexpr const char* kDamaged = "the file is damaged or cut short: copy or export it again";

std::size_t align(std::size_t n) { return (n + kM3vAlignment - 1) / kM3vAlignment * kM3vAlignment; }

std::string in_quotes(std::string_view text) {
  std::string q = "\"";
  q += text;
  q += '"';
  return q;
}

std::string hex(std::uint32_t value) {
  std::string text(8, '0');
  for (std::size_t i = 0; i < 8; ++i) text[7 - i] = "0123456789abcdef"[(value >> (4 * i)) & 0xFU];
  return text;
}

/// Reads typed fields of the JSON header; every wrong one is an Error naming it.
class Reader {
 public:
  Reader(const json& object, std::string where, std::string field)
      : json_(object), where_(std::move(where)), field_(std::move(field)) {
    if (!json_.is_object()) fail("", "an object", json_.type_name());
  }
  [[noreturn]] void fail(const std::string& key, const std::string& wanted, const std::string& found) const {
    throw Error{{.where = where_,
                 .field = key.empty() ? field_ : field_ + "." + key,
                 .wanted = wanted,
                 .found = found,
                 .hint = kDamaged}};
  }
  const json& at(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) fail(key, "a value", "nothing");
    return *it;
  }
  std::string text(const char* key) const {
    const json& v = at(key);
    if (!v.is_string()) fail(key, "text", v.type_name());
    return v.get<std::string>();
  }
  std::string text(const char* key, std::string_view wanted) const {
    std::string found = text(key);
    if (found != wanted) fail(key, in_quotes(wanted), in_quotes(found));
    return found;
  }
  std::uint64_t number(const char* key, std::uint64_t most) const {
    const json& v = at(key);
    if (!v.is_number_unsigned() || v.get<std::uint64_t>() > most) {
      fail(key, "0 … " + std::to_string(most), v.dump(-1, ' ', true, json::error_handler_t::replace));
    }
    return v.get<std::uint64_t>();
  }
  void number_is(const char* key, std::uint64_t wanted) const {
    const json& v = at(key);
    if (!v.is_number_unsigned() || v.get<std::uint64_t>() != wanted) {
      fail(key, std::to_string(wanted), v.dump(-1, ' ', true, json::error_handler_t::replace));
    }
  }
  Precision precision(const char* key) const {
    const std::string name = text(key);
    const std::optional<Precision> found = find_precision(name);
    if (!found) fail(key, "f32, bf16 or int8", in_quotes(name));
    return *found;
  }
  /// nullptr when there is none.
  const json* object(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) return nullptr;
    if (!it->is_object()) fail(key, "an object", it->type_name());
    return &*it;
  }
  const json& array(const char* key) const {
    const json& v = at(key);
    if (!v.is_array()) fail(key, "a list", v.type_name());
    return v;
  }

 private:
  const json& json_;
  std::string where_, field_;
};

}  // namespace

M3vFile M3vFile::open(const std::filesystem::path& path) {
  M3vFile file;
  auto mapped = std::make_shared<const MappedFile>(path);
  file.bytes_ = mapped->bytes();
  file.source_ = std::make_shared<const ReadFile>(mapped->descriptor());
  file.owner_ = std::move(mapped);
  file.where_ = path.string();
  file.read();
  return file;
}

M3vFile M3vFile::from_bytes(std::vector<std::byte> bytes, const std::string& where) {
  M3vFile file;
  auto owned = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  file.bytes_ = *owned;
  file.owner_ = std::move(owned);
  file.where_ = where;
  file.read();
  return file;
}

M3vFile M3vFile::parse(std::span<const std::byte> bytes, const std::string& where) {
  M3vFile file;
  file.bytes_ = bytes;
  file.where_ = where;
  file.read();
  return file;
}

void M3vFile::read() {
  const auto fail = [this](std::string field, std::string wanted, std::string found, std::string hint = kDamaged) {
    throw Error{{.where = where_,
                 .field = std::move(field),
                 .wanted = std::move(wanted),
                 .found = std::move(found),
                 .hint = std::move(hint)}};
  };
  if (bytes_.size() < kM3vPrelude) {
    fail("header", "at least " + std::to_string(kM3vPrelude) + " bytes", std::to_string(bytes_.size()));
  }
  if (std::memcmp(bytes_.data(), kM3vMagic.data(), kM3vMagic.size()) != 0) {
    fail("magic", "\"M3V1\"", "other bytes", "`m3vit export` makes .m3v files");
  }
  std::uint32_t crc = 0;
  std::uint64_t length = 0;
  std::memcpy(&crc, bytes_.data() + 4, sizeof crc);
  std::memcpy(&length, bytes_.data() + 8, sizeof length);
  if (length > bytes_.size() - kM3vPrelude) {
    fail("header length", "at most " + std::to_string(bytes_.size() - kM3vPrelude), std::to_string(length));
  }
  const std::span<const std::byte> header = bytes_.subspan(kM3vPrelude, static_cast<std::size_t>(length));
  if (const std::uint32_t found = crc32c(header); found != crc) fail("header crc32c", hex(crc), hex(found));
  read_header({reinterpret_cast<const char*>(header.data()), header.size()});
}

void M3vFile::read_header(std::string_view text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) {
    throw Error{{.where = where_, .field = "header", .wanted = "JSON", .found = "other text", .hint = kDamaged}};
  }
  const Reader header(root, where_, "header");
  header.text("m3vit_version");
  producer_ = header.text("producer");
  packing_.dtype = header.precision("dtype");
  header.text("target", kTarget);
  const json& config = header.at("config");
  config_ = config_from_json(config, SourceMap{.file = where_, .places = {}});
  config_text_ = config.dump(-1, ' ', false, json::error_handler_t::replace);

  const json& tasks = header.array("tasks");
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const Reader task(tasks[i], where_, "header.tasks." + std::to_string(i));
    const std::string name = task.text("name");
    const std::optional<int> index = config_.task_index(name);
    if (!index) task.fail("name", "a task of the configuration", in_quotes(name));
    if (!packing_.tasks.empty() && *index <= packing_.tasks.back())
      task.fail("name", "tasks in the configuration's order", name);
    const std::size_t at = static_cast<std::size_t>(*index);
    task.number_is("router", static_cast<std::uint64_t>(at));
    task.number_is("outputs", static_cast<std::uint64_t>(task_outputs(config_.tasks[at], where_)));
    packing_.tasks.push_back(*index);
  }
  if (packing_.tasks.empty()) header.fail("tasks", "at least one task", "none");
  read_packing(root);

  const json& sections = header.array("sections");
  const std::size_t count = section_count(config_, packing_);
  if (sections.size() != count) {
    header.fail("sections", std::to_string(count) + " sections", std::to_string(sections.size()));
  }
  const std::vector<SectionLayout> layouts = section_layouts(config_, packing_, where_);
  assert(layouts.size() == count);
  const std::size_t data = align(kM3vPrelude + text.size());
  std::size_t offset = 0;
  std::size_t end = data;
  for (std::size_t i = 0; i < count; ++i) {
    const SectionLayout& layout = layouts[i];
    const Reader named(sections[i], where_, "header.sections." + std::to_string(i));
    named.text("name", layout.name);
    const Reader section(sections[i], where_, "section '" + layout.name + "'");
    section.number_is("bytes", layout.bytes);
    section.number_is("offset", offset);
    end = data + offset + layout.bytes;
    if (end > bytes_.size()) {
      section.fail("", "a file of at least " + std::to_string(end) + " bytes", std::to_string(bytes_.size()));
    }
    const std::string crc_text = section.text("crc32c");
    std::uint32_t crc = 0;
    for (const char c : crc_text) {
      const std::size_t digit = std::string_view("0123456789abcdef").find(c);
      if (digit == std::string_view::npos || crc_text.size() != 8) section.fail("crc32c", "8 hex digits", crc_text);
      crc = crc << 4U | static_cast<std::uint32_t>(digit);
    }
    if (crc_text.size() != 8) section.fail("crc32c", "8 hex digits", crc_text);
    by_name_.emplace(layout.name, sections_.size());
    sections_.push_back({layout.name, bytes_.subspan(data + offset, layout.bytes), crc, data + offset});
    offset = align(offset + layout.bytes);
  }
  if (end != bytes_.size()) {
    header.fail("sections", "a file of " + std::to_string(end) + " bytes", std::to_string(bytes_.size()));
  }
}

void M3vFile::read_packing(const nlohmann::json& root) {
  const Reader header(root, where_, "header");
  if (const json* layers = header.object("layers")) {
    const Reader reader(*layers, where_, "header.layers");
    for (const auto& [name, value] : layers->items()) packing_.layers[name] = reader.precision(name.c_str());
  }
  if (const json* pruned = header.object("pruned")) {
    const Reader reader(*pruned, where_, "header.pruned");
    for (const auto& [name, value] : pruned->items()) {
      int block = -1;
      const char* const end = name.data() + name.size();
      const auto parsed = std::from_chars(name.data(), end, block);
      if (parsed.ec != std::errc() || parsed.ptr != end || std::to_string(block) != name) {
        reader.fail(name, "a block's number", in_quotes(name));
      }
      for (const json& expert : reader.array(name.c_str())) {
        if (!expert.is_number_unsigned() || expert.get<std::uint64_t>() >= kMostExperts) {
          reader.fail(name, "expert numbers", expert.dump(-1, ' ', true, json::error_handler_t::replace));
        }
        packing_.pruned[block].push_back(expert.get<int>());
      }
    }
  }
  check_packing(config_, packing_, where_);
}

const M3vSection* M3vFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &sections_[it->second];
}

void M3vFile::verify() const {
  for (const M3vSection& s : sections_) check(s, s.bytes);
}

void M3vFile::check(const M3vSection& section, std::span<const std::byte> bytes) const {
  const std::uint32_t found = crc32c(bytes);
  if (found == section.crc) return;
  throw Error{{.where = where_,
               .field = "section '" + section.name + "'",
               .wanted = "crc32c " + hex(section.crc),
               .found = hex(found),
               .hint = kDamaged}};
}

void M3vFile::fail_read(const M3vSection& section, std::size_t bytes, int error) const {
  throw Error{{.where = where_,
               .field = "section '" + section.name + "'",
               .wanted = std::to_string(section.bytes.size()) + " bytes",
               .found = error != 0 ? "a read error: " + std::generic_category().message(error)
                                   : std::to_string(bytes) + ", the file's end",
               .hint = error != 0 ? "" : "the file was cut short since it was opened"}};
}

M3vWriter::M3vWriter(std::ostream& out, const Config& config, Packing packing, std::string producer,
                     const std::string& where)
    : out_(out),
      where_(where),
      producer_(std::move(producer)),
      config_(config),
      packing_(std::move(packing)),
      layouts_(section_layouts(config_, packing_, where)) {
  write_header();  // with checksums of 0: it keeps its length
}

void M3vWriter::write_header() {
  json sections = json::array();
  std::size_t offset = 0;
  for (std::size_t i = 0; i < layouts_.size(); ++i) {
    sections.push_back({{"name", layouts_[i].name},
                        {"offset", offset},
                        {"bytes", layouts_[i].bytes},
                        {"crc32c", hex(i < crcs_.size() ? crcs_[i] : 0)}});
    offset = align(offset + layouts_[i].bytes);
  }
  json tasks = json::array();
  for (const int t : packing_.tasks) {
    const TaskConfig& task = config_.tasks[static_cast<std::size_t>(t)];
    tasks.push_back({{"name", task.name}, {"router", t}, {"outputs", task_outputs(task, where_)}});
  }
  json header = {{"m3vit_version", kVersion},
                 {"producer", producer_},
                 {"dtype", precision_name(packing_.dtype)},
                 {"target", kTarget},
                 {"config", to_json(config_)},
                 {"tasks", std::move(tasks)},
                 {"sections", std::move(sections)}};
  for (const auto& [layer, precision] : packing_.layers) header["layers"][layer] = precision_name(precision);
  for (const auto& [block, experts] : packing_.pruned) header["pruned"][std::to_string(block)] = experts;
  const std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(text)));
  const std::uint64_t length = text.size();
  std::array<char, kM3vPrelude> prelude{};
  std::memcpy(prelude.data(), kM3vMagic.data(), kM3vMagic.size());
  std::memcpy(prelude.data() + 4, &crc, sizeof crc);
  std::memcpy(prelude.data() + 8, &length, sizeof length);
  out_.write(prelude.data(), static_cast<std::streamsize>(prelude.size()));
  out_.write(text.data(), static_cast<std::streamsize>(text.size()));
  assert(header_bytes_ == 0 || header_bytes_ == kM3vPrelude + text.size());
  header_bytes_ = kM3vPrelude + text.size();
  position_ = std::max(position_, header_bytes_);
}

void M3vWriter::pad(std::size_t to) {
  static constexpr std::array<char, kM3vAlignment> kZeros{};
  assert(to >= position_ && to - position_ < kM3vAlignment);
  out_.write(kZeros.data(), static_cast<std::streamsize>(to - position_));
  position_ = to;
}

void M3vWriter::section([[maybe_unused]] const SectionLayout& layout, std::span<const std::byte> bytes) {
  assert(crcs_.size() < layouts_.size() && layouts_[crcs_.size()].name == layout.name);
  assert(bytes.size() == layout.bytes);
  pad(align(position_));
  crcs_.push_back(crc32c(bytes));
  out_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  position_ += bytes.size();
}

void M3vWriter::finish() {
  assert(crcs_.size() == layouts_.size());
  out_.seekp(0);
  write_header();
  out_.flush();
  if (!out_) {
    throw Error{{.where = where_, .field = {}, .wanted = "room to write", .found = "a failed write", .hint = {}}};
  }
}

}  // namespace m3vit
