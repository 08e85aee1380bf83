/// bf16 and int8 on the model that comes with the repository: its metrics on test rooms stay where f32's are.
#include <gtest/gtest.h>

#include <memory>

#include "core/config.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "eval/evaluate.h"
#include "m3vit/m3vit.hpp"
#include "runtime/pack.h"

namespace m3vit {
namespace {

constexpr std::int64_t kFrames = 60;

/// One metric point: a hundredth of a share (mIoU, odsF …), a degree of the normals' mean angle, a centimetre of the
/// depth's rmse.
double points(const std::string& task, double difference) {
  if (task == "normals") return difference;
  return 100.0 * difference;
}

struct Measured {
  EvalResult metrics;
  double bytes = 0;
};

Measured measure(const SafetensorsFile& file, const Config& config, const Dataset& test, Precision precision) {
  const TensorSource source = [&](const std::string& name) { return to_f32(file.get(name), file.where()); };
  const Model model = Model::from_bytes(pack_model(config, source, {.dtype = precision}, "shipped.m3v"), "shipped.m3v");
  Session session = model.session({.threads = 2});
  const Predictor predict = [&](const Batch& batch, const TaskConfig& task) {
    const std::size_t in = batch.images.size() / static_cast<std::size_t>(batch.size);
    const std::size_t out = model.output_size(task.name);
    std::vector<float> raw(out * static_cast<std::size_t>(batch.size));
    for (std::size_t b = 0; b < static_cast<std::size_t>(batch.size); ++b) {
      session.run(task.name, std::span(batch.images).subspan(b * in, in), std::span(raw).subspan(b * out, out));
    }
    return raw;
  };
  EvalOptions options;
  options.max_frames = kFrames;
  options.quiet = true;
  return {evaluate(test, config, predict, options), static_cast<double>(session.memory().weights)};
}

TEST(ShippedModel, Bf16AndInt8KeepItsMetrics) {
  const SafetensorsFile file = SafetensorsFile::open(M3VIT_SOURCE_DIR "/models/rooms_micro.safetensors");
  const Config config = config_from_text(file.metadata().at("config"), file.where());
  const std::unique_ptr<Dataset> test = make_dataset(config, Split::kTest);
  const Measured f32 = measure(file, config, *test, Precision::kF32);
  const Measured bf16 = measure(file, config, *test, Precision::kBf16);
  const Measured int8 = measure(file, config, *test, Precision::kInt8);
  ASSERT_EQ(config.tasks.size(), 6U);
  for (const TaskConfig& task : config.tasks) {
    const double want = f32.metrics.primary(task.name);
    EXPECT_NEAR(points(task.name, bf16.metrics.primary(task.name) - want), 0.0, 0.2) << task.name;
    EXPECT_NEAR(points(task.name, int8.metrics.primary(task.name) - want), 0.0, 0.5) << task.name;
    std::cout << task.name << ": f32 " << want << ", bf16 " << bf16.metrics.primary(task.name) << ", int8 "
              << int8.metrics.primary(task.name) << '\n';
  }
  EXPECT_LT(bf16.bytes, 0.6 * f32.bytes);
  EXPECT_LT(int8.bytes, 0.4 * f32.bytes);
}

}  // namespace
}  // namespace m3vit
