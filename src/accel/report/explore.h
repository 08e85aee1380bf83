#pragma once
/// `m3vit accel explore`: arrays of other sizes by the cost model, and which of them nothing beats in cycles, DSPs,
/// memories and energy at once.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "accel/report/energy.h"
#include "accel/report/frame_cost.h"
#include "accel/report/table.h"

namespace m3vit::accel {

struct ExplorePoint {
  Array array;
  int slots = 0;  ///< most expert tiles on chip; 0: as many as there is room for
  double clock_hz = 250e6;
};
struct ExploreResult {
  ExplorePoint point;
  FrameCost frame;
  DeviceShare device;
  Energy energy;
  bool fits = false;    ///< 85 % of an XCZU7EV
  bool pareto = false;  ///< none that fits is better in one thing and as good in the rest; of equals the first
  std::string refused;  ///< the compiler's reason; then there is no frame
};

struct ExploreOptions {
  Config config;
  double bytes_per_second;
  EnergyModel energy = central_energy();
  std::vector<int> widths{8, 16, 32};
  std::vector<int> weight_kib{128, 256, 512, 1024};  ///< of all lanes
  std::vector<int> act_kib{256, 512, 1024, 2048};    ///< of each, activations and residual
  std::vector<int> slots{2, 0};
  std::vector<double> clocks{250e6, 300e6};
};

std::vector<ExplorePoint> explore_points(const ExploreOptions& options);
/// All points in order; `progress` is told of each.
std::vector<ExploreResult> explore(const ExploreOptions& options, const std::function<void()>& progress = {});

/// The front by cycles, and a figure of all that fit.
Report explore_report(const std::string& title, const std::vector<ExploreResult>& results);

}  // namespace m3vit::accel
