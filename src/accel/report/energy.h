#pragma once
/// Energy of a frame by a stated model (docs/accelerator.md §13): nothing here is measured on a board.
///     E = DDR bytes · e_ddr + bytes of memories on chip · e_chip + MACs · e_mac + static power · time
#include <array>
#include <string>

#include "accel/machine/timeline.h"

namespace m3vit::accel {

/// One constant with the range that its sources leave open.
struct EnergyConstant {
  std::string name, unit;
  double value, low, high;
  std::string source;
};

struct EnergyModel {
  enum Which : std::uint8_t { kDdr, kChip, kMac, kStatic, kConstants };
  std::array<EnergyConstant, kConstants> constants;

  double operator[](Which which) const { return constants[which].value; }
  /// With one constant replaced.
  EnergyModel with(Which which, double value) const;
};

/// Central values, ranges and where they come from.
EnergyModel central_energy();

struct Energy {  ///< joules
  double ddr = 0, chip = 0, mac = 0, rest = 0;
  double total() const { return ddr + chip + mac + rest; }
};
Energy frame_energy(const Timeline& frame, const EnergyModel& model, double clock_hz);

}  // namespace m3vit::accel
