/// The golden model on the model that comes with the repository: its metrics on test rooms stay where f32's are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>

#include "accel/golden/calibrate.h"
#include "accel/golden/golden.h"
#include "accel/golden/quantise.h"
#include "core/image_io.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "eval/evaluate.h"
#include "m3vit/m3vit.hpp"
#include "runtime/pack.h"

namespace m3vit::accel {
namespace {

/// One metric point: a hundredth of a share (mIoU, odsF …), a degree of the normals' mean angle, a centimetre of the
/// depth's rmse.
double points(const std::string& task, double difference) {
  return task == "normals" ? difference : 100.0 * difference;
}

EvalResult measure(const Dataset& test, const Config& config, const Predictor& predict) {
  EvalOptions options;
  options.max_frames = 60;
  options.quiet = true;
  return evaluate(test, config, predict, options);
}

TEST(GoldenAccuracy, KeepsTheShippedModelsMetrics) {
  const SafetensorsFile file = SafetensorsFile::open(M3VIT_SOURCE_DIR "/models/rooms_micro.safetensors");
  const Config config = config_from_text(file.metadata().at("config"), file.where());
  const TensorSource source = [&](const std::string& name) { return to_f32(file.get(name), file.where()); };
  const std::vector<std::byte> packed = pack_model(config, source, {}, "shipped.m3v");

  const std::unique_ptr<Dataset> train = make_dataset(config, Split::kTrain);
  std::vector<std::vector<float>> frames;
  for (int i = 0; i < 32; ++i)
    normalise_rgb(train->get(i).image,
                  frames.emplace_back(3 * static_cast<std::size_t>(config.model.height() * config.model.width())));
  const FloatModel exact = FloatModel::read(M3vFile::parse(packed, "shipped.m3v"));
  const QuantModel quant = quantise(exact, calibrate(exact, frames));

  const Model model = Model::from_bytes(packed, "shipped.m3v");
  Session session = model.session({.threads = 1, .keep_routing = true});
  std::size_t routed = 0;
  std::size_t rerouted = 0;
  std::uint64_t clamped = 0;
  std::map<std::string, double> error;
  std::map<std::string, double> norm;
  const Predictor golden = [&](const Batch& batch, const TaskConfig& task) {
    const int t = *config.task_index(task.name);
    const std::size_t in = batch.images.size() / static_cast<std::size_t>(batch.size);
    std::vector<float> raw;
    std::vector<float> want(model.output_size(task.name));
    for (std::size_t b = 0; b < static_cast<std::size_t>(batch.size); ++b) {
      const std::span<const float> image = std::span(batch.images).subspan(b * in, in);
      const GoldenFrame frame = golden_run(quant, t, input_rows(config.model, image));
      const std::vector<float> planes = output_planes(quant, t, frame);
      raw.insert(raw.end(), planes.begin(), planes.end());
      clamped += frame.clamped;
      session.run(task.name, image, want);
      for (std::size_t i = 0; i < want.size(); ++i) {
        const double d = double{planes[i]} - double{want[i]};
        error[task.name] += d * d;
        norm[task.name] += double{want[i]} * double{want[i]};
      }
      for (std::size_t block = 0; block < frame.routing.size(); ++block) {
        const auto& chosen = session.routing()[block].experts;
        const std::size_t k = static_cast<std::size_t>(config.model.moe->top_k);
        for (const Entry& e : frame.routing[block]) {
          const auto first = chosen.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(e.token) * k);
          ++routed;
          rerouted += std::find(first, first + static_cast<std::ptrdiff_t>(k), e.expert) ==
                      first + static_cast<std::ptrdiff_t>(k);
        }
      }
    }
    return raw;
  };
  const Predictor f32 = [&](const Batch& batch, const TaskConfig& task) {
    const std::size_t in = batch.images.size() / static_cast<std::size_t>(batch.size);
    const std::size_t out = model.output_size(task.name);
    std::vector<float> raw(out * static_cast<std::size_t>(batch.size));
    for (std::size_t b = 0; b < static_cast<std::size_t>(batch.size); ++b) {
      session.run(task.name, std::span(batch.images).subspan(b * in, in), std::span(raw).subspan(b * out, out));
    }
    return raw;
  };
  const std::unique_ptr<Dataset> test = make_dataset(config, Split::kTest);
  const EvalResult want = measure(*test, config, f32);
  const EvalResult got = measure(*test, config, golden);
  for (const TaskConfig& task : config.tasks) {
    const double difference = points(task.name, got.primary(task.name) - want.primary(task.name));
    EXPECT_NEAR(difference, 0.0, 0.5) << task.name;
    std::cout << task.name << ": f32 " << want.primary(task.name) << ", golden " << got.primary(task.name) << " ("
              << difference << " points), relative error " << std::sqrt(error[task.name] / norm[task.name]) << '\n';
  }
  std::cout << "entries routed to an expert that f32 did not choose: " << rerouted << " of " << routed << '\n';
  EXPECT_EQ(clamped, 0U);
  EXPECT_LT(rerouted, routed / 20);
}

}  // namespace
}  // namespace m3vit::accel
