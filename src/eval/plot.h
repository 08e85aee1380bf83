#pragma once
/// Line plots as SVG text: loss and metric curves of a run, benches. Non-goal: a plotting library.
#include <string>
#include <vector>

namespace m3vit {

struct Series {
  std::string name;
  std::vector<double> x, y;  ///< same length; NaN breaks the line
};
struct PlotOptions {
  std::string title, x_label, y_label;
  bool log_y = false;
  int width = 720, height = 420;
};
std::string plot_svg(const std::vector<Series>& series, const PlotOptions& options);

}  // namespace m3vit
