#include "model/pickle.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"

namespace m3vit {

namespace {

constexpr std::size_t kMaxNodes = std::size_t{1} << 22U;  // a state dict has a few thousand
constexpr std::pair<std::string_view, Dtype> kStorageTypes[] = {
    {"torch FloatStorage", Dtype::kF32},  {"torch HalfStorage", Dtype::kF16}, {"torch BFloat16Storage", Dtype::kBF16},
    {"torch DoubleStorage", Dtype::kF64}, {"torch LongStorage", Dtype::kI64}, {"torch IntStorage", Dtype::kI32},
    {"torch ShortStorage", Dtype::kI16},  {"torch CharStorage", Dtype::kI8},  {"torch ByteStorage", Dtype::kU8},
    {"torch BoolStorage", Dtype::kBool},
};

}  // namespace

/// The stack machine of pickle; every read is bounds-checked, every stack access too.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  Pickle run() {
    for (;;) {
      opcode_at_ = at_;
      const auto opcode = read<std::uint8_t>();
      if (opcode == '.') {
        p_.root_ = pop();
        p_.consumed_ = at_;
        return std::move(p_);
      }
      step(opcode);
    }
  }

 private:
  using Id = Pickle::Id;
  using Kind = Pickle::Kind;
  using Node = Pickle::Node;

  [[noreturn]] void fail(std::string wanted, std::string found = {}) const {
    throw Error{{.where = where_,
                 .field = fmt::format("pickle, byte {}", opcode_at_),
                 .wanted = std::move(wanted),
                 .found = std::move(found)}};
  }

  template <class T>
  T read() {
    T value{};
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> take(std::uint64_t n) {
    if (n > bytes_.size() - at_) fail("data up to a STOP opcode", "end of data");
    const auto result = bytes_.subspan(at_, static_cast<std::size_t>(n));
    at_ += static_cast<std::size_t>(n);
    return result;
  }
  std::string text(std::uint64_t n) {
    const auto b = take(n);
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  std::string line() {
    std::string result;
    for (char c = read<char>(); c != '\n'; c = read<char>()) result += c;
    return result;
  }

  Id make(Node node) {
    if (p_.nodes_.size() >= kMaxNodes) fail(fmt::format("at most {} objects", kMaxNodes));
    p_.nodes_.push_back(std::move(node));
    return static_cast<Id>(p_.nodes_.size() - 1);
  }
  void push(Node node) { stack_.push_back(make(std::move(node))); }
  void push_int(std::int64_t v) { push({.kind = Kind::kInt, .integer = v}); }
  Node& at(Id id) { return p_.nodes_[id]; }

  /// Memoised containers can be copied into others again and again; this bounds the sum.
  void spend(std::size_t items) {
    spent_ += items;
    if (spent_ > 4 * kMaxNodes) fail(fmt::format("at most {} items in containers", 4 * kMaxNodes));
  }

  /// Values above the innermost mark are the only ones an opcode may take.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Id top() const {
    if (stack_.size() <= floor()) fail("a value on the stack", "none");
    return stack_.back();
  }
  Id pop() {
    const Id id = top();
    stack_.pop_back();
    return id;
  }
  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) fail("a mark on the stack", "none");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_tuple(std::size_t n) {
    std::vector<Id> items(n);
    for (std::size_t i = n; i-- > 0;) items[i] = pop();
    push({.kind = Kind::kTuple, .items = std::move(items)});
  }
  void extend(Id container, const std::vector<Id>& items, Kind kind) {
    Node& n = at(container);
    if (n.kind == Kind::kOpaque) return;  // filling an object of an unknown class
    if (n.kind != kind) fail(kind == Kind::kDict ? "a dict to fill" : "a list to fill");
    if (kind == Kind::kDict && items.size() % 2 != 0) fail("keys with values");
    spend(items.size());
    n.items.insert(n.items.end(), items.begin(), items.end());
  }
  void memoise(std::uint64_t key) {
    if (key > kMaxNodes) fail("a small memo key", std::to_string(key));
    if (memo_.size() <= key) memo_.resize(static_cast<std::size_t>(key) + 1);
    memo_[static_cast<std::size_t>(key)] = top();
  }
  void recall(std::uint64_t key) {
    if (key >= memo_.size() || !memo_[static_cast<std::size_t>(key)]) fail("a memo entry", "none of that key");
    stack_.push_back(*memo_[static_cast<std::size_t>(key)]);
  }

  std::vector<std::int64_t> integers(Id id) {
    const Node& n = at(id);
    std::vector<std::int64_t> result;
    if (n.kind != Kind::kTuple && n.kind != Kind::kList) fail("a tuple of sizes");
    for (const Id i : n.items) {
      if (at(i).kind != Kind::kInt || at(i).integer < 0) fail("sizes ≥ 0");
      result.push_back(at(i).integer);
    }
    return result;
  }

  void push_long(std::uint64_t n) {
    const auto b = take(n);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < b.size() && i < 8; ++i) value |= std::to_integer<std::uint64_t>(b[i]) << (8 * i);
    if (!b.empty() && b.size() < 8 && (std::to_integer<int>(b.back()) & 0x80) != 0) value |= ~0ULL << (8 * b.size());
    // Longer integers (the legacy magic number) are compared by the caller on bytes, never used as a value.
    push_int(static_cast<std::int64_t>(value));
  }

  void push_storage(Id id) {
    const Node& tuple = at(id);
    const auto& i = tuple.items;
    if (tuple.kind != Kind::kTuple || i.size() < 5 || at(i[0]).text != "storage" || at(i[2]).kind != Kind::kString ||
        at(i[4]).kind != Kind::kInt || at(i[4]).integer < 0) {
      fail("a reference ('storage', type, key, location, numel)");
    }
    if (i.size() > 5 && at(i[5]).kind != Kind::kNone) fail("a storage that is no view of another one");
    for (const auto& [name, dtype] : kStorageTypes) {
      if (at(i[1]).text != name) continue;
      p_.storages_.push_back({.key = at(i[2]).text, .dtype = dtype, .numel = at(i[4]).integer});
      push({.kind = Kind::kStorage, .detail = static_cast<std::uint32_t>(p_.storages_.size() - 1)});
      return;
    }
    fail("a storage type of float, half, bfloat16, double, int or bool", at(i[1]).text);
  }

  void push_tensor(const std::vector<Id>& args) {
    if (args.size() < 4 || at(args[0]).kind != Kind::kStorage || at(args[1]).kind != Kind::kInt ||
        at(args[1]).integer < 0) {
      fail("tensor arguments (storage, offset, size, stride, …)");
    }
    const PickledStorage& s = p_.storages_[at(args[0]).detail];
    PickledTensor t{.storage = s.key,
                    .dtype = s.dtype,
                    .storage_numel = s.numel,
                    .offset = at(args[1]).integer,
                    .shape = integers(args[2]),
                    .strides = integers(args[3])};
    if (t.shape.size() != t.strides.size() || t.shape.size() > 8) fail("as many strides as sizes, at most 8");
    p_.tensors_.push_back(std::move(t));
    push({.kind = Kind::kTensor, .detail = static_cast<std::uint32_t>(p_.tensors_.size() - 1)});
  }

  void reduce() {
    const std::vector<Id> args = at(top()).items;
    spend(args.size());
    if (at(pop()).kind != Kind::kTuple) fail("a tuple of arguments");
    const std::string callable = at(pop()).text;
    if (callable == "collections OrderedDict") {
      push({.kind = Kind::kDict});
      if (args.empty()) return;
      for (const Id pair : at(args[0]).items) extend(top(), at(pair).items, Kind::kDict);
    } else if (callable == "torch._utils _rebuild_tensor_v2" || callable == "torch._utils _rebuild_tensor") {
      push_tensor(args);
    } else if (!args.empty() && (callable.starts_with("torch._utils _rebuild_parameter") ||
                                 callable.starts_with("torch.jit._pickle ") || callable == "torch Size")) {
      stack_.push_back(args[0]);  // a parameter's data, a typed container's content
    } else {
      push({.kind = Kind::kOpaque});
    }
  }

  // clang-format off
  void step(std::uint8_t opcode) {
    switch (opcode) {
      case 0x80: take(1); return;                                // PROTO
      case 0x95: take(8); return;                                // FRAME
      case '(': marks_.push_back(stack_.size()); return;         // MARK
      case '0': pop(); return;                                   // POP
      case '1': pop_to_mark(); return;                           // POP_MARK
      case '2': stack_.push_back(top()); return;                 // DUP
      case 'N': push({}); return;                                // NONE
      case 0x88: push_int(1); return;                            // NEWTRUE
      case 0x89: push_int(0); return;                            // NEWFALSE
      case 'J': push_int(read<std::int32_t>()); return;          // BININT
      case 'K': push_int(read<std::uint8_t>()); return;          // BININT1
      case 'M': push_int(read<std::uint16_t>()); return;         // BININT2
      case 0x8a: push_long(read<std::uint8_t>()); return;        // LONG1
      case 0x8b: push_long(read<std::uint32_t>()); return;       // LONG4
      case 'G': take(8); push({.kind = Kind::kFloat}); return;   // BINFLOAT
      case 'X': case 'T': case 'B': push_text(read<std::uint32_t>()); return;  // BINUNICODE, BINSTRING, BINBYTES
      case 0x8c: case 'U': case 'C': push_text(read<std::uint8_t>()); return;  // their SHORT_ forms
      case 0x8d: case 0x8e: push_text(read<std::uint64_t>()); return;          // BINUNICODE8, BINBYTES8
      case ')': push({.kind = Kind::kTuple}); return;            // EMPTY_TUPLE
      case 't': push_marked(Kind::kTuple); return;               // TUPLE
      case 0x85: push_tuple(1); return;                          // TUPLE1
      case 0x86: push_tuple(2); return;                          // TUPLE2
      case 0x87: push_tuple(3); return;                          // TUPLE3
      case ']': case 0x8f: push({.kind = Kind::kList}); return;  // EMPTY_LIST, EMPTY_SET
      case 'l': case 0x91: push_marked(Kind::kList); return;     // LIST, FROZENSET
      case '}': push({.kind = Kind::kDict}); return;             // EMPTY_DICT
      case 'a': extend_by(1, Kind::kList); return;               // APPEND
      case 'e': case 0x90: extend_marked(Kind::kList); return;   // APPENDS, ADDITEMS
      case 's': extend_by(2, Kind::kDict); return;               // SETITEM
      case 'u': extend_marked(Kind::kDict); return;              // SETITEMS
      case 'c': push_global(); return;                           // GLOBAL
      case 0x93: push_stack_global(); return;                    // STACK_GLOBAL
      case 'R': reduce(); return;                                // REDUCE
      case 0x81: pop_opaque(2); return;                          // NEWOBJ
      case 0x92: pop_opaque(3); return;                          // NEWOBJ_EX
      case 'b': pop(); top(); return;                            // BUILD: attributes are not used
      case 'Q': push_storage(pop()); return;                     // BINPERSID
      case 'q': memoise(read<std::uint8_t>()); return;           // BINPUT
      case 'r': memoise(read<std::uint32_t>()); return;          // LONG_BINPUT
      case 0x94: memoise(memo_.size()); return;                  // MEMOIZE
      case 'h': recall(read<std::uint8_t>()); return;            // BINGET
      case 'j': recall(read<std::uint32_t>()); return;           // LONG_BINGET
      default: fail("an opcode of pickle protocol 2–4", fmt::format("0x{:02x}", opcode));
    }
  }
  // clang-format on

  void push_marked(Kind kind) {
    std::vector<Id> items = pop_to_mark();
    push({.kind = kind, .items = std::move(items)});
  }
  void extend_marked(Kind kind) {
    const std::vector<Id> items = pop_to_mark();
    extend(top(), items, kind);
  }
  void extend_by(std::size_t n, Kind kind) {
    std::vector<Id> items(n);
    for (std::size_t i = n; i-- > 0;) items[i] = pop();
    extend(top(), items, kind);
  }
  void push_global() {
    const std::string module = line();
    push({.kind = Kind::kGlobal, .text = module + " " + line()});
  }
  void push_stack_global() {
    const Id name = pop(), module = pop();
    push({.kind = Kind::kGlobal, .text = at(module).text + " " + at(name).text});
  }
  void pop_opaque(int n) {
    for (int i = 0; i < n; ++i) pop();
    push({.kind = Kind::kOpaque});
  }
  void push_text(std::uint64_t n) { push({.kind = Kind::kString, .text = text(n)}); }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::size_t at_ = 0, opcode_at_ = 0, spent_ = 0;
  Pickle p_;
  std::vector<Id> stack_;
  std::vector<std::size_t> marks_;
  std::vector<std::optional<Id>> memo_;
};

Pickle Pickle::parse(std::span<const std::byte> bytes, const std::string& where) {
  return PickleMachine(bytes, where).run();
}

const Pickle::Node* Pickle::find(const Node& dict, std::string_view key) const {
  if (dict.kind != Kind::kDict) return nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Node& k = nodes_[dict.items[i]];
    if (k.kind == Kind::kString && k.text == key) return &nodes_[dict.items[i + 1]];
  }
  return nullptr;
}

}  // namespace m3vit
