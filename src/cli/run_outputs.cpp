#include "cli/run_outputs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/image_io.h"
#include "eval/contact_sheet.h"
#include "runtime/resample.h"

namespace m3vit::cli {
namespace {

// Class scores at the picture's size are made in stripes of so many values: a photograph has millions of pixels, times
// classes.
constexpr std::int64_t kStripeValues = std::int64_t{1} << 24;

template <class T>
void append(Image<T>& whole, const Image<T>& lines) {
  if (lines.empty()) return;
  if (whole.empty()) {
    whole = lines;
    return;
  }
  whole.data.insert(whole.data.end(), lines.data.begin(), lines.data.end());
  whole.height += lines.height;
}

/// Calls use(lines, rows) for the raw values resized to [channels, rows, width], from the top.
template <class F>
void by_stripes(const RawOutput& raw, int height, int width, const F& use) {
  // Colours of a class map do not depend on other lines, those of a depth map do (its range): one stripe.
  const bool stripes = task_spec(raw.task).label == LabelKind::kClassIndex;
  const std::int64_t line_values = std::int64_t{raw.channels} * width;
  const int step =
      stripes ? static_cast<int>(std::clamp<std::int64_t>(kStripeValues / line_values, 1, height)) : height;
  for (int begin = 0; begin < height; begin += step) {
    const int end = std::min(begin + step, height);
    use(resize_plane_lines(raw.values, raw.channels, raw.height, raw.width, height, width, begin, end), end - begin);
  }
}

/// Colours far apart for neighbouring indices: golden-angle hues.
std::array<std::uint8_t, 3> expert_color(int expert) {
  const double hue = std::fmod(expert * 0.618033988749895, 1.0) * 6.0;
  const double value = expert % 2 == 0 ? 1.0 : 0.72;
  std::array<std::uint8_t, 3> rgb{};
  for (std::size_t c = 0; c < 3; ++c) {
    const double at = std::fmod(hue + std::array{0.0, 4.0, 2.0}[c], 6.0);
    const double level = std::clamp(std::abs(at - 3.0) - 1.0, 0.0, 1.0);
    rgb[c] = static_cast<std::uint8_t>(std::lround(255.0 * value * (0.12 + 0.88 * level)));
  }
  return rgb;
}

}  // namespace

ImageU8 color_picture(const RawOutput& raw, int height, int width, const ColorOptions& options) {
  ImageU8 colors;
  by_stripes(raw, height, width, [&](std::span<const float> lines, int rows) {
    append(colors, color_prediction(raw.task, lines, raw.channels, rows, width, options));
  });
  return colors;
}

ImageU8 class_picture(const RawOutput& raw, int height, int width) {
  ImageU8 classes;
  by_stripes(raw, height, width, [&](std::span<const float> lines, int rows) {
    append(classes, prediction_map(raw.task, lines, raw.channels, rows, width).u8);
  });
  if (task_spec(raw.task).label == LabelKind::kBinary) {
    for (std::uint8_t& v : classes.data) v = v >= 128 ? 1 : 0;  // a probability of one half
  }
  return classes;
}

std::vector<std::filesystem::path> write_prediction(const RawOutput& raw, int height, int width,
                                                    const std::filesystem::path& stem, const ColorOptions& options,
                                                    bool durable) {
  ImageU8 colors;
  SavedMap map;
  by_stripes(raw, height, width, [&](std::span<const float> lines, int rows) {
    append(colors, color_prediction(raw.task, lines, raw.channels, rows, width, options));
    const SavedMap part = prediction_map(raw.task, lines, raw.channels, rows, width);
    append(map.u8, part.u8);
    append(map.u16, part.u16);
  });
  const std::filesystem::path picture = stem.string() + ".png";
  const std::filesystem::path values = stem.string() + "_map.png";
  write_png(picture, colors, durable);
  if (map.u8.empty()) {
    write_png(values, map.u16, durable);
  } else {
    write_png(values, map.u8, durable);
  }
  return {picture, values};
}

nlohmann::json routing_json(const std::vector<RoutingMap>& routing, const std::string& task) {
  nlohmann::json blocks = nlohmann::json::array();
  for (const RoutingMap& map : routing) {
    nlohmann::json experts = nlohmann::json::array();
    nlohmann::json weights = nlohmann::json::array();
    for (int t = 0; t < map.tokens; ++t) {
      const auto row = static_cast<std::ptrdiff_t>(t) * map.top_k;
      experts.push_back(std::vector(map.experts.begin() + row, map.experts.begin() + row + map.top_k));
      weights.push_back(std::vector(map.weights.begin() + row, map.weights.begin() + row + map.top_k));
    }
    blocks.push_back({{"block", map.block}, {"task", task}, {"experts", experts}, {"weights", weights}});
  }
  return blocks;
}

ImageU8 routing_picture(const std::vector<RoutingMap>& routing, const ImageU8& input, int grid_h, int grid_w) {
  std::vector<Tile> tiles{{input, "input"}};
  for (const RoutingMap& map : routing) {
    ImageU8 picture(input.height, input.width, 3);
    for (int y = 0; y < picture.height; ++y) {
      for (int x = 0; x < picture.width; ++x) {
        const int patch = (y * grid_h / picture.height) * grid_w + x * grid_w / picture.width;
        const int expert = map.experts[(static_cast<std::size_t>(patch) + 1) *
                                       static_cast<std::size_t>(map.top_k)];  // token 0 is the class token
        const std::array<std::uint8_t, 3> color = expert_color(expert);
        for (int c = 0; c < 3; ++c) picture.at(y, x, c) = color[static_cast<std::size_t>(c)];
      }
    }
    tiles.push_back({std::move(picture), "block " + std::to_string(map.block)});
  }
  // At most four tiles a row, the last row filled up with blanks.
  constexpr std::size_t kColumns = 4;
  std::vector<std::vector<Tile>> rows;
  for (std::size_t i = 0; i < tiles.size(); i += kColumns) {
    rows.emplace_back(tiles.begin() + static_cast<std::ptrdiff_t>(i),
                      tiles.begin() + static_cast<std::ptrdiff_t>(std::min(i + kColumns, tiles.size())));
    if (rows.size() > 1) rows.back().resize(kColumns);
  }
  return contact_sheet(rows, std::max(192, input.width));
}

}  // namespace m3vit::cli
