#include "accel/report/energy.h"

namespace m3vit::accel {

EnergyModel EnergyModel::with(Which which, double value) const {
  EnergyModel changed = *this;
  changed.constants[which].value = value;
  return changed;
}

EnergyModel central_energy() {
  EnergyModel m;
  m.constants[EnergyModel::kDdr] = {
      "DDR traffic",
      "pJ/byte",
      112,
      45,
      160,
      "14 pJ/bit: GDDR5 in O'Connor et al., MICRO 2017, and LPDDR4 in Ha, Stanford 2018, as collected in "
      "github.com/Dongyunkam/DRAM_info; unverified for DDR4. Low: the core of a DDR4 chip from its currents (IDD4R "
      "145, "
      "IDD3N 55 mA at 1.2 V, 8 bytes in 3.33 ns), no bus. High: 640 pJ per 32-bit word, the older 45 nm figure"};
  m.constants[EnergyModel::kChip] = {"memories on chip",
                                     "pJ/byte",
                                     1.5,
                                     0.5,
                                     3,
                                     "assumed for block RAM and UltraRAM of 16 nm; no source found, so unverified"};
  m.constants[EnergyModel::kMac] = {
      "int8 multiply-accumulate",
      "pJ",
      3,
      1.5,
      6,
      "so that MAC and memories on chip together are 4 pJ/MAC: the DPU on a KV260 (same 16 nm family) drew 0.98 W more "
      "than idle at the 12 V supply (Simfero, dAIEDGE 101120726, 2026), 2.1 pJ/MAC at its peak of 0.46 TMAC/s and 7.8 "
      "at "
      "the 0.125 TMAC/s that AMD gives for DenseBox; unverified for this array"};
  m.constants[EnergyModel::kStatic] = {
      "static power",
      "W",
      3.5,
      2,
      9,
      "processor, DDR background and leakage: 4.3 to 4.8 W of the KV260's module under DPU load (same source) less its "
      "0.98 W; high: the whole idle board at 9.15 W. No measurement of a ZCU104 found"};
  return m;
}

Energy frame_energy(const Timeline& frame, const EnergyModel& model, double clock_hz) {
  constexpr double kPico = 1e-12;
  return {static_cast<double>(frame.ddr_bytes()) * model[EnergyModel::kDdr] * kPico,
          static_cast<double>(frame.chip_bytes()) * model[EnergyModel::kChip] * kPico,
          frame.macs * model[EnergyModel::kMac] * kPico, frame.cycles / clock_hz * model[EnergyModel::kStatic]};
}

}  // namespace m3vit::accel
