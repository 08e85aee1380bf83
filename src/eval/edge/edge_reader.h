#pragma once
/// From an edge map's stored probabilities to what the boundary benchmark thresholds. Both readers return, for every
/// pixel, how many of the ascending thresholds it passes, so that the set at threshold k (from 1) is {level ≥ k}.
/// Compared in single precision, in which both are rounded once: v/255 equal to a threshold compares equal to it.
#include <cstdint>
#include <span>
#include <vector>

namespace m3vit {

/// Survey and M³ViT ("read_one_png"): a probability passes t when it is ≥ t.
std::vector<std::uint16_t> read_edge_plain(std::span<const float> map, std::span<const float> thresholds);

/// ASTMT, ATRC, InvPT … ("read_one_cont_png"): ridges of the probability only (non-maximum suppression across the
/// contour), passing t when > t.
std::vector<std::uint16_t> read_edge_nms(std::vector<float> map, int height, int width,
                                         std::span<const float> thresholds);

/// The suppression by itself, on a map [height, width] in 0 … 1 (after Dollár and Zitnick 2015): smoothing by a
/// triangle of radius 4, orientation from second derivatives, a pixel stays when 1.01 × its value is no less than both
/// values one pixel across the contour; the outer 5 pixels fade to 0.
std::vector<float> suppress_non_maxima(std::vector<float> map, int height, int width);

}  // namespace m3vit
