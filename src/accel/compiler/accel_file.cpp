#include "accel/compiler/accel_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json_text.h"
#include "core/mapped_file.h"
#include "core/version.h"
#include "runtime/crc32c.h"

namespace m3vit::accel {
namespace {

using nlohmann::json;

constexpr std::size_t kPrelude = 16;
constexpr int kContract = 1;
constexpr std::uint64_t kMostWords = 1U << 24U;  ///< of any memory

/// The array's parameters by name, for both directions.
template <class A, class V>
void visit(A& a, V&& v) {
  v("width", a.width);
  v("weight_words", a.weight_words);
  v("param_words", a.param_words);
  v("act_words", a.act_words);
  v("res_words", a.res_words);
  v("row_words", a.row_words);
  v("key_words", a.key_words);
  v("norm_words", a.norm_words);
  v("max_experts", a.max_experts);
  v("max_top_k", a.max_top_k);
  v("list_entries", a.list_entries);
}
template <class F, class V>
void visit_footprint(F& f, V&& v) {
  v("weight_words", f.weight_words);
  v("param_words", f.param_words);
  v("act_words", f.act_words);
  v("res_words", f.res_words);
  v("list_entries", f.list_entries);
}

std::size_t aligned(std::size_t n) { return (n + kAccelAlignment - 1) / kAccelAlignment * kAccelAlignment; }

class Reader {
 public:
  Reader(const json& object, const std::string& where, std::string field)
      : json_(object), where_(where), field_(std::move(field)) {
    if (!json_.is_object()) fail("", "an object", json_.type_name());
  }
  [[noreturn]] void fail(const std::string& key, const std::string& wanted, const std::string& found) const {
    throw Error{{.where = where_,
                 .field = field_ + key,
                 .wanted = wanted,
                 .found = found,
                 .hint = "the file is damaged or of another version: export it again"}};
  }
  const json& at(const std::string& key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) fail(key, "a value", "nothing");
    return *it;
  }
  template <class T>
  T number(const std::string& key, std::uint64_t least, std::uint64_t most) const {
    const json& v = at(key);
    if (!v.is_number_unsigned() || v.get<std::uint64_t>() < least || v.get<std::uint64_t>() > most) {
      fail(key, std::to_string(least) + " … " + std::to_string(most), shown(v));
    }
    return static_cast<T>(v.get<std::uint64_t>());
  }
  std::string text(const std::string& key) const {
    const json& v = at(key);
    if (!v.is_string()) fail(key, "text", shown(v));
    return v.get<std::string>();
  }
  const json& list(const std::string& key) const {
    const json& v = at(key);
    if (!v.is_array()) fail(key, "a list", v.type_name());
    return v;
  }

 private:
  const json& json_;
  const std::string& where_;
  std::string field_;
};

TaskProgram read_program(const Reader& r, const Config& config, std::span<const std::byte> image, const Array& array) {
  const std::uint64_t units = image.size() / Array::kBeatBytes;
  TaskProgram p;
  const std::string task = r.text("task");
  const std::optional<int> index = config.task_index(task);
  if (!index) r.fail("task", "a task of the model", printable(task));
  p.task = *index;
  p.program = r.number<std::uint32_t>("program", 0, units);
  p.input = r.number<std::uint32_t>("input", 0, units);
  p.output = r.number<std::uint32_t>("output", 0, units);
  p.height = r.number<int>("height", 1, 65535);
  p.width = r.number<int>("width", 1, 65535);
  p.outputs = r.number<int>("outputs", 1, 65535);
  p.output_pitch = r.number<std::size_t>("output_pitch", 1, image.size());
  const json& scale = r.at("scale");
  if (!scale.is_number() || !(scale.get<double>() > 0.0) || !std::isfinite(scale.get<double>())) {
    r.fail("scale", "a positive number", shown(scale));
  }
  p.scale = scale.get<double>();
  const auto row = static_cast<std::size_t>(array.words(p.outputs)) * static_cast<std::size_t>(array.width) * 2 *
                   static_cast<std::size_t>(p.width);
  if (p.output_pitch < row ||
      (units - p.output) * Array::kBeatBytes < p.output_pitch * static_cast<std::size_t>(p.height)) {
    r.fail("output", "a map inside the image", std::to_string(p.output));
  }
  const ModelConfig& m = config.model;
  const auto patch = static_cast<std::size_t>(array.words(3 * m.patch_size * m.patch_size) * array.width);
  if ((units - p.input) * Array::kBeatBytes < patch * static_cast<std::size_t>(m.tokens() - 1)) {
    r.fail("input", "patches inside the image", std::to_string(p.input));
  }
  const auto ops = r.number<std::size_t>("ops", 1, units - p.program);
  for (std::size_t i = 0; i < ops; ++i) {
    MicroOp words;
    std::memcpy(words.data(), image.data() + (p.program + i) * Array::kBeatBytes, sizeof(words));
    const std::optional<AnyOp> op = decode(words);
    if (!op) r.fail("program", "micro-ops", "an unknown one at " + std::to_string(i));
    p.ops.push_back(*op);
  }
  if (!std::holds_alternative<EndOp>(p.ops.back())) r.fail("ops", "a program that ends with END", std::to_string(ops));
  return p;
}

}  // namespace

