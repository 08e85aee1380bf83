#include "core/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json_text.h"

namespace m3vit {
namespace {

using nlohmann::json;

constexpr std::size_t kMostBytes = 1U << 20U;
constexpr std::size_t kMostValues = 100'000;
constexpr std::size_t kMostDepth = 64;

/// Long strings count for more: an alias copies them.
std::size_t count_values(const json& value) {
  std::size_t n = 1;
  if (value.is_string()) n += value.get_ref<const std::string&>().size() / 64;
  if (value.is_structured()) {
    for (const json& child : value) n += count_values(child);
  }
  return n;
}

std::size_t depth_of(const json& value) {
  std::size_t deepest = 0;
  if (value.is_structured()) {
    for (const json& child : value) deepest = std::max(deepest, depth_of(child));
    ++deepest;
  }
  return deepest;
}

/// Builds the tree from yaml-cpp's events. Working on events, not on YAML::Node, keeps duplicate keys visible, bounds
/// depth and aliases while they arrive, and has a position for every key.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string where) : where_(std::move(where)) { tree_.source.file = where_; }

  YamlTree take() { return std::move(tree_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, anchor, nullptr, "null"); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (anchor >= anchors_.size() || anchors_[anchor].is_discarded()) {
      fail(mark, "an alias of a finished value", "an alias of the value it lies in");
    }
    // A copy: the anchored values may move while the alias is attached.
    const json value = anchors_[anchor];
    values_ += count_values(value);
    if (frames_.size() + depth_of(value) > kMostDepth) too_deep(mark);
    scalar(mark, 0, value, value.is_string() ? value.get<std::string>() : "");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    json value = text;
    if (tag.empty() || tag == "?") {
      value = yaml_scalar(text);
    } else if (tag != "!" && tag != "tag:yaml.org,2002:str") {
      foreign_tag(mark, tag);
    }
    scalar(mark, anchor, std::move(value), text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, json::array());
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, json::object());
  }
  void OnMapEnd() override { end(); }

 private:
  struct Frame {
    json value;
    std::string pointer;
    YAML::anchor_t anchor = 0;
    bool want_key = true;
    std::string key;
  };

  std::string at(const YAML::Mark& mark) const {
    return where_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
  }
  [[noreturn]] void fail(const YAML::Mark& mark, std::string wanted, std::string found, std::string field = "") const {
    throw Error{{.where = at(mark),
                 .field = std::move(field),
                 .wanted = std::move(wanted),
                 .found = std::move(found),
                 .hint = {}}};
  }
  [[noreturn]] void too_deep(const YAML::Mark& mark) const {
    fail(mark, "at most " + std::to_string(kMostDepth) + " levels of nesting", "more");
  }
  [[noreturn]] void foreign_tag(const YAML::Mark& mark, const std::string& tag) const {
    fail(mark, "a value without a tag", printable(tag));
  }

  void count(const YAML::Mark& mark) {
    if (++values_ > kMostValues) fail(mark, "at most " + std::to_string(kMostValues) + " values", "more");
  }

  bool wants_key() const { return !frames_.empty() && frames_.back().value.is_object() && frames_.back().want_key; }

  void take_key(const YAML::Mark& mark, const std::string& key) {
    Frame& frame = frames_.back();
    const std::string pointer = child_pointer(frame, key);
    if (frame.value.contains(key)) {
      std::string field = pointer.substr(1);
      for (char& c : field) c = c == '/' ? '.' : c;
      fail(mark, "each key once", "it twice, first at " + tree_.source.at(pointer), printable(field));
    }
    frame.value[key] = nullptr;
    frame.key = key;
    frame.want_key = false;
    tree_.source.places[pointer] = at(mark);
  }

  static std::string child_pointer(const Frame& frame, const std::string& key) {
    std::string escaped;
    for (const char c : key) escaped += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return frame.pointer + "/" + escaped;
  }
  /// Where the next value goes.
  std::string next_pointer() const {
    if (frames_.empty()) return "";
    const Frame& frame = frames_.back();
    return child_pointer(frame, frame.value.is_object() ? frame.key : std::to_string(frame.value.size()));
  }

  void attach(json value, YAML::anchor_t anchor) {
    if (anchor != 0) {
      if (anchor >= anchors_.size()) anchors_.resize(anchor + 1, json(json::value_t::discarded));
      anchors_[anchor] = value;
    }
    if (frames_.empty()) {
      tree_.json = std::move(value);
    } else if (frames_.back().value.is_object()) {
      frames_.back().value[frames_.back().key] = std::move(value);
      frames_.back().want_key = true;
    } else {
      frames_.back().value.push_back(std::move(value));
    }
  }

