#include "eval/prediction_sheet.h"

#include <algorithm>
#include <cmath>

#include "core/image_io.h"
#include "data/loader.h"
#include "eval/contact_sheet.h"

namespace m3vit {
namespace {

constexpr int kTileWidth = 192;

/// One depth range for label and prediction, so that their colours compare.
void set_depth_range(const ImageF32& label, ColorOptions& options) {
  float low = 0, high = 0;
  for (const float d : label.data) {
    if (!std::isfinite(d) || d <= 0) continue;
    low = high == 0 ? d : std::min(low, d);
    high = std::max(high, d);
  }
  options.depth_min = low;
  options.depth_max = high;
}

}  // namespace

void write_prediction_sheet(const std::filesystem::path& path, const Dataset& dataset, const Config& config,
                            const Predictor& predict, int frames) {
  LoaderOptions loading;
  loading.height = config.model.height();
  loading.width = config.model.width();
  loading.batch_size = static_cast<int>(std::min<std::int64_t>(frames, dataset.size()));
  loading.shuffle = false;
  loading.keep_samples = true;
  loading.workers = 1;
  loading.protocol = config.protocol;
  loading.prefetch = 1;
  Loader loader(dataset, loading);
  const std::optional<Batch> batch = loader.next();
  if (!batch) return;

  std::vector<std::vector<Tile>> rows(static_cast<std::size_t>(batch->size));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].push_back({batch->samples[i].image, batch->ids[i]});
  for (const TaskConfig& task : config.tasks) {
    const std::vector<float> raw = predict(*batch, task);
    const std::size_t stride = raw.size() / rows.size();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const ImageF32& label = batch->samples[i].label(task.id());
      ColorOptions colors;
      if (task.id() == TaskId::kSemseg) colors.palette = dataset.info().semseg_colors;
      if (task.id() == TaskId::kDepth) set_depth_range(label, colors);
      if (!label.empty()) rows[i].push_back({color_label(task.id(), label, colors), task.name + " label"});
      rows[i].push_back({color_prediction(task.id(), std::span(raw).subspan(i * stride, stride), task.outputs,
                                          batch->height, batch->width, colors),
                         task.name});
    }
  }
  write_png(path, contact_sheet(rows, kTileWidth));
}

}  // namespace m3vit
