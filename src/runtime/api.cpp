// The public API (include/m3vit/m3vit.hpp) over the packed file and the engine: checks what callers hand in.
#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "m3vit/m3vit.hpp"
#include "runtime/engine.h"
#include "runtime/kernels/kernels.h"
#include "runtime/m3v.h"

namespace m3vit {

struct Model::Impl {
  explicit Impl(M3vFile opened) : file(std::move(opened)) {
    for (const int t : file.tasks()) {
      const TaskConfig& task = file.config().tasks[static_cast<std::size_t>(t)];
      tasks.push_back({task.name, task_outputs(task, file.where())});
    }
  }

  /// Index into tasks and file.tasks().
  std::size_t find(std::string_view name) const {
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (tasks[i].name == name) return i;
    }
    std::string names;
    for (const TaskInfo& task : tasks) names += (names.empty() ? "" : ", ") + task.name;
    throw Error{{.where = file.where(), .field = "task", .wanted = "one of " + names, .found = std::string(name)}};
  }
  std::size_t pixels() const {
    return static_cast<std::size_t>(file.config().model.height()) *
           static_cast<std::size_t>(file.config().model.width());
  }
  /// All weights, once for all sessions that may have them; null where a budget decides.
  std::shared_ptr<const ResidentWeights> shared_weights(const SessionOptions& options) const {
    const bool in_place = file.source() == nullptr || options.io == WeightIo::kMmap;
    if (!in_place && options.memory_budget != 0) return nullptr;
    const std::lock_guard lock(mutex);
    std::shared_ptr<const ResidentWeights>& weights = in_place ? mapped : read;
    if (weights == nullptr) {
      weights = std::make_shared<const ResidentWeights>(
          in_place ? ResidentWeights::in_place(file)
                   : ResidentWeights::read(file, std::vector<char>(file.sections().size(), 1), false));
    }
    return weights;
  }

  M3vFile file;
  std::vector<TaskInfo> tasks;
  mutable std::mutex mutex;
  mutable std::shared_ptr<const ResidentWeights> mapped, read;  ///< under mutex
};

struct Session::Impl {
  Impl(std::shared_ptr<const Model::Impl> m, const SessionOptions& options)
      : model(std::move(m)),
        engine(model->file, options, model->shared_weights(options)),
        mapped(options.io == WeightIo::kMmap),
        indices(model->tasks.size()),
        batch(static_cast<std::size_t>(options.batch)) {}

  /// Checks the output span; returns the task's index in the configuration.
  int check(std::string_view task, std::span<float> out) const {
    const std::size_t index = model->find(task);
    const std::size_t wanted = static_cast<std::size_t>(model->tasks[index].channels) * model->pixels();
    if (out.size() != wanted) fail("output of " + std::string(task), wanted, out.size());
    return model->file.tasks()[index];
  }
  /// The same for a class map.
  int check(std::string_view task, std::span<std::uint8_t> classes) const {
    constexpr int kMost = 256;  // values of a byte
    const std::size_t index = model->find(task);
    const int channels = model->tasks[index].channels;
    if (channels < 2 || channels > kMost) {
      throw Error{{.where = model->file.where(),
                   .field = "classes of " + std::string(task),
                   .wanted = "a task of 2 … " + std::to_string(kMost) + " channels",
                   .found = std::to_string(channels)}};
    }
    if (classes.size() != model->pixels()) {
      fail("classes of " + std::string(task), model->pixels(), classes.size(), "bytes");
    }
    return model->file.tasks()[index];
  }
  void check(const RgbView& image) const {
    const ModelConfig& m = model->file.config().model;
    if (image.data != nullptr && image.height == m.height() && image.width == m.width()) return;
    throw Error{{.where = model->file.where(),
                 .field = "image",
                 .wanted = std::to_string(m.height()) + " × " + std::to_string(m.width()) + " RGB",
                 .found = image.data == nullptr ? std::string("no pixels")
                                                : std::to_string(image.height) + " × " + std::to_string(image.width),
                 .hint = "resize it first"}};
  }
  void check(std::span<const float> planes) const {
    if (planes.size() != 3 * model->pixels()) fail("input planes", 3 * model->pixels(), planes.size());
  }
  /// The same for several tasks of `frames` frames. The span lives until the next call.
  std::span<const int> check(std::span<const std::string_view> tasks, std::size_t frames,
                             std::span<const std::span<float>> outs) {
    if (tasks.empty() || tasks.size() > indices.size() || tasks.size() * frames != outs.size()) {
      throw Error{{.where = model->file.where(),
                   .field = "tasks",
                   .wanted = "1 … " + std::to_string(indices.size()) + " tasks and an output for each" +
                             (frames == 1 ? "" : " and frame"),
                   .found = std::to_string(tasks.size()) + " tasks, " + std::to_string(outs.size()) + " outputs"}};
    }
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      for (std::size_t i = 0; i < frames; ++i) indices[t] = check(tasks[t], outs[t * frames + i]);
    }
    return std::span(indices).first(tasks.size());
  }
  static Engine::Frame frame(const RgbView& image) { return {image, nullptr, {}}; }
  static Engine::Frame frame(std::span<const float> planes) { return {{}, planes.data(), {}}; }
  static HeadOutput output(std::span<float> out) { return {out.data(), nullptr}; }
  static HeadOutput output(std::span<std::uint8_t> classes) { return {nullptr, classes.data()}; }
  void check_batch(std::size_t frames, std::size_t outs, bool good) const {
    if (good && frames >= 1 && frames <= batch.size()) return;
    throw Error{{.where = model->file.where(),
                 .field = "batch",
                 .wanted = "1 … " + std::to_string(batch.size()) + " frames and an output for each",
                 .found = std::to_string(frames) + " frames, " + std::to_string(outs) + " outputs"}};
  }
  template <class Input, class Out>
  void run(std::string_view task, std::span<const Input> inputs, std::span<const Out> outs) {
    check_batch(inputs.size(), outs.size(), inputs.size() == outs.size());
    int index = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      index = check(task, outs[i]);
      check(inputs[i]);
      batch[i] = frame(inputs[i]);
      batch[i].out = output(outs[i]);
    }
    engine.run(index, std::span(batch).first(inputs.size()));
  }
  template <class Input>
  void run_tasks(std::span<const std::string_view> tasks, std::span<const Input> inputs,
                 std::span<const std::span<float>> outs) {
    check_batch(inputs.size(), outs.size(), true);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      check(inputs[i]);
      batch[i] = frame(inputs[i]);
    }
    engine.run(check(tasks, inputs.size(), outs), std::span(batch).first(inputs.size()), outs);
  }
  template <class Input, class Out>
  void run_one(std::string_view task, const Input& input, const Out& out) {
    run(task, std::span<const Input>(&input, 1), std::span<const Out>(&out, 1));
  }
  [[noreturn]] void fail(std::string field, std::size_t wanted, std::size_t found, const char* unit = "floats") const {
    throw Error{{.where = model->file.where(),
                 .field = std::move(field),
                 .wanted = std::to_string(wanted) + " " + unit,
                 .found = std::to_string(found)}};
  }

  std::shared_ptr<const Model::Impl> model;
  Engine engine;
  bool mapped;
  std::vector<int> indices;          ///< room for one of each task
  std::vector<Engine::Frame> batch;  ///< room for the frames of one run
};

