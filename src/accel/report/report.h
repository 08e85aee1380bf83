#pragma once
/// `m3vit accel report`: what expert order is worth on this accelerator, in cycles, bytes and energy, beside its rivals
/// and beside what others published.
#include <functional>
#include <string>
#include <vector>

#include "accel/report/energy.h"
#include "accel/report/frame_cost.h"
#include "accel/report/table.h"

namespace m3vit::accel {

/// 19.2 GB/s, of which accelerators on a ZCU102 reached 75 % (Manev, Vaishnav, Koch, FPT 2019).
inline constexpr double kDdrPeak = 19.2e9;
inline constexpr double kDdrEfficiency = 0.75;

struct ReportModel {
  std::string name;
  Config config;  ///< every tasks[].outputs set
};
struct ReportOptions {
  std::vector<ReportModel> models;
  Array array = kZcu104;
  double clock_hz = 250e6;
  double ddr_efficiency = kDdrEfficiency;
  EnergyModel energy = central_energy();
  std::string resources{};  ///< what scripts/rtl_resources.py printed; empty: left out
};

/// Stages that `progress` will be told of.
int report_stages(const ReportOptions& options);
/// Throws Error where a model does not fit the array.
Report make_report(const ReportOptions& options, const std::function<void()>& progress = {});

}  // namespace m3vit::accel
