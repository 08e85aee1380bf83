#pragma once
/// What `m3vit run` writes of one task's raw output: pictures, maps, routing.
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/image.h"
#include "core/tasks.h"
#include "eval/contact_sheet.h"
#include "m3vit/m3vit.hpp"

namespace m3vit::cli {

/// Raw output [channels, height, width] of one task.
struct RawOutput {
  TaskId task;
  int channels, height, width;
  std::span<const float> values;
};

/// The coloured prediction at [height, width]: raw values are resized before they become classes or colours.
ImageU8 color_picture(const RawOutput& raw, int height, int width, const ColorOptions& options);
/// Class indices of a task with classes, one channel; of a two-sided task (edge, sal) 1 where its probability is at
/// least one half.
ImageU8 class_picture(const RawOutput& raw, int height, int width);

/// Writes STEM.png (coloured) and STEM_map.png (values as in the `folder` data set) at [height, width]; the raw values
/// are resized before they become classes or colours. `durable` as in core/atomic_file.h. Returns the two paths.
std::vector<std::filesystem::path> write_prediction(const RawOutput& raw, int height, int width,
                                                    const std::filesystem::path& stem, const ColorOptions& options,
                                                    bool durable = true);

/// docs/formats.md: one object an MoE block, experts and weights a token, the class token first.
nlohmann::json routing_json(const std::vector<RoutingMap>& routing, const std::string& task);

/// One tile a block: each patch in the colour of the expert with its largest weight, beside the input.
ImageU8 routing_picture(const std::vector<RoutingMap>& routing, const ImageU8& input, int grid_h, int grid_w);

}  // namespace m3vit::cli
