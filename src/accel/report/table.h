#pragma once
/// What a report is made of: tables whose numbers say how they came about, and figures. Text, JSON and one HTML page.
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace m3vit::accel {

/// Counted from a compiled program, modelled (cost or energy model), or published by others.
enum class How : std::uint8_t { kWords, kCounted, kModelled, kPublished };
const char* how_name(How how);

struct Cell {
  std::string text;
  std::optional<double> value;
  How how = How::kWords;
};
Cell words(std::string text);
Cell number(double value, How how, int decimals = 0, const std::string& unit = "");

struct Column {
  std::string key, title;
};
struct Table {
  std::string id, title;
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
  std::vector<std::string> notes;
};

struct Line {
  std::string name;
  std::vector<double> x, y;  ///< NaN breaks a line
};
struct Figure {
  std::string id, title, x_label, y_label;
  bool log_y = false;
  std::vector<Line> lines;
};

struct Report {
  std::string title;
  std::vector<std::string> preface;
  std::vector<Table> tables;
  std::vector<Figure> figures;
};

/// Columns aligned, each number followed by the first letter of how it came about.
std::string report_text(const Report& report);
nlohmann::json report_json(const Report& report);
/// One page without scripts or other files; `svgs`: the figures drawn, in order.
std::string report_html(const Report& report, const std::vector<std::string>& svgs);

}  // namespace m3vit::accel
