#pragma once
/// How far this process's resident memory has risen.
#include <cstddef>

namespace m3vit::cli {

/// Measures the peak from its making on (VmHWM, which it sets back; man 5 proc).
class PeakMemory {
 public:
  PeakMemory();
  /// Bytes above what was resident then; 0 where the system does not say.
  std::size_t bytes() const;

 private:
  std::size_t before_ = 0;
};

}  // namespace m3vit::cli
