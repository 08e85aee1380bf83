#pragma once
/// A session's weights, section by section: the engine holds one while it computes with it and lets go of it after.
/// Resident sections are pointers. The others are read from the file in the order in which a frame uses them, into the
/// buffers that the memory plan gave them, as early as these are free: the dense sections' order is known, and a
/// layer's experts follow as soon as they are routed. Every read is compared with the section's checksum.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/layout.h"
#include "runtime/m3v.h"
#include "runtime/memory_plan.h"
#include "runtime/resident_weights.h"
#include "runtime/section_reader.h"

namespace m3vit {

class WeightStore {
 public:
  /// A section in use: its bytes are at `base` for as long as this lives.
  class Held {
   public:
    Held(const std::byte* base, const SectionLayout* layout, WeightStore* streaming = nullptr)
        : base_(base), layout_(layout), streaming_(streaming) {}
    ~Held() {
      if (streaming_ != nullptr) streaming_->release_expert();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    const std::byte* base() const { return base_; }
    const SectionLayout& layout() const { return *layout_; }
    template <class T>
    const T* at(std::string_view field) const {
      return reinterpret_cast<const T*>(base_ + layout_->field(field).offset);
    }
    const float* operator[](std::string_view field) const { return at<float>(field); }

   private:
    const std::byte* base_;
    const SectionLayout* layout_;
    WeightStore* streaming_;  ///< of a streamed expert: its buffer is wanted back
  };

  /// One task's frame, or what is left of it from `step` on. Its end leaves no read in flight, however it comes.
  class Frame {
   public:
    Frame(WeightStore& store, int task, int step = FramePlan::kInputStep) : store_(store) { store_.begin(task, step); }
    ~Frame() { store_.end(); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    WeightStore& store_;
  };

  /// `layout.frame`'s arena begins at `arena`. `make_reader` may be empty when nothing is streamed. All but the
  /// factory must outlive the store.
  WeightStore(const M3vFile& file, const MemoryLayout& layout, std::byte* arena,
              std::shared_ptr<const ResidentWeights> resident, const SectionReaderFactory& make_reader);
  ~WeightStore() { end(); }
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  /// The frame has come to `step` (FramePlan): reading may reach as far as the plan has buffers for.
  void step(int step);
  /// Before the first of them is held, at the layer's step: experts (by number) in the order in which they will be
  /// held, repeats allowed. The span must live until the last is let go.
  void expect_experts(std::size_t block, std::span<const std::int32_t> experts);
  /// Whether expect_experts must be called for the block, and its experts held one at a time by one thread.
  bool streams_experts(std::size_t block) const { return groups_[expert_group_[block]].count > 0; }

  /// `section` counts as SectionTable. Allocates nothing. Throws Error when it cannot be read or is not what its
  /// checksum says.
  Held hold(std::size_t section);

  /// Bytes of the sections read since construction.
  std::uint64_t bytes_read() const { return bytes_read_; }
  /// "" when nothing is streamed.
  std::string_view reader() const { return reader_ == nullptr ? std::string_view{} : reader_->name(); }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Slot {  ///< its index is its reader's ticket
    std::byte* at = nullptr;
    std::size_t section = kNone;
    std::size_t uses = 0;  ///< experts: expected and not yet let go
    bool reading = false;
  };
  struct Group {
    std::size_t first_slot = 0, count = 0;
  };
  struct Planned {  ///< a dense section that will be read in a frame of some task
    int first = 0, last = 0;
    std::size_t section = 0;
  };

  void begin(int task, int step);
  void end();
  void start(Slot& slot, std::size_t section);
  void finish(Slot& slot);
  void read_ahead();
  void release_expert();
  std::size_t expected(std::size_t position) const { return experts_[static_cast<std::size_t>(queue_[position])]; }
  bool resident(std::size_t section) const { return resident_->at(section) != nullptr; }
  Slot* find(const Group& group, std::size_t section);

  const M3vFile& file_;
  std::shared_ptr<const ResidentWeights> resident_;
  SectionTable table_;
  std::vector<SectionLayout> layouts_;     ///< distinct ones: the experts of a model share one
  std::vector<std::uint32_t> kinds_;       ///< by section: index into layouts_
  std::vector<std::uint32_t> group_of_;    ///< by section
  std::vector<Group> groups_;              ///< as the memory layout's
  std::vector<std::size_t> expert_group_;  ///< by block; of a dense block an empty group
  std::vector<Slot> slots_;
  std::vector<std::vector<Planned>> order_;  ///< by task of the configuration, in the order of reading
  std::unique_ptr<SectionReader> reader_;
  std::uint64_t bytes_read_ = 0;
  bool mapped_ = false;

  // The frame at hand:
  const std::vector<Planned>* planned_ = nullptr;
  std::size_t next_ = 0;  ///< in planned_: not yet started
  int from_ = 0;          ///< step it began at
  // The layer at hand:
  std::span<const std::int32_t> queue_;
  std::span<const std::size_t> experts_;  ///< sections by expert
  Group slots_at_hand_;
  std::size_t started_ = 0, let_go_ = 0;  ///< positions in queue_
};

}  // namespace m3vit
