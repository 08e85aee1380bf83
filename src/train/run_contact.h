#pragma once
/// A run's contact sheet: for a few test frames, the image, then each task's label and prediction.
#include <filesystem>

#include "core/config.h"
#include "data/dataset.h"
#include "eval/evaluate.h"

namespace m3vit {

void write_run_contact(const std::filesystem::path& path, const Dataset& dataset, const Config& config,
                       const Predictor& predict, int frames = 6);

}  // namespace m3vit
