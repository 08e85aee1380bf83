#include "runtime/weight_store.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <utility>

#include "core/error.h"

namespace m3vit {
namespace {

bool same_fields(const SectionLayout& a, const SectionLayout& b) {
  return a.precision == b.precision && a.bytes == b.bytes &&
         std::equal(a.fields.begin(), a.fields.end(), b.fields.begin(), b.fields.end(),
                    [](const Field& x, const Field& y) {
                      return x.name == y.name && x.offset == y.offset && x.bytes == y.bytes;
                    });
}

}  // namespace

WeightStore::WeightStore(const M3vFile& file, const MemoryLayout& layout, std::byte* arena,
                         std::shared_ptr<const ResidentWeights> resident, const SectionReaderFactory& make_reader)
    : file_(file), resident_(std::move(resident)), table_(file.config(), file.packing()) {
  mapped_ = file.source() != nullptr && resident_->in_place();
  for (SectionLayout& section : section_layouts(file.config(), file.packing(), file.where())) {
    assert(file.sections()[kinds_.size()].bytes.size() == section.bytes);
    const auto known = std::find_if(layouts_.rbegin(), layouts_.rend(),
                                    [&](const SectionLayout& other) { return same_fields(section, other); });
    if (known == layouts_.rend()) {
      kinds_.push_back(static_cast<std::uint32_t>(layouts_.size()));
      layouts_.push_back(std::move(section));
    } else {
      kinds_.push_back(static_cast<std::uint32_t>(layouts_.rend() - known - 1));
    }
  }

  group_of_.resize(table_.count);
  for (const WeightGroup& g : layout.groups) {
    for (const std::size_t s : g.sections) group_of_[s] = static_cast<std::uint32_t>(groups_.size());
    groups_.push_back({slots_.size(), g.slots});
    for (std::size_t i = 0; i < g.slots; ++i) {
      Slot slot;
      slot.at = arena + layout.frame.planner.offset(g.buffer) + i * g.slot_bytes;
      slots_.push_back(slot);
    }
  }
  const std::size_t no_group = groups_.size();
  groups_.emplace_back();
  for (const SectionTable::Block& b : table_.blocks) {
    expert_group_.push_back(no_group);
    for (const std::size_t s : b.expert) {
      if (s != SectionTable::kNone) expert_group_.back() = group_of_[s];
    }
  }

  order_.resize(file.config().tasks.size());
  for (const int t : file.tasks()) {
    const auto task = static_cast<std::size_t>(t);
    std::vector<Planned>& order = order_[task];
    for (const WeightGroup& g : layout.groups) {  // in order of use
      if (g.experts || g.slots == 0) continue;
      for (const std::size_t s : g.sections) {
        const bool anothers = [&] {  // another task's router or head
          if (g.sections.size() == 1) return false;
          if (table_.heads[task] == s) return false;
          return std::none_of(table_.blocks.begin(), table_.blocks.end(),
                              [&](const SectionTable::Block& b) { return !b.router.empty() && b.router[task] == s; });
        }();
        if (!anothers && layout.resident[s] == 0) order.push_back({g.first, g.last, s});
      }
    }
    std::stable_sort(order.begin(), order.end(), [](const Planned& a, const Planned& b) { return a.first < b.first; });
  }
  if (!slots_.empty()) {
    assert(file.source() != nullptr);
    reader_ = make_reader(*file.source(), slots_.size());
  }
}

void WeightStore::begin(int task, int step) {
  // Pages of a mapping that lie beyond the file's end would end the process.
  if (mapped_ && file_.source()->size() < file_.bytes()) {
    throw Error{{.where = file_.where(),
                 .wanted = std::to_string(file_.bytes()) + " bytes",
                 .found = std::to_string(file_.source()->size()),
                 .hint = "the file was cut short since it was opened"}};
  }
  for (Slot& slot : slots_) slot = {slot.at};  // whatever was there, its memory has had other uses since
  planned_ = &order_[static_cast<std::size_t>(task)];
  next_ = 0;
  from_ = step;
  queue_ = {};
  this->step(step);
}

void WeightStore::end() {
  for (Slot& slot : slots_) {
    if (slot.reading) reader_->wait(static_cast<std::size_t>(&slot - slots_.data()));
    slot.reading = false;
  }
}

void WeightStore::step(int step) {
  if (slots_.empty()) return;
  for (; next_ < planned_->size() && (*planned_)[next_].first <= step; ++next_) {
    const Planned& p = (*planned_)[next_];
    if (p.last < from_) continue;  // before the part of the frame that runs
    start(slots_[groups_[group_of_[p.section]].first_slot], p.section);
  }
}

void WeightStore::start(Slot& slot, std::size_t section) {
  assert(!slot.reading);
  const M3vSection& s = file_.sections()[section];
  slot.section = section;
  slot.reading = true;
  reader_->start(static_cast<std::size_t>(&slot - slots_.data()), {s.offset, s.bytes.size(), slot.at});
}

void WeightStore::finish(Slot& slot) {
  if (!slot.reading) return;
  slot.reading = false;
  const ReadResult result = reader_->wait(static_cast<std::size_t>(&slot - slots_.data()));
  const M3vSection& s = file_.sections()[slot.section];
  if (result.error != 0 || result.bytes != s.bytes.size()) file_.fail_read(s, result.bytes, result.error);
  bytes_read_ += s.bytes.size();
  file_.check(s, {slot.at, s.bytes.size()});
}

WeightStore::Slot* WeightStore::find(const Group& group, std::size_t section) {
  for (std::size_t i = group.first_slot; i < group.first_slot + group.count; ++i) {
    if (slots_[i].section == section) return &slots_[i];
  }
  return nullptr;
}

void WeightStore::expect_experts(std::size_t block, std::span<const std::int32_t> experts) {
  queue_ = experts;
  experts_ = table_.blocks[block].expert;
  slots_at_hand_ = groups_[expert_group_[block]];
  started_ = 0;
  let_go_ = 0;
  read_ahead();
}

void WeightStore::read_ahead() {
  for (; started_ < queue_.size(); ++started_) {
    const std::size_t section = expected(started_);
    if (resident(section)) continue;
    Slot* slot = find(slots_at_hand_, section);
    for (std::size_t i = 0; slot == nullptr && i < slots_at_hand_.count; ++i) {
      Slot& free = slots_[slots_at_hand_.first_slot + i];
      if (free.uses > 0) continue;
      start(free, section);
      slot = &free;
    }
    if (slot == nullptr) return;  // all are waiting for their turn
    ++slot->uses;
  }
}

void WeightStore::release_expert() {
  while (resident(expected(let_go_))) ++let_go_;
  --find(slots_at_hand_, expected(let_go_))->uses;
  ++let_go_;
  read_ahead();
}

WeightStore::Held WeightStore::hold(std::size_t section) {
  const SectionLayout* layout = &layouts_[kinds_[section]];
  if (const std::byte* at = resident_->at(section)) return {at, layout};
  Slot* slot = find(groups_[group_of_[section]], section);
  assert(slot != nullptr && "a section is announced by step or expect_experts before it is held");
  finish(*slot);
  return {slot->at, layout, slot->uses > 0 ? this : nullptr};
}

}  // namespace m3vit