Model::Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Model Model::open(const std::filesystem::path& path) {
  return Model(std::make_shared<const Impl>(M3vFile::open(path)));
}

Model Model::from_bytes(std::vector<std::byte> bytes, const std::string& name) {
  return Model(std::make_shared<const Impl>(M3vFile::from_bytes(std::move(bytes), name)));
}

int Model::height() const { return impl_->file.config().model.height(); }
int Model::width() const { return impl_->file.config().model.width(); }
int Model::patch_size() const { return impl_->file.config().model.patch_size; }
const std::vector<TaskInfo>& Model::tasks() const { return impl_->tasks; }
std::string_view Model::dtype() const { return impl_->file.dtype(); }
std::string_view Model::config() const { return impl_->file.config_text(); }

std::size_t Model::output_size(std::string_view task) const {
  return static_cast<std::size_t>(impl_->tasks[impl_->find(task)].channels) * impl_->pixels();
}

Session Model::session(const SessionOptions& options) const {
  return Session(std::make_unique<Session::Impl>(impl_, options));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

void Session::run(std::string_view task, const RgbView& image, std::span<float> out) {
  impl_->run_one(task, image, out);
}
void Session::run(std::string_view task, std::span<const float> planes, std::span<float> out) {
  impl_->run_one(task, planes, out);
}
void Session::run_classes(std::string_view task, const RgbView& image, std::span<std::uint8_t> classes) {
  impl_->run_one(task, image, classes);
}
void Session::run_classes(std::string_view task, std::span<const float> planes, std::span<std::uint8_t> classes) {
  impl_->run_one(task, planes, classes);
}

void Session::run_batch(std::string_view task, std::span<const RgbView> images,
                        std::span<const std::span<float>> outs) {
  impl_->run(task, images, outs);
}
void Session::run_batch(std::string_view task, std::span<const std::span<const float>> planes,
                        std::span<const std::span<float>> outs) {
  impl_->run(task, planes, outs);
}
void Session::run_batch_classes(std::string_view task, std::span<const RgbView> images,
                                std::span<const std::span<std::uint8_t>> classes) {
  impl_->run(task, images, classes);
}

void Session::run(std::span<const std::string_view> tasks, const RgbView& image,
                  std::span<const std::span<float>> outs) {
  impl_->run_tasks(tasks, std::span<const RgbView>(&image, 1), outs);
}
void Session::run(std::span<const std::string_view> tasks, std::span<const float> planes,
                  std::span<const std::span<float>> outs) {
  impl_->run_tasks(tasks, std::span<const std::span<const float>>(&planes, 1), outs);
}
void Session::run_batch(std::span<const std::string_view> tasks, std::span<const RgbView> images,
                        std::span<const std::span<float>> outs) {
  impl_->run_tasks(tasks, images, outs);
}
void Session::run_batch(std::span<const std::string_view> tasks, std::span<const std::span<const float>> planes,
                        std::span<const std::span<float>> outs) {
  impl_->run_tasks(tasks, planes, outs);
}

const PhaseTimes& Session::times() const { return impl_->engine.times(); }
std::span<const double> Session::task_times() const { return impl_->engine.task_times(); }
const std::vector<RoutingMap>& Session::routing() const { return impl_->engine.routing(); }
MemoryPlan Session::memory() const {
  const MemoryLayout& layout = impl_->engine.layout();
  return {layout.frame.planner.arena_bytes(), layout.resident_bytes, layout.streamed_bytes, layout.stream_buffers,
          layout.smallest};
}
std::string_view Session::io() const {
  const std::string_view reader = impl_->engine.store().reader();
  return !reader.empty() ? reader : impl_->mapped ? "mmap" : "memory";
}
std::uint64_t Session::bytes_read() const { return impl_->engine.store().bytes_read(); }
std::string_view Session::isa() const { return impl_->engine.isa().name; }
int Session::threads() const { return impl_->engine.threads(); }

std::vector<std::string_view> isas() {
  std::vector<std::string_view> names;
  for (const Isa& isa : available_isas()) names.push_back(isa.name);
  return names;
}

}  // namespace m3vit
