#pragma once
/// Decides, for a budget, which sections stay in memory and which are read from the file as a frame comes to them, and
/// lays the buffers for the latter into the arena beside the activations. A frame's clock is FramePlan's steps.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/frame_plan.h"
#include "runtime/layout.h"
#include "runtime/section_table.h"

namespace m3vit {

/// Sections that take turns in one place: one dense section, a router or head of whichever task runs, or the experts of
/// a layer.
struct WeightGroup {
  std::string name;                   ///< "blocks.1.attn", "blocks.1.experts", "head" …
  std::vector<std::size_t> sections;  ///< as SectionTable counts
  int use = 0, last = 0;              ///< steps of a frame that need it
  bool experts = false;               ///< which of them are needed is known at step `use`, not before

  // Planned:
  int first = 0;          ///< step at whose beginning its memory is free and reading may begin; 0 … use
  std::size_t slots = 0;  ///< buffers: one, or several experts; 0: all of its sections are resident
  std::size_t slot_bytes = 0;
  std::size_t buffer = FramePlan::kNone;  ///< planner's id of all slots
};

struct MemoryLayout {
  explicit MemoryLayout(FramePlan plan) : frame(std::move(plan)) {}

  FramePlan frame;
  std::vector<WeightGroup> groups;  ///< in order of use
  std::vector<char> resident;       ///< by section
  std::size_t resident_bytes = 0;
  std::size_t streamed_bytes = 0;  ///< of the sections that are not resident
  std::size_t stream_buffers = 0;  ///< the most of the arena that these buffers take at one step
  std::size_t smallest = 0;        ///< the smallest budget that works
  std::size_t total() const { return frame.planner.arena_bytes() + resident_bytes; }
};

/// What the planner asks of a model's sections.
struct WeightSections {
  SectionTable table;
  std::vector<std::size_t> bytes;  ///< by section
  std::string where;               ///< for errors
};

/// Bytes that a resident section takes.
std::size_t resident_size(std::size_t section_bytes);

struct PlanOptions {
  int threads = 1;
  bool share_prefix = false;
  HeadForm head_form = HeadForm::kAuto;
  std::size_t budget = 0;
  int batch = 1;  ///< frames that go through the network together, at most
};
/// For a model without its weights: the whole frame, in the widest way that fits. Throws as plan_memory.
MemoryLayout plan_model(const Config& config, const Packing& packing, const PlanOptions& options,
                        const std::string& where);

/// `frames`: the ways to run the same frame, the fastest first, not yet finished; the first whose smallest plan fits is
/// taken. `budget` in bytes, for arena and resident weights together; 0: no limit, everything is resident. Throws Error
/// naming the smallest budget that works.
MemoryLayout plan_memory(const std::vector<FramePlan>& frames, const WeightSections& weights, std::size_t budget);

}  // namespace m3vit
