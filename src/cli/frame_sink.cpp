#include "cli/frame_sink.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <span>
#include <utility>

#include "cli/commands.h"
#include "cli/run_outputs.h"
#include "core/atomic_file.h"
#include "core/error.h"
#include "core/image_io.h"
#include "core/npy.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Palette = std::vector<std::array<std::uint8_t, 3>>;

ColorOptions colors_for(TaskId task, const Palette& palette) {
  return {.palette = task == TaskId::kSemseg ? palette : Palette{}};
}

RawOutput raw_output(const Prediction::Output& output, const Model& model) {
  return {*find_task(output.task->name), output.task->channels, model.height(), model.width(), output.raw};
}

/// FILE with "_name" and "_task" before its extension where there are several.
fs::path numbered(const std::string& file, const std::string& name, bool many_inputs, const std::string& task,
                  bool many_tasks) {
  fs::path path(file);
  std::string stem = path.stem().string();
  if (many_inputs) stem += "_" + name;
  if (many_tasks) stem += "_" + task;
  return path.parent_path() / (stem + path.extension().string());
}

class FileSink : public FrameSink {
 public:
  FileSink(FileSinkOptions options, const Model& model, Palette palette)
      : options_(std::move(options)), model_(model), palette_(std::move(palette)) {
    if (options_.out.empty()) return;
    std::error_code problem;
    fs::create_directories(options_.out, problem);
    if (problem) throw Error{{.where = options_.out, .wanted = "a folder to write to", .found = problem.message()}};
  }

  void write(const Prediction& prediction) override {
    for (std::size_t i = 0; i < prediction.used; ++i) {
      const Prediction::Output& output = prediction.outputs[i];
      const std::vector<std::string> paths = write(prediction.frame, output);
      if (!options_.keep_frames) {
        for (const std::string& path : paths) std::cout << path << '\n';
        std::cout.flush();
        continue;
      }
      json entry{{"input", prediction.frame.input}, {"ms", output.milliseconds}, {"outputs", paths}};
      if (options_.many_tasks) entry["task"] = output.task->name;
      frames_.push_back(std::move(entry));
    }
  }
  json frames() override { return std::move(frames_); }

 private:
  std::vector<std::string> write(const Frame& frame, const Prediction::Output& output) const {
    std::vector<std::string> paths;
    const std::string& task = output.task->name;
    if (!options_.out.empty()) {
      const fs::path stem = fs::path(options_.out) / (frame.name + "_" + task);
      const RawOutput raw = raw_output(output, model_);
      const int height = options_.network_size ? model_.height() : frame.height;
      const int width = options_.network_size ? model_.width() : frame.width;
      const ColorOptions colors = colors_for(raw.task, palette_);
      for (const fs::path& path : write_prediction(raw, height, width, stem, colors, options_.durable)) {
        paths.push_back(path.string());
      }
      if (options_.routing_png && !output.routing.empty()) {
        const fs::path path = stem.string() + "_routing.png";
        const ImageU8 input =
            frame.image.empty() ? denormalise_rgb(frame.planes, model_.height(), model_.width()) : frame.image;
        write_png(path,
                  routing_picture(output.routing, input, model_.height() / model_.patch_size(),
                                  model_.width() / model_.patch_size()),
                  options_.durable);
        paths.push_back(path.string());
      }
    }
    if (!options_.raw.empty()) {
      const fs::path path = numbered(options_.raw, frame.name, options_.many_inputs, task, options_.many_tasks);
      write_npy(path, std::vector<std::int64_t>{output.task->channels, model_.height(), model_.width()}, output.raw);
      paths.push_back(path.string());
    }
    if (!options_.routing.empty()) {
      const fs::path path = numbered(options_.routing, frame.name, options_.many_inputs, task, options_.many_tasks);
      write_text_file(path, routing_json(output.routing, task).dump() + "\n");
      paths.push_back(path.string());
    }
    return paths;
  }

  FileSinkOptions options_;
  const Model& model_;
  Palette palette_;
  json frames_ = json::array();
};

class StreamSink : public FrameSink {
 public:
  StreamSink(int descriptor, StreamFormat format, bool network_size, const Model& model, Palette palette)
      : descriptor_(descriptor),
        format_(format),
        network_size_(network_size),
        model_(model),
        palette_(std::move(palette)) {}

  void write(const Prediction& prediction) override {
    const int height = network_size_ ? model_.height() : prediction.frame.height;
    const int width = network_size_ ? model_.width() : prediction.frame.width;
    for (std::size_t i = 0; i < prediction.used; ++i) {
      const RawOutput raw = raw_output(prediction.outputs[i], model_);
      switch (format_) {
        case StreamFormat::kRgb24:
          send(color_picture(raw, height, width, colors_for(raw.task, palette_)));
          break;
        case StreamFormat::kClasses:
          send(class_picture(raw, height, width));
          break;
        case StreamFormat::kF32:
          send(std::as_bytes(raw.values));
          break;
      }
    }
  }

 private:
  void send(const ImageU8& image) const { send(std::as_bytes(std::span(image.data))); }
  void send(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
      if (n >= 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(n));
      } else if (errno == EPIPE && interrupted()) {
        return;  // the reader was told to stop too
      } else if (errno != EINTR) {
        throw Error{{.where = "standard output", .wanted = "room for a frame", .found = std::strerror(errno)}};
      }
    }
  }

  int descriptor_;
  StreamFormat format_;
  bool network_size_;
  const Model& model_;
  Palette palette_;
};

}  // namespace

std::unique_ptr<FrameSink> file_sink(const FileSinkOptions& options, const Model& model, Palette palette) {
  return std::make_unique<FileSink>(options, model, std::move(palette));
}

std::unique_ptr<FrameSink> stream_sink(int descriptor, StreamFormat format, bool network_size, const Model& model,
                                       const std::vector<TaskInfo>& tasks, Palette palette) {
  for (const TaskInfo& task : tasks) {
    const LabelKind label = task_spec(*find_task(task.name)).label;
    if (format == StreamFormat::kClasses && label != LabelKind::kClassIndex && label != LabelKind::kBinary) {
      throw Error{{.where = "--format classes",
                   .field = task.name,
                   .wanted = "a task with classes (semseg, human_parts, edge, sal)",
                   .found = "one of real numbers",
                   .hint = "--format f32 or rgb24"}};
    }
  }
  return std::make_unique<StreamSink>(descriptor, format, network_size, model, std::move(palette));
}

}  // namespace m3vit::cli
