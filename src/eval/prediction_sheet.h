#pragma once
/// A contact sheet of the first frames of a data set: the image, then each task's label and prediction.
#include <filesystem>

#include "core/config.h"
#include "data/dataset.h"
#include "eval/evaluate.h"

namespace m3vit {

void write_prediction_sheet(const std::filesystem::path& path, const Dataset& dataset, const Config& config,
                            const Predictor& predict, int frames = 6);

}  // namespace m3vit
