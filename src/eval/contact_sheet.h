#pragma once
/// Pictures of predictions: colouring of every task's raw output or label, and a sheet of them.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/image.h"
#include "core/tasks.h"

namespace m3vit {

struct ColorOptions {
  std::vector<std::array<std::uint8_t, 3>> palette;  ///< class colours; empty: default_palette()
  float depth_min = 0, depth_max = 0;                ///< metres; equal: from the map's 2nd and 98th percentile
};

/// Raw output [C, H, W] → RGB: argmax with palette; depth in a perceptual colour map, near bright; normals as (n+1)/2;
/// edge and sal as sigmoid grey.
ImageU8 color_prediction(TaskId task, std::span<const float> raw, int channels, int height, int width,
                         const ColorOptions& options = {});
/// Label map of data/sample.h → RGB in the same colours; unknown is a dark grey hatch. Edge: any annotator.
ImageU8 color_label(TaskId task, const ImageF32& label, const ColorOptions& options = {});
/// Task map as values to save: argmax u8, depth in mm u16, normals u16 RGB, sigmoid u8 (the `folder` format, which
/// reads ≥ 128 as edge or salient: sigmoid·255 is rounded here, so that this means ≥ 0.5).
struct SavedMap {
  ImageU8 u8;
  ImageU16 u16;  ///< one of the two is empty
};
SavedMap prediction_map(TaskId task, std::span<const float> raw, int channels, int height, int width);

/// Tiles with captions above, row by row on white; all tiles scaled to `tile_width` and the first one's aspect
/// (nearest, so that classes keep their colours). A tile with an empty image is a blank. Captions are ASCII.
struct Tile {
  ImageU8 image;
  std::string caption;
};
ImageU8 contact_sheet(const std::vector<std::vector<Tile>>& rows, int tile_width);

}  // namespace m3vit
