#include "eval/mean_predictor.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "data/loader.h"

namespace m3vit {
namespace {

/// Per pixel: `sums` [C, H, W] and how many labels entered [H, W].
struct PixelSums {
  std::vector<double> sums, counts;
};

void add(const TaskConfig& task, std::span<const float> label, std::size_t pixels, PixelSums& into) {
  const auto channels = static_cast<std::size_t>(task.outputs);
  for (std::size_t i = 0; i < pixels; ++i) {
    switch (task_spec(task.id()).label) {
      case LabelKind::kClassIndex: {
        const auto value = static_cast<std::size_t>(label[i]);
        if (label[i] == kIgnore || value >= channels) continue;
        into.sums[value * pixels + i] += 1;
        break;
      }
      case LabelKind::kDepth:
        if (!std::isfinite(label[i]) || label[i] <= 0) continue;
        into.sums[i] += static_cast<double>(label[i]);
        break;
      case LabelKind::kNormals:
        if (label[i] == 0 && label[pixels + i] == 0 && label[2 * pixels + i] == 0) continue;
        for (std::size_t c = 0; c < 3; ++c) into.sums[c * pixels + i] += static_cast<double>(label[c * pixels + i]);
        break;
      case LabelKind::kBinary:
        if (label[i] == kIgnore) continue;
        into.sums[i] += static_cast<double>(label[i]);
        break;
    }
    into.counts[i] += 1;
  }
}

std::vector<float> finish(const TaskConfig& task, std::size_t pixels, const PixelSums& sums) {
  const LabelKind kind = task_spec(task.id()).label;
  std::vector<float> raw(sums.sums.size());
  const double positive = std::accumulate(sums.sums.begin(), sums.sums.end(), 0.5);
  const double all = std::accumulate(sums.counts.begin(), sums.counts.end(), 1.0);
  for (std::size_t k = 0; k < raw.size(); ++k) {
    const double n = sums.counts[k % pixels];
    // Half a count (Jeffreys) keeps logarithms finite where nothing, or only one value, was ever seen.
    if (kind == LabelKind::kClassIndex) {
      raw[k] = static_cast<float>(std::log((sums.sums[k] + 0.5) / (n + 0.5 * task.outputs)));
    } else if (kind == LabelKind::kBinary) {
      // against the odds of the whole set: the balanced losses weigh a network's answers the same way
      raw[k] = static_cast<float>(std::log((sums.sums[k] + 0.5) / (n - sums.sums[k] + 0.5)) -
                                  std::log(positive / (all - positive)));
    } else {
      raw[k] = static_cast<float>(sums.sums[k] / std::max(1.0, n));
    }
  }
  return raw;
}

}  // namespace

MeanPredictor::MeanPredictor(const Dataset& train, const Config& config, std::int64_t frames) {
  LoaderOptions loading;
  loading.height = config.model.height();
  loading.width = config.model.width();
  loading.batch_size = 16;
  loading.shuffle = false;
  loading.drop_last = false;
  loading.workers = std::max(1, config.data.workers);
  loading.protocol = config.protocol;
  Loader loader(train, loading);
  const std::size_t pixels = static_cast<std::size_t>(loading.height) * static_cast<std::size_t>(loading.width);
  std::vector<PixelSums> sums(config.tasks.size());
  for (std::size_t t = 0; t < sums.size(); ++t) {
    sums[t].sums.resize(static_cast<std::size_t>(config.tasks[t].outputs) * pixels);
    sums[t].counts.resize(pixels);
  }
  std::int64_t left = frames > 0 ? std::min(frames, train.size()) : train.size();
  for (std::optional<Batch> batch; left > 0 && (batch = loader.next());) {
    const std::int64_t here = std::min<std::int64_t>(left, batch->size);
    left -= here;
    for (std::size_t t = 0; t < sums.size(); ++t) {
      const TaskConfig& task = config.tasks[t];
      const std::span<const float> labels = batch->labels[static_cast<std::size_t>(task.id())];
      const std::size_t stride = static_cast<std::size_t>(task_spec(task.id()).label_channels) * pixels;
      if (labels.empty()) continue;
      for (std::int64_t b = 0; b < here; ++b) {
        add(task, labels.subspan(static_cast<std::size_t>(b) * stride, stride), pixels, sums[t]);
      }
    }
  }
  for (std::size_t t = 0; t < sums.size(); ++t) {
    raw_[static_cast<std::size_t>(config.tasks[t].id())] = finish(config.tasks[t], pixels, sums[t]);
  }
}

std::vector<float> MeanPredictor::operator()(const Batch& batch, const TaskConfig& task) const {
  const std::vector<float>& one = raw_[static_cast<std::size_t>(task.id())];
  if (one.empty()) {
    throw Error{{.where = "mean predictor", .field = "tasks", .wanted = "a task it was made for", .found = task.name}};
  }
  std::vector<float> raw;
  raw.reserve(one.size() * static_cast<std::size_t>(batch.size));
  for (int b = 0; b < batch.size; ++b) raw.insert(raw.end(), one.begin(), one.end());
  return raw;
}

}  // namespace m3vit
