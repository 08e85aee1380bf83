// The model that comes with the repository on the shipped array, 2048 MAC a cycle: every task of a test room in
// simulation, equal to the golden model bit for bit. Prints cycles, and milliseconds at the stated 250 MHz.
#include <cstdio>

#include "accel/compiler/compile.h"
#include "accel/compiler/host_io.h"
#include "accel/golden/calibrate.h"
#include "accel/golden/golden.h"
#include "accel/golden/quantise.h"
#include "accel32.h"
#include "core/image_io.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "rtl/run_image.h"
#include "runtime/pack.h"

namespace m3vit::rtl {
namespace {

std::vector<float> frame_of(const Dataset& rooms, const Config& config, int index) {
  std::vector<float> frame(3 * static_cast<std::size_t>(config.model.height() * config.model.width()));
  normalise_rgb(rooms.get(index).image, frame);
  return frame;
}

TEST(ShippedModel, EveryTaskEqualsTheGoldenModel) {
  const SafetensorsFile file = SafetensorsFile::open(M3VIT_SOURCE_DIR "/models/rooms_micro.safetensors");
  const Config config = config_from_text(file.metadata().at("config"), file.where());
  const TensorSource source = [&](const std::string& name) { return to_f32(file.get(name), file.where()); };
  const std::unique_ptr<Dataset> train = make_dataset(config, Split::kTrain);
  const std::unique_ptr<Dataset> test = make_dataset(config, Split::kTest);
  std::vector<std::vector<float>> frames;
  for (int i = 0; i < 4; ++i) frames.push_back(frame_of(*train, config, i));
  const accel::FloatModel exact =
      accel::FloatModel::read(M3vFile::parse(pack_model(config, source, {}, "shipped.m3v"), "shipped.m3v"));
  const accel::QuantModel quant = accel::quantise(exact, accel::calibrate(exact, frames));
  const accel::Compiled compiled = accel::compile(quant, {});
  const std::vector<std::int8_t> pixels = accel::input_rows(config.model, frame_of(*test, config, 0));
  for (const accel::TaskProgram& program : compiled.programs) {
    const std::string& task = config.tasks[static_cast<std::size_t>(program.task)].name;
    SCOPED_TRACE(task);
    std::vector<std::byte> image = compiled.image;
    accel::write_input(compiled, program, pixels, image);
    const Counters c = run_image<accel32>(image, program.program, {.bytes_per_cycle = 61.44}, 50'000'000);
    EXPECT_EQ(accel::read_output(compiled, program, image), accel::golden_run(quant, program.task, pixels).output);
    EXPECT_EQ(c[kClamped], 0U);
    const auto cycles = static_cast<double>(c[kCycles]);
    std::printf("%-12s %9.0f cycles %6.3f ms, array busy %4.1f %%, DDR %.0f KiB\n", task.c_str(), cycles,
                cycles / 250e3, 100 * static_cast<double>(c[kArrayCycles]) / cycles,
                static_cast<double>(c[kDdrWeights] + c[kDdrExperts] + c[kDdrOther] + c[kDdrWritten]) / 1024);
  }
}

}  // namespace
}  // namespace m3vit::rtl