void write_accel_file(std::ostream& out, const Compiled& model, const std::string& producer) {
  json header{{"m3vit_version", kVersion},
              {"producer", producer},
              {"target", "zcu104"},
              {"contract", kContract},
              {"config", to_json(model.config)}};
  visit(model.array, [&](const char* name, int value) { header["array"][name] = value; });
  visit_footprint(model.footprint, [&](const char* name, int value) { header["footprint"][name] = value; });
  header["image"] = {{"bytes", model.image.size()}, {"crc32c", crc32c(model.image)}};
  header["programs"] = json::array();
  for (const TaskProgram& p : model.programs) {
    header["programs"].push_back({{"task", model.config.tasks[static_cast<std::size_t>(p.task)].name},
                                  {"program", p.program},
                                  {"ops", p.ops.size()},
                                  {"input", p.input},
                                  {"output", p.output},
                                  {"height", p.height},
                                  {"width", p.width},
                                  {"outputs", p.outputs},
                                  {"output_pitch", p.output_pitch},
                                  {"scale", p.scale}});
  }
  header["sections"] = json::array();
  for (const ImageBuilder::Section& s : model.sections) {
    header["sections"].push_back({{"name", s.name}, {"address", s.address}, {"bytes", s.bytes}});
  }
  const std::string text = header.dump();
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(text)));
  const std::uint64_t length = text.size();
  out.write(kAccelMagic.data(), 4);
  out.write(reinterpret_cast<const char*>(&crc), 4);
  out.write(reinterpret_cast<const char*>(&length), 8);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  const std::string zeros(aligned(kPrelude + text.size()) - kPrelude - text.size(), '\0');
  out.write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
  out.write(reinterpret_cast<const char*>(model.image.data()), static_cast<std::streamsize>(model.image.size()));
}

Compiled read_accel_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return read_accel_file(file.bytes(), path.string());
}

Compiled read_accel_file(std::span<const std::byte> bytes, const std::string& where) {
  const auto fail = [&](const std::string& field, const std::string& wanted, const std::string& found) {
    throw Error{{.where = where, .field = field, .wanted = wanted, .found = found, .hint = "export it again"}};
  };
  if (bytes.size() < kPrelude || std::memcmp(bytes.data(), kAccelMagic.data(), 4) != 0) {
    fail("magic", std::string(kAccelMagic), "something else");
  }
  std::uint32_t crc = 0;
  std::uint64_t length = 0;
  std::memcpy(&crc, bytes.data() + 4, 4);
  std::memcpy(&length, bytes.data() + 8, 8);
  if (length > bytes.size() - kPrelude) fail("header", "a length inside the file", std::to_string(length));
  const std::span<const std::byte> header_bytes = bytes.subspan(kPrelude, length);
  if (crc32c(header_bytes) != crc) fail("header", "its checksum", "another one");
  const std::string text(reinterpret_cast<const char*>(header_bytes.data()), header_bytes.size());
  const json root = parse_json(text, where, "header");
  const Reader r(root, where, "");

  Compiled model;
  r.number<int>("contract", kContract, kContract);
  model.config = config_from_json(r.at("config"), SourceMap{.file = where, .places = {}});
  const Reader array(r.at("array"), where, "array.");
  visit(model.array, [&](const char* name, int& value) { value = array.number<int>(name, 1, kMostWords); });
  if (model.array.width != 8 && model.array.width != 16 && model.array.width != 32) {
    array.fail("width", "8, 16 or 32", std::to_string(model.array.width));
  }
  const Reader footprint(r.at("footprint"), where, "footprint.");
  visit_footprint(model.footprint,
                  [&](const char* name, int& value) { value = footprint.number<int>(name, 0, kMostWords); });

  const Reader image(r.at("image"), where, "image.");
  const std::size_t begin = aligned(kPrelude + length);
  const std::size_t size = begin > bytes.size() ? 0 : bytes.size() - begin;
  image.number<std::size_t>("bytes", size, size);
  model.image.assign(bytes.end() - static_cast<std::ptrdiff_t>(size), bytes.end());
  model.image_bytes = model.image.size();
  image.number<std::uint32_t>("crc32c", crc32c(model.image), crc32c(model.image));

  for (const json& p : r.list("programs")) {
    model.programs.push_back(read_program(Reader(p, where, "programs."), model.config, model.image, model.array));
  }
  for (const json& s : r.list("sections")) {
    const Reader section(s, where, "sections.");
    const auto address = section.number<std::uint32_t>("address", 0, size / Array::kBeatBytes);
    const auto room = size - std::size_t{address} * Array::kBeatBytes;
    model.sections.push_back({section.text("name"), address, section.number<std::size_t>("bytes", 0, room)});
  }
  return model;
}

bool is_accel_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::array<char, 4> magic{};
  in.read(magic.data(), magic.size());
  return in && std::string_view(magic.data(), magic.size()) == kAccelMagic;
}

}  // namespace m3vit::accel
