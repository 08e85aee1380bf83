#include "eval/evaluate.h"

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/progress.h"
#include "eval/frame_pool.h"
#include "eval/native_prediction.h"

namespace m3vit {
namespace {

std::vector<TaskConfig> choose_tasks(const Config& config, const std::vector<std::string>& names) {
  if (names.empty()) return config.tasks;
  std::vector<TaskConfig> chosen;
  for (const std::string& name : names) {
    const auto index = config.task_index(name);
    if (!index) {
      std::string known;
      for (const TaskConfig& t : config.tasks) known += (known.empty() ? "" : ", ") + t.name;
      throw Error({.where = "eval", .field = "task", .wanted = "one of " + known, .found = name});
    }
    chosen.push_back(config.tasks[static_cast<std::size_t>(*index)]);
  }
  return chosen;
}

int output_channels(const TaskConfig& task, const DatasetInfo& info) {
  if (task.outputs > 0) return task.outputs;
  const TaskSpec& spec = task_spec(task.id());
  if (spec.default_outputs > 0) return spec.default_outputs;
  return std::max<int>(1, static_cast<int>(info.classes[static_cast<std::size_t>(task.id())].size()));
}

/// Frame b's label of a batch as the interleaved map that metrics take; empty when the data set lacks the task.
ImageF32 label_of(const Batch& batch, TaskId task, int b) {
  // Every annotator's edges survive only in the samples; the batch holds their union.
  if (!batch.samples.empty()) return batch.samples[static_cast<std::size_t>(b)].label(task);
  const std::vector<float>& planes = batch.labels[static_cast<std::size_t>(task)];
  if (planes.empty()) return {};
  const int channels = task_spec(task).label_channels;
  ImageF32 label(batch.height, batch.width, channels);
  const std::size_t pixels = static_cast<std::size_t>(batch.height) * static_cast<std::size_t>(batch.width);
  const std::size_t stride = static_cast<std::size_t>(channels);
  const float* first = planes.data() + static_cast<std::size_t>(b) * stride * pixels;
  for (std::size_t c = 0; c < stride; ++c) {
    for (std::size_t i = 0; i < pixels; ++i) label.data[i * stride + c] = first[c * pixels + i];
  }
  return label;
}

struct FrameMetric {
  std::size_t task;  ///< index into the chosen tasks
  std::unique_ptr<Metric> metric;
};

}  // namespace

EvalResult evaluate(const Dataset& dataset, const Config& config, const Predictor& predict,
                    const EvalOptions& options) {
  const std::vector<TaskConfig> tasks = choose_tasks(config, options.tasks);
  std::vector<int> channels;
  std::vector<std::unique_ptr<Metric>> totals;
  for (const TaskConfig& task : tasks) {
    channels.push_back(output_channels(task, dataset.info()));
    totals.push_back(make_metric(task.id(), channels.back(), config.eval, config.protocol));
  }

  LoaderOptions loading;
  loading.height = config.model.height();
  loading.width = config.model.width();
  loading.batch_size = config.train.batch_size;
  loading.shuffle = false;
  loading.drop_last = false;
  // Archives are scored at each frame's own size, as their published scripts do.
  const bool native = dataset.info().archive;
  loading.native_labels = native;
  loading.keep_samples =
      native || std::ranges::any_of(tasks, [](const TaskConfig& t) { return t.id() == TaskId::kEdge; });
  loading.protocol = config.protocol;
  loading.seed = static_cast<std::uint64_t>(config.train.seed);
  loading.workers = std::max(1, config.data.workers);
  loading.prefetch = std::max(1, config.data.prefetch);
  Loader loader(dataset, loading);

  std::int64_t wanted = dataset.size();
  if (options.max_frames > 0) wanted = std::min(wanted, options.max_frames);
  EvalResult result;
  Progress progress("eval", wanted, "frames", options.quiet ? Progress::Style::kQuiet : Progress::Style::kAuto);
  {
    const int threads = std::max(1, options.metric_threads);
    FramePool<FrameMetric> pool(threads, static_cast<std::size_t>(threads) + 2 * tasks.size() * 8,
                                [&](FrameMetric f) { totals[f.task]->merge(*f.metric); });
    while (result.frames < wanted && !(options.cancelled && options.cancelled())) {
      auto next = loader.next();
      if (!next) break;
      const auto batch = std::make_shared<const Batch>(std::move(*next));
      const int frames = static_cast<int>(std::min<std::int64_t>(batch->size, wanted - result.frames));
      for (std::size_t t = 0; t < tasks.size(); ++t) {
        const auto raw = std::make_shared<const std::vector<float>>(predict(*batch, tasks[t]));
        const std::size_t frame_values = static_cast<std::size_t>(channels[t]) *
                                         static_cast<std::size_t>(batch->height) *
                                         static_cast<std::size_t>(batch->width);
        if (raw->size() != frame_values * static_cast<std::size_t>(batch->size)) {
          throw Error({.where = "eval",
                       .field = tasks[t].name + " prediction",
                       .wanted = std::to_string(frame_values * static_cast<std::size_t>(batch->size)) + " values",
                       .found = std::to_string(raw->size())});
        }
        for (int b = 0; b < frames; ++b) {
          pool.submit([&config, native, task = tasks[t].id(), t, b, batch, raw, frame_values, count = channels[t]] {
            FrameMetric one{t, make_metric(task, count, config.eval, config.protocol)};
            const std::span<const float> frame =
                std::span(*raw).subspan(static_cast<std::size_t>(b) * frame_values, frame_values);
            const ImageF32 label = label_of(*batch, task, b);
            if (!native) {
              one.metric->update(frame, count, label);
            } else if (!label.empty()) {
              one.metric->score(native_prediction(task, frame, count, batch->height, batch->width, label.height,
                                                  label.width, config.protocol),
                                label);
            }
            return one;
          });
        }
      }
      result.frames += frames;
      progress.update(result.frames);
    }
    pool.finish();
  }
  progress.finish();
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    result.metrics[tasks[t].name] = totals[t]->compute();
    if (auto iou = totals[t]->per_class(); !iou.empty()) result.per_class[tasks[t].name] = std::move(iou);
  }
  return result;
}

}  // namespace m3vit
