#include "runtime/memory_plan.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "core/error.h"
#include "runtime/read_file.h"

namespace m3vit {
namespace {

using Group = WeightGroup;

std::vector<Group> groups_of(const SectionTable& table, const FramePlan& frame) {
  std::vector<Group> groups;
  const auto add = [&](std::string name, const std::vector<std::size_t>& sections, int use, int last, bool experts) {
    Group g{.name = std::move(name), .sections = {}, .use = use, .last = last, .experts = experts, .first = use};
    for (const std::size_t s : sections) {
      if (s != SectionTable::kNone) g.sections.push_back(s);
    }
    groups.push_back(std::move(g));
  };
  add("embed", {table.embed}, FramePlan::kEmbedStep, FramePlan::kEmbedStep, false);
  for (std::size_t i = 0; i < table.blocks.size(); ++i) {
    const SectionTable::Block& b = table.blocks[i];
    const std::string name = "blocks." + std::to_string(i) + ".";
    const auto step = [i](FramePlan::BlockStep part) { return FramePlan::block_step(i, part); };
    add(name + "attn", {b.attn}, step(FramePlan::kQkv), step(FramePlan::kProj), false);
    if (b.expert.empty()) {
      add(name + "mlp", {b.mlp}, step(FramePlan::kMlp), step(FramePlan::kMlp), false);
      continue;
    }
    add(name + "norm2", {b.mlp}, step(FramePlan::kNorm2), step(FramePlan::kNorm2), false);
    add(name + "router", b.router, step(FramePlan::kNorm2), step(FramePlan::kNorm2), false);
    add(name + "experts", b.expert, step(FramePlan::kMlp), step(FramePlan::kMlp), true);
  }
  add("head", table.heads, FramePlan::head_step(table.blocks.size()), frame.last_step(), false);
  return groups;
}

/// One choice of residents, leads and slots on its way to a plan.
class Draft {
 public:
  Draft(const FramePlan& frame, const WeightSections& weights)
      : frame_(frame), weights_(weights), groups_(groups_of(weights.table, frame)), resident_(weights.bytes.size(), 0) {
    for (Group& g : groups_) g.slots = 1;
  }

  MemoryLayout layout() const {
    MemoryLayout out(frame_);
    out.groups = groups_;
    out.resident = resident_;
    for (std::size_t s = 0; s < resident_.size(); ++s) {
      (resident_[s] != 0 ? out.resident_bytes : out.streamed_bytes) +=
          resident_[s] != 0 ? resident_size(weights_.bytes[s]) : weights_.bytes[s];
    }
    for (Group& g : out.groups) {
      std::size_t streamed = 0;
      for (const std::size_t s : g.sections) {
        if (resident_[s] != 0) continue;
        ++streamed;
        g.slot_bytes = std::max(g.slot_bytes, ReadFile::round(weights_.bytes[s]));
      }
      g.slots = g.experts ? std::min(g.slots, streamed) : std::min<std::size_t>(streamed, 1);
      if (g.slots == 0) continue;
      g.buffer = out.frame.planner.add("weights: " + g.name, g.slots * g.slot_bytes, g.first, g.last, ReadFile::kBlock);
    }
    out.frame.planner.finish();
    for (const Group& at : out.groups) {
      std::size_t alive = 0;
      for (const Group& g : out.groups) {
        if (g.slots > 0 && g.first <= at.first && at.first <= g.last) alive += g.slots * g.slot_bytes;
      }
      out.stream_buffers = std::max(out.stream_buffers, alive);
    }
    return out;
  }
  std::size_t total() const { return layout().total(); }

  void keep_all() { std::fill(resident_.begin(), resident_.end(), 1); }

  /// Makes changes as long as the budget holds, best first.
  void improve(std::size_t budget) {
    budget_ = budget;
    keep_small();
    prefetch();
    keep_first();
    keep_experts();
    for (const Group& g : groups_) {
      if (!g.experts && !g.sections.empty() && g.sections.size() == 1) keep({g.sections[0]});
    }
    for (const Group& g : groups_) {  // of several tasks, only one a frame
      if (g.experts || g.sections.size() < 2) continue;
      for (const std::size_t s : g.sections) keep({s});
    }
    more_slots(std::numeric_limits<std::size_t>::max());
  }

 private:
  bool attempt(const std::function<void()>& change) {
    const std::vector<Group> groups = groups_;
    const std::vector<char> resident = resident_;
    change();
    if (total() <= budget_) return true;
    groups_ = groups;
    resident_ = resident;
    return false;
  }
  bool keep(const std::vector<std::size_t>& sections) {
    return attempt([&] {
      for (const std::size_t s : sections) resident_[s] = 1;
    });
  }

