#include "cli/run_pipeline.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <functional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "cli/bounded_queue.h"
#include "cli/commands.h"
#include "core/progress.h"

namespace m3vit::cli {
namespace {

constexpr std::size_t kFramesAhead = 2;
constexpr std::size_t kPredictions = 2;  // one is computed while one is written

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

/// Runs `tasks` on the prediction's frame and takes their times.
void run_tasks(Session& session, const Model& model, std::span<const TaskInfo> tasks, bool routing,
               Prediction& prediction) {
  const Frame& frame = prediction.frame;
  const auto run = [&](std::span<const std::string_view> names, std::span<const std::span<float>> outs) {
    if (frame.image.empty()) {
      session.run(names, std::span<const float>(frame.planes), outs);
    } else {
      session.run(names, RgbView{frame.image.data.data(), frame.image.height, frame.image.width}, outs);
    }
  };
  std::vector<std::string_view> names;
  std::vector<std::span<float>> outs;
  if (prediction.outputs.size() < tasks.size()) prediction.outputs.resize(tasks.size());
  prediction.used = tasks.size();
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    Prediction::Output& output = prediction.outputs[i];
    output.task = &tasks[i];
    output.raw.resize(model.output_size(tasks[i].name));
    names.emplace_back(tasks[i].name);
    outs.emplace_back(output.raw);
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

}  // namespace

RunReport run_frames(FrameSource& source, Session& session, const Model& model, const RunPlan& plan, FrameSink& sink) {
  RunReport report;
  BoundedQueue<Frame> frames(kFramesAhead);
  BoundedQueue<Prediction> ready(kPredictions), spare(kPredictions);
  for (std::size_t i = 0; i < kPredictions; ++i) spare.push({});
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
    while (!interrupted()) {
      std::optional<Frame> frame = frames.pop();
      if (!frame || interrupted()) break;
      std::optional<Prediction> prediction = spare.pop();
      if (!prediction) break;  // the writer has failed
      prediction->frame = std::move(*frame);
      const std::span<const TaskInfo> all(plan.tasks);
      const std::span<const TaskInfo> tasks =
          plan.schedule ? all.subspan(static_cast<std::size_t>(report.frames) % all.size(), 1) : all;
      run_tasks(session, model, tasks, plan.routing, *prediction);
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        report.latencies.add(tasks[i].name, prediction->outputs[i].milliseconds);
      }
      if (!ready.push(std::move(*prediction))) break;
      ++report.frames;
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
