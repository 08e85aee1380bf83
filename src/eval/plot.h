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
  bool log_y = false;  ///< values ≤ 0 break the line
  int width = 720, height = 420;
};
/// A whole SVG document, deterministic. Long series are thinned to the extremes of each pixel column. Throws Error when
/// a series' x and y differ in length.
std::string plot_svg(const std::vector<Series>& series, const PlotOptions& options);

}  // namespace m3vit
