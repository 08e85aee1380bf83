#include "cli/run_pipeline.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "cli/bounded_queue.h"
#include "cli/commands.h"
#include "core/progress.h"

namespace m3vit::cli {
namespace {

constexpr std::size_t kBatchesAhead = 2;
constexpr std::size_t kBatches = 2;  // one is computed while one is written

/// A thread whose exception waits for whoever joins it.
class Worker {
 public:
  explicit Worker(std::function<void()> work)
      : thread_([this, job = std::move(work)] {
          try {
            job();
          } catch (...) {
            problem_ = std::current_exception();
          }
        }) {}
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  void rethrow() const {
    if (problem_) std::rethrow_exception(problem_);
  }

 private:
  std::exception_ptr problem_;
  std::jthread thread_;
};

RgbView view(const Frame& frame) { return {frame.image.data.data(), frame.image.height, frame.image.width}; }

void prepare(const Model& model, std::span<const TaskInfo> tasks, Prediction& prediction) {
  if (prediction.outputs.size() < tasks.size()) prediction.outputs.resize(tasks.size());
  prediction.used = tasks.size();
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    prediction.outputs[i].task = &tasks[i];
    prediction.outputs[i].raw.resize(model.output_size(tasks[i].name));
  }
}

/// Runs `tasks` on the prediction's frame and takes their times.
void run_tasks(Session& session, std::span<const TaskInfo> tasks, bool routing, Prediction& prediction) {
  const Frame& frame = prediction.frame;
  const auto run = [&](std::span<const std::string_view> names, std::span<const std::span<float>> outs) {
    if (frame.image.empty()) {
      session.run(names, std::span<const float>(frame.planes), outs);
    } else {
      session.run(names, view(frame), outs);
    }
  };
  std::vector<std::string_view> names;
  std::vector<std::span<float>> outs;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    names.emplace_back(tasks[i].name);
    outs.emplace_back(prediction.outputs[i].raw);
  }
  if (!routing) {
    run(names, outs);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      prediction.outputs[i].milliseconds = 1e3 * session.task_times()[i];
    }
    return;
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    run(std::span(names).subspan(i, 1), std::span(outs).subspan(i, 1));
    prediction.outputs[i].milliseconds = 1e3 * session.task_times()[0];
    prediction.outputs[i].routing = session.routing();
  }
}

/// Runs `tasks` on all frames together, which are all pictures or all planes.
void run_batch(Session& session, std::span<const TaskInfo> tasks, std::span<Prediction> batch) {
  std::vector<RgbView> images;
  std::vector<std::span<const float>> planes;
  for (const Prediction& p : batch) {
    if (p.frame.image.empty()) {
      planes.emplace_back(p.frame.planes);
    } else {
      images.push_back(view(p.frame));
    }
  }
  std::vector<std::string_view> names;
  std::vector<std::span<float>> outs;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    names.emplace_back(tasks[t].name);
    for (Prediction& p : batch) outs.emplace_back(p.outputs[t].raw);
  }
  if (planes.empty()) {
    session.run_batch(std::span<const std::string_view>(names), images, outs);
  } else {
    session.run_batch(std::span<const std::string_view>(names), planes, outs);
  }
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    for (Prediction& p : batch) p.outputs[t].milliseconds = 1e3 * session.task_times()[t];
  }
}

}  // namespace

RunReport run_frames(FrameSource& source, Session& session, const Model& model, const RunPlan& plan, FrameSink& sink) {
  RunReport report;
  const auto most = static_cast<std::size_t>(plan.batch);
  BoundedQueue<Frame> frames(kBatchesAhead * most);
  BoundedQueue<Prediction> ready(kBatches * most), spare(kBatches * most);
  for (std::size_t i = 0; i < kBatches * most; ++i) spare.push({});
  Worker reader([&] {
    try {
      for (Frame frame; source.next(frame) && frames.push(std::move(frame));) frame = {};
    } catch (...) {
      frames.close();
      throw;
    }
    frames.close();
  });
  Worker writer([&] {
    try {
      while (std::optional<Prediction> prediction = ready.pop()) {
        sink.write(*prediction);
        spare.push(std::move(*prediction));
      }
    } catch (...) {
      spare.close();
      ready.close();
      throw;
    }
  });
  const auto finish = [&] {
    frames.close();
    ready.close();
    reader.join();
    writer.join();
  };

  Progress progress("run", source.total(), "frames");
  const auto begin = std::chrono::steady_clock::now();
  try {
    std::vector<Prediction> batch;
    std::optional<Frame> left;  // of the other kind than the batch before it
    bool writing = true;
    while (writing && !interrupted()) {
      batch.clear();
      while (batch.size() < most && !interrupted()) {
        std::optional<Frame> frame = left ? std::exchange(left, std::nullopt) : frames.pop();
        if (!frame) break;
        if (!batch.empty() && frame->image.empty() != batch[0].frame.image.empty()) {
          left = std::move(frame);
          break;
        }
        std::optional<Prediction> prediction = spare.pop();
        if (!prediction) break;  // the writer has failed
        prediction->frame = std::move(*frame);
        batch.push_back(std::move(*prediction));
      }
      if (batch.empty() || interrupted()) break;
      const std::span<const TaskInfo> all(plan.tasks);
      const std::span<const TaskInfo> tasks =
          plan.schedule ? all.subspan(static_cast<std::size_t>(report.frames) % all.size(), 1) : all;
      for (Prediction& prediction : batch) prepare(model, tasks, prediction);
      if (most == 1) {
        run_tasks(session, tasks, plan.routing, batch[0]);
      } else {
        run_batch(session, tasks, batch);
      }
      for (Prediction& prediction : batch) {
        for (std::size_t i = 0; i < tasks.size(); ++i) {
          report.latencies.add(tasks[i].name, prediction.outputs[i].milliseconds);
        }
        writing = writing && ready.push(std::move(prediction));
        if (writing) ++report.frames;
      }
      progress.update(report.frames, fmt::format("{:.1f} ms", report.latencies.recent()));
    }
  } catch (...) {
    finish();
    throw;
  }
  finish();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  progress.finish();
  writer.rethrow();
  reader.rethrow();
  report.interrupted = interrupted();
  return report;
}

}  // namespace m3vit::cli