  // Sections of some kilobytes cost a drive's whole answering time and nearly no memory.
  void keep_small() {
    constexpr std::size_t kSmall = std::size_t{64} << 10U;
    std::vector<std::size_t> small;
    for (const Group& g : groups_) {
      for (const std::size_t s : g.sections) {
        if (!g.experts && weights_.bytes[s] <= kSmall) small.push_back(s);
      }
    }
    if (keep(small)) return;
    for (const std::size_t s : small) keep({s});
  }

  // A step of prefetch and a second expert hide most of the reading; a block's length hides the dense sections' whole.
  void prefetch() {
    more_slots(2);
    for (const int lead : {1, 2, FramePlan::kStepsPerBlock}) {
      const auto earlier = [lead](Group& g) { g.first = std::min(g.first, std::max(g.use - lead, 0)); };
      const bool all = attempt([&] {
        for (Group& g : groups_) {
          if (!g.experts) earlier(g);
        }
      });
      for (Group& g : groups_) {
        if (!all && !g.experts) attempt([&] { earlier(g); });
      }
    }
    more_slots(4);
  }
  void more_slots(std::size_t slots) {
    const auto grow = [slots](Group& g) { g.slots = std::max(g.slots, std::min(slots, g.sections.size())); };
    const bool all = attempt([&] {
      for (Group& g : groups_) {
        if (g.experts) grow(g);
      }
    });
    if (all) return;
    for (Group& g : groups_) {
      if (g.experts) attempt([&] { grow(g); });
    }
  }

  // Nothing runs before them that could hide their reading.
  void keep_first() {
    for (const Group& g : groups_) {
      if (g.use > FramePlan::block_step(0, FramePlan::kMlp)) break;
      if (!g.experts && g.sections.size() == 1) keep({g.sections[0]});
    }
  }

  // A layer's experts load slower than they compute, so each one kept is time saved: evenly over the layers.
  void keep_experts() {
    std::vector<std::size_t> order;
    for (std::size_t e = 0, more = 1; more != 0; ++e) {
      more = 0;
      for (const Group& g : groups_) {
        if (!g.experts || e >= g.sections.size()) continue;
        order.push_back(g.sections[e]);
        more = 1;
      }
    }
    std::size_t low = 0;
    std::size_t high = order.size();
    while (low < high) {  // the most of them that fit
      const std::size_t middle = low + (high - low + 1) / 2;
      const std::vector<char> before = resident_;
      for (std::size_t i = 0; i < middle; ++i) resident_[order[i]] = 1;
      const bool fits = total() <= budget_;
      resident_ = before;
      if (fits) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    for (std::size_t i = 0; i < low; ++i) resident_[order[i]] = 1;
  }

  const FramePlan& frame_;
  const WeightSections& weights_;
  std::vector<Group> groups_;
  std::vector<char> resident_;
  std::size_t budget_ = 0;
};

}  // namespace

std::size_t resident_size(std::size_t section_bytes) { return ReadFile::round(section_bytes); }

MemoryLayout plan_model(const Config& config, const Packing& packing, const PlanOptions& options,
                        const std::string& where) {
  std::vector<FramePlan> frames;
  for (const int lines : {0, 1}) {  // the head's: by work, then the fewest
    frames.emplace_back(config, packing, options.threads, options.share_prefix,
                        HeadOptions{.form = options.head_form, .lines = lines}, options.batch);
  }
  WeightSections weights{SectionTable(config, packing), {}, where};
  for (const SectionLayout& s : section_layouts(config, packing, where)) weights.bytes.push_back(s.bytes);
  return plan_memory(frames, weights, options.budget);
}

MemoryLayout plan_memory(const std::vector<FramePlan>& frames, const WeightSections& weights, std::size_t budget) {
  assert(!frames.empty() && weights.bytes.size() == weights.table.count);
  std::size_t smallest = std::numeric_limits<std::size_t>::max();
  for (const FramePlan& frame : frames) smallest = std::min(smallest, Draft(frame, weights).total());
  if (budget != 0 && budget < smallest) {
    throw Error{{.where = weights.where,
                 .field = "memory budget",
                 .wanted = "at least " + std::to_string(smallest) + " bytes",
                 .found = std::to_string(budget),
                 .hint = "it holds the activations and the largest part of the weights in use at one time"}};
  }
  for (const FramePlan& frame : frames) {
    Draft draft(frame, weights);
    if (budget != 0 && draft.total() > budget) continue;
    Draft whole = draft;
    whole.keep_all();
    MemoryLayout layout = whole.layout();
    if (budget != 0 && layout.total() > budget) {
      draft.improve(budget);
      layout = draft.layout();
    }
    layout.smallest = smallest;
    assert(budget == 0 || layout.total() <= budget);
    return layout;
  }
  std::abort();  // one of them is the smallest
}

}  // namespace m3vit
