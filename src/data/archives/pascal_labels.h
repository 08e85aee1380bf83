#pragma once
/// PASCAL-Context's labels that are made from its annotation files.
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/image.h"
#include "data/archives/mat_file.h"

namespace m3vit {

/// `LabelMap` of pascal-context/trainval/ID.mat: ids 0 … 459 (0: none). Throws Error.
Image<std::int32_t> read_label_map(const std::string& path);

/// Training's edges: 1 where the Laplacian (kernel 0 1 0 / 1 −4 1 / 0 1 0, mirrored without the edge pixel, as OpenCV's
/// default) of the ids is not 0, thinned to convergence.
ImageF32 laplacian_edges(const Image<std::int32_t>& label_map);
/// Scoring's edges: the outline of seg2bmap (core/label_outline.h); the metric thins it.
ImageF32 outline_edges(const Image<std::int32_t>& label_map);

/// 1 … 6 of a part's name in PASCAL-Parts ("lear", "torso"), 0 of others.
int part_of_name(std::string_view name);

/// The label of human_parts/ID.mat: parts of persons (class 15) that have any, painted in file order. nullopt when no
/// object is a person with a mask of positive area. All 0 when persons have no parts. Throws Error for a mask that is
/// not [height, width]; where these are 0 the first mask decides.
std::optional<ImageF32> paint_human_parts(const std::string& path, int height, int width);

/// Whether paint_human_parts would give a label.
bool has_person(const std::string& path);

}  // namespace m3vit
