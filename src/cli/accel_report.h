#pragma once
/// `m3vit accel report` and `m3vit accel explore`.
#include "cli/commands.h"

namespace m3vit::cli {

void add_accel_report(CLI::App& accel, Globals& globals);
void add_accel_explore(CLI::App& accel, Globals& globals);

}  // namespace m3vit::cli