  void scalar(const YAML::Mark& mark, YAML::anchor_t anchor, json value, const std::string& text) {
    count(mark);
    if (wants_key()) {
      if (value.is_structured()) fail(mark, "a plain key", "a list or map as a key");
      if (anchor != 0) fail(mark, "a plain key", "an anchor on a key");
      take_key(mark, text);
      return;
    }
    if (!frames_.empty() && frames_.back().value.is_array()) tree_.source.places[next_pointer()] = at(mark);
    attach(std::move(value), anchor);
  }

  void start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, json empty) {
    count(mark);
    if (wants_key()) fail(mark, "a plain key", "a list or map as a key");
    if (!tag.empty() && tag != "?" && tag != "!") foreign_tag(mark, tag);
    if (frames_.size() >= kMostDepth) too_deep(mark);
    std::string pointer = next_pointer();
    if (!frames_.empty() && frames_.back().value.is_array()) tree_.source.places[pointer] = at(mark);
    frames_.push_back({std::move(empty), std::move(pointer), anchor, true, {}});
  }

  void end() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    attach(std::move(frame.value), frame.anchor);
  }

  std::string where_;
  YamlTree tree_;
  std::vector<Frame> frames_;
  std::vector<json> anchors_;
  std::size_t values_ = 0;
};

}  // namespace

json yaml_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const bool negative = text[0] == '-';
  std::string_view body = text;
  if (negative || body[0] == '+') body.remove_prefix(1);
  if (body == ".inf" || body == ".Inf" || body == ".INF") {
    const double inf = std::numeric_limits<double>::infinity();
    return negative ? -inf : inf;
  }
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return std::numeric_limits<double>::quiet_NaN();
  if (body.empty() || (body[0] != '.' && (body[0] < '0' || body[0] > '9'))) return text;

  int base = 10;
  std::string_view digits = body;
  if (body.size() > 2 && body[0] == '0' && (body[1] == 'x' || body[1] == 'o')) {
    if (body.size() != text.size()) return text;  // no sign before 0x, 0o in the core schema
    base = body[1] == 'x' ? 16 : 8;
    digits.remove_prefix(2);
  }
  std::uint64_t magnitude = 0;
  const char* const end = digits.data() + digits.size();
  if (const auto r = std::from_chars(digits.data(), end, magnitude, base); r.ptr == end && r.ec == std::errc{}) {
    constexpr std::uint64_t kMinMagnitude = std::uint64_t{1} << 63U;
    if (!negative) return magnitude;
    if (magnitude < kMinMagnitude) return -static_cast<std::int64_t>(magnitude);
    if (magnitude == kMinMagnitude) return std::numeric_limits<std::int64_t>::min();
  }
  if (base != 10) return text;
  double value = 0;
  const auto r = std::from_chars(digits.data(), end, value);
  if (r.ptr != end) return text;
  if (r.ec == std::errc::result_out_of_range) {
    // Too large or too small for a double: from_chars leaves `value` as it was.
    const bool tiny = body.find("e-") != std::string_view::npos || body.find("E-") != std::string_view::npos;
    value = tiny ? 0.0 : std::numeric_limits<double>::infinity();
  } else if (r.ec != std::errc{}) {
    return text;
  }
  return negative ? -value : value;
}

YamlTree parse_yaml(std::string_view text, const std::string& where) {
  if (text.size() > kMostBytes) {
    throw Error{{.where = where,
                 .field = {},
                 .wanted = "at most " + std::to_string(kMostBytes) + " bytes",
                 .found = std::to_string(text.size()),
                 .hint = {}}};
  }
  TreeBuilder builder(where);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    YamlTree tree = builder.take();
    TreeBuilder rest(where);
    if (parser.HandleNextDocument(rest)) {
      throw Error{{.where = where, .field = {}, .wanted = "one YAML document", .found = "several", .hint = {}}};
    }
    return tree;
  } catch (const YAML::Exception& e) {
    const bool placed = !e.mark.is_null();
    throw Error{{.where = placed
                              ? where + ":" + std::to_string(e.mark.line + 1) + ":" + std::to_string(e.mark.column + 1)
                              : where,
                 .field = {},
                 .wanted = "YAML",
                 .found = e.msg,
                 .hint = {}}};
  }
}

}  // namespace m3vit
