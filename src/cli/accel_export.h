#pragma once
/// `m3vit export --target zcu104`: from a checkpoint to a program and image for the accelerator.
#include <string>
#include <vector>

#include "cli/commands.h"

namespace m3vit::cli {

struct AccelExport {
  std::string input, output;
  std::string frames_from = "rooms";  ///< calibration pictures, as for calibration_frames
  int frames = 32;
  std::vector<std::string> tasks;
};

/// Throws Error when the model does not fit the array.
void export_accel(const AccelExport& options, const Globals& globals);

}  // namespace m3vit::cli
