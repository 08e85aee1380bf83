#pragma once
/// The folder a training run writes to.
#include "train/trainer.h"

namespace m3vit {

/// Makes OPTIONS.run; with `overwrite` deletes an earlier run's files in it, without `resume` refuses a folder that
/// holds a run. Throws Error.
void prepare_run_folder(const TrainOptions& options);

}  // namespace m3vit
