#pragma once
/// `rooms`: generated indoor scenes, ray-cast, with exact labels for all six tasks. Same (seed, index, size) → same
/// bytes. Classes, scene grammar and sensor model: docs/rooms.md.
#include <cstdint>

#include "data/dataset.h"

namespace m3vit {

struct RoomsOptions {
  int height = 128, width = 160;
  std::int64_t frames = 1000;
  std::uint64_t seed = 1;
};

class Rooms final : public Dataset {
 public:
  explicit Rooms(const RoomsOptions& options);
  const DatasetInfo& info() const override;
  std::int64_t size() const override { return options_.frames; }
  bool infinite() const override { return true; }
  Sample get(std::int64_t index) const override;

 private:
  RoomsOptions options_;
};

}  // namespace m3vit
