#include "cli/accel_export.h"

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "accel/compiler/accel_file.h"
#include "accel/golden/calibrate.h"
#include "accel/golden/quantise.h"
#include "cli/calibration.h"
#include "cli/runtime_model.h"
#include "core/atomic_file.h"
#include "core/progress.h"
#include "runtime/m3v.h"

namespace m3vit::cli {

void export_accel(const AccelExport& options, const Globals& globals) {
  const Checkpoint checkpoint = open_checkpoint(options.input);
  const PackOptions pack{.tasks = options.tasks, .producer = checkpoint.producer};
  const accel::FloatModel exact = accel::FloatModel::read(
      M3vFile::from_bytes(pack_model(checkpoint.config, checkpoint.source(), pack, options.input), options.input));
  const std::vector<std::vector<float>> frames =
      calibration_frames(checkpoint.config, options.frames_from, options.frames);
  Progress progress("calibrate", static_cast<std::int64_t>(frames.size() * exact.tasks.size()), "passes");
  std::int64_t done = 0;
  const accel::Ranges ranges = accel::calibrate(exact, frames, [&] { progress.update(++done); });
  progress.finish();
  const accel::Compiled compiled = accel::compile(accel::quantise(exact, ranges), {});

  AtomicFile file(options.output);
  accel::write_accel_file(file.stream(), compiled, checkpoint.producer);
  file.commit();

  nlohmann::json document{{"input", options.input},
                          {"output", options.output},
                          {"target", "zcu104"},
                          {"image_bytes", compiled.image.size()},
                          {"calibration", {{"source", options.frames_from}, {"frames", frames.size()}}}};
  for (const accel::TaskProgram& p : compiled.programs) {
    document["programs"].push_back(
        {{"task", compiled.config.tasks[static_cast<std::size_t>(p.task)].name}, {"ops", p.ops.size()}});
  }
  if (globals.json) {
    std::cout << document.dump() << '\n';
    return;
  }
  std::cout << options.output << '\n';
  if (globals.quiet) return;
  std::cerr << fmt::format(
      "{:.2f} MiB for the accelerator; words in use: weights {} of {}, activations {} of {}, "
      "residual {} of {}\n",
      static_cast<double>(compiled.image.size()) / (1024.0 * 1024.0), compiled.footprint.weight_words,
      compiled.array.weight_words, compiled.footprint.act_words, compiled.array.act_words, compiled.footprint.res_words,
      compiled.array.res_words);
}

}  // namespace m3vit::cli
