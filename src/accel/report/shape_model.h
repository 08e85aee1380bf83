#pragma once
/// Models without weights: what counting needs is sizes alone.
#include "accel/golden/quant_model.h"

namespace m3vit::accel {

/// The layers of `config` (every tasks[].outputs set, no resnet), their matrices empty: for CompileOptions.layout_only.
QuantModel shape_model(const Config& config);

/// The published sizes, one task (depth), 16 experts: tiny 128×256, 192 channels, top 2; small 512², 384 channels, top
/// 4.
Config published_tiny();
Config published_small();

}  // namespace m3vit::accel
