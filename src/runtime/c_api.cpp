// The C ABI (include/m3vit/m3vit.h) over the C++ API: checks pointers and sizes, turns exceptions into a status.
#include <algorithm>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/version.h"
#include "m3vit/m3vit.h"
#include "m3vit/m3vit.hpp"

struct m3vit_model {
  m3vit_model(m3vit::Model opened, std::string file)
      : model(std::move(opened)), name(std::move(file)), dtype(model.dtype()), config(model.config()) {}
  m3vit::Model model;
  std::string name, dtype, config;
};

struct m3vit_session {
  m3vit_session(m3vit::Model of, m3vit::Session made, std::size_t batch)
      : model(std::move(of)), session(std::move(made)), isa(session.isa()), io(session.io()), most(batch) {
    names.reserve(model.tasks().size());
    outs.reserve(std::max(model.tasks().size(), most));
    pictures.reserve(most);
    classes.reserve(most);
  }
  m3vit::Model model;
  m3vit::Session session;
  std::string isa, io;
  std::size_t most;  ///< pictures of a batch
  // Of run_tasks and run_batch; reserved, so that a run allocates nothing.
  std::vector<std::string_view> names;
  std::vector<m3vit::RgbView> pictures;
  std::vector<std::span<float>> outs;
  std::vector<std::span<std::uint8_t>> classes;
};

namespace m3vit {
namespace {

/// Long enough for every message but those that list many tasks; a longer one is cut.
thread_local char last_error[1024] = "";

void remember(std::string_view text) noexcept {
  std::size_t n = std::min(text.size(), sizeof last_error - 1);
  if (n < text.size()) {
    while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0U) == 0x80U) --n;  // not amid a UTF-8 character
  }
  std::memcpy(last_error, text.data(), n);
  last_error[n] = '\0';
}

[[noreturn]] void refuse(std::string where, std::string wanted, std::string found) {
  throw Error{{.where = std::move(where), .wanted = std::move(wanted), .found = std::move(found)}};
}

/// Runs `f`. An Error is `status`, but one that lies in the file of that name is the file's.
template <class F>
m3vit_status guarded(m3vit_status status, const F& f, const std::string& file = {}) noexcept {
  try {
    f();
    return M3VIT_OK;
  } catch (const Error& e) {
    remember(e.what());
    const Error::Parts& p = e.parts();
    if (p.where == "memory plan" || p.field == "memory budget" || p.field == "io uring") return M3VIT_ERROR_RESOURCE;
    return !file.empty() && p.where == file ? M3VIT_ERROR_FILE : status;
  } catch (const std::bad_alloc&) {
    remember("m3vit: not enough memory");
    return M3VIT_ERROR_RESOURCE;
  } catch (const std::system_error& e) {  // a thread that could not be started
    remember(e.what());
    return M3VIT_ERROR_RESOURCE;
  } catch (const std::exception& e) {
    remember(e.what());
    return M3VIT_ERROR_INTERNAL;
  } catch (...) {
    remember("m3vit: unknown exception");
    return M3VIT_ERROR_INTERNAL;
  }
}

template <class T>
void need(const T* pointer, const char* name) {
  if (pointer == nullptr) refuse(name, "a pointer", "NULL");
}

/// What the caller's structure says, as this library knows it: members it lacks are 0.
template <class T>
T read_struct(const T* from, const char* name) {
  need(from, name);
  std::size_t size = 0;
  std::memcpy(&size, from, sizeof size);
  if (size < sizeof size)
    refuse(std::string(name) + ".size", "the structure's size (M3VIT_…_INIT)", std::to_string(size));
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  for (std::size_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) refuse(name, "members that this library knows", "a newer one that is set");
  }
  T known{};
  std::memcpy(&known, from, std::min(size, sizeof(T)));
  known.size = sizeof(T);
  return known;
}

/// Fills as much of the caller's structure as it has; members this library does not know become 0.
template <class T>
void write_struct(T* to, const char* name, T value) {
  need(to, name);
  std::size_t size = 0;
  std::memcpy(&size, to, sizeof size);
  if (size < sizeof size)
    refuse(std::string(name) + ".size", "the structure's size (M3VIT_…_INIT)", std::to_string(size));
  value.size = size;
  std::memcpy(to, &value, std::min(size, sizeof(T)));
  if (size > sizeof(T)) std::memset(reinterpret_cast<unsigned char*>(to) + sizeof(T), 0, size - sizeof(T));
}

SessionOptions options_of(const m3vit_session_options* given) {
  SessionOptions options;
  if (given == nullptr) return options;
  const m3vit_session_options o = read_struct(given, "options");
  if (o.schedule < M3VIT_SCHEDULE_EXPERT_ORDER || o.schedule > M3VIT_SCHEDULE_DENSE)
    refuse("options.schedule", "M3VIT_SCHEDULE_…", std::to_string(o.schedule));
  if (o.head_form < M3VIT_HEAD_AUTO || o.head_form > M3VIT_HEAD_COMMUTED)
    refuse("options.head_form", "M3VIT_HEAD_…", std::to_string(o.head_form));
  if (o.io < M3VIT_IO_AUTO || o.io > M3VIT_IO_MMAP) refuse("options.io", "M3VIT_IO_…", std::to_string(o.io));
  options.threads = o.threads;
  options.io = static_cast<WeightIo>(o.io);
  options.memory_budget = static_cast<std::size_t>(o.memory_budget);
  options.schedule = static_cast<MoeSchedule>(o.schedule);
  options.isa = o.isa == nullptr ? "" : o.isa;
  options.keep_routing = o.keep_routing != 0;
  options.keep_times = o.keep_times != 0;
  options.head_form = static_cast<HeadForm>(o.head_form);
  options.share_prefix = o.share_prefix != 0;
  options.batch = o.batch == 0 ? 1 : o.batch;
  return options;
}

std::size_t pixels(const m3vit_session* s) {
  return static_cast<std::size_t>(s->model.height()) * static_cast<std::size_t>(s->model.width());
}

// What every run asks of its caller; the rest of its errors are the file's.

std::span<float> check_out(const m3vit_session* s, const char* task, float* out, std::size_t floats) {
  need(task, "task");
  need(out, "out");
  const std::size_t wanted = s->model.output_size(task);
  if (floats != wanted)
    refuse(std::string("output of ") + task, std::to_string(wanted) + " floats", std::to_string(floats));
  return {out, floats};
}

std::span<std::uint8_t> check_out(const m3vit_session* s, const char* task, std::uint8_t* classes, std::size_t bytes) {
  need(task, "task");
  need(classes, "classes");
  const std::size_t channels = s->model.output_size(task) / pixels(s);
  if (channels < 2 || channels > 256)
    refuse(std::string("classes of ") + task, "a task of 2 … 256 channels", std::to_string(channels));
  if (bytes != pixels(s))
    refuse(std::string("classes of ") + task, std::to_string(pixels(s)) + " bytes", std::to_string(bytes));
  return {classes, bytes};
}

std::span<const float> check_planes(const m3vit_session* s, const float* planes, std::size_t floats) {
  need(planes, "planes");
  if (floats != 3 * pixels(s)) refuse("planes", std::to_string(3 * pixels(s)) + " floats", std::to_string(floats));
  return {planes, floats};
}

RgbView check_picture(const m3vit_session* s, const m3vit_rgb* picture) {
  const m3vit_rgb p = read_struct(picture, "picture");
  need(p.data, "picture.data");
  if (p.height != s->model.height() || p.width != s->model.width()) {
    refuse("picture", std::to_string(s->model.height()) + " × " + std::to_string(s->model.width()) + " RGB",
           std::to_string(p.height) + " × " + std::to_string(p.width));
  }
  return {p.data, p.height, p.width, p.row_bytes};
}

/// First what the caller can get wrong, then the run.
template <class Check, class Run>
m3vit_status checked_run(const Check& check, const Run& run) noexcept {
  const m3vit_status status = guarded(M3VIT_ERROR_ARGUMENT, check);
  return status == M3VIT_OK ? guarded(M3VIT_ERROR_FILE, run) : status;
}

void run_into(Session& session, const char* task, const auto& input, std::span<float> out) {
  session.run(task, input, out);
}
void run_into(Session& session, const char* task, const auto& input, std::span<std::uint8_t> classes) {
  session.run_classes(task, input, classes);
}

/// One task of one frame. `input()` checks what the caller gave and returns a view of it.
template <class Element>
m3vit_status run_one(m3vit_session* session, const char* task, Element* out, std::size_t size,
                     const auto& input) noexcept {
  decltype(input()) view{};
  std::span<Element> to;
  return checked_run(
      [&] {
        need(session, "session");
        to = check_out(session, task, out, size);
        view = input();
      },
      [&] { run_into(session->session, task, view, to); });
}

void run_batch_into(m3vit_session& s, const char* task, const std::vector<std::span<float>>& outs) {
  s.session.run_batch(task, s.pictures, outs);
}
void run_batch_into(m3vit_session& s, const char* task, const std::vector<std::span<std::uint8_t>>& classes) {
  s.session.run_batch_classes(task, s.pictures, classes);
}

/// One task of several frames, by way of the session's list of outputs.
template <class Element>
m3vit_status run_several(m3vit_session* session, const char* task, const m3vit_rgb* const* pictures, std::size_t count,
                         Element* const* outs, std::size_t size,
                         std::vector<std::span<Element>> m3vit_session::*list) noexcept {
  return checked_run(
      [&] {
        need(session, "session");
        need(pictures, "pictures");
        need(outs, "outs");
        if (count == 0 || count > session->most)
          refuse("count", "1 … " + std::to_string(session->most) + " (options.batch)", std::to_string(count));
        session->pictures.clear();
        (session->*list).clear();
        for (std::size_t i = 0; i < count; ++i) {
          (session->*list).push_back(check_out(session, task, outs[i], size));
          session->pictures.push_back(check_picture(session, pictures[i]));
        }
      },
      [&] { run_batch_into(*session, task, session->*list); });
}

m3vit_status open_into(m3vit_model** model, const char* name, const char* what, auto open) noexcept {
  const m3vit_status status = guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(model, "model");
    *model = nullptr;
    need(name, what);
  });
  if (status != M3VIT_OK) return status;
  return guarded(M3VIT_ERROR_FILE, [&] { *model = new m3vit_model(open(), name); });
}

const std::vector<std::string>& isa_names() {
  static const std::vector<std::string> names = [] {
    const std::vector<std::string_view> all = isas();
    return std::vector<std::string>(all.begin(), all.end());
  }();
  return names;
}

}  // namespace
}  // namespace m3vit

using m3vit::guarded;
using m3vit::need;
using m3vit::refuse;

extern "C" {

int32_t m3vit_abi_version(void) { return M3VIT_ABI_VERSION; }
const char* m3vit_version(void) { return m3vit::kVersion.data(); }
const char* m3vit_last_error(void) { return m3vit::last_error; }

size_t m3vit_isa_count(void) {
  size_t count = 0;
  guarded(M3VIT_ERROR_INTERNAL, [&] { count = m3vit::isa_names().size(); });
  return count;
}

const char* m3vit_isa_name(size_t index) {
  const char* name = nullptr;
  guarded(M3VIT_ERROR_INTERNAL, [&] {
    const std::vector<std::string>& names = m3vit::isa_names();
    if (index < names.size()) name = names[index].c_str();
  });
  return name;
}

m3vit_status m3vit_model_open(const char* path, m3vit_model** model) {
  return m3vit::open_into(model, path, "path", [&] { return m3vit::Model::open(path); });
}

m3vit_status m3vit_model_open_memory(const void* bytes, size_t size, const char* name, m3vit_model** model) {
  return m3vit::open_into(model, bytes == nullptr ? nullptr : name, bytes == nullptr ? "bytes" : "name", [&] {
    const auto* begin = static_cast<const std::byte*>(bytes);
    return m3vit::Model::from_bytes({begin, begin + size}, name);
  });
}

void m3vit_model_close(m3vit_model* model) { delete model; }

int32_t m3vit_model_height(const m3vit_model* model) { return model == nullptr ? 0 : model->model.height(); }
int32_t m3vit_model_width(const m3vit_model* model) { return model == nullptr ? 0 : model->model.width(); }
int32_t m3vit_model_patch_size(const m3vit_model* model) { return model == nullptr ? 0 : model->model.patch_size(); }
const char* m3vit_model_dtype(const m3vit_model* model) { return model == nullptr ? "" : model->dtype.c_str(); }
const char* m3vit_model_config(const m3vit_model* model) { return model == nullptr ? "" : model->config.c_str(); }
size_t m3vit_model_task_count(const m3vit_model* model) { return model == nullptr ? 0 : model->model.tasks().size(); }

m3vit_status m3vit_model_task(const m3vit_model* model, size_t index, m3vit_task_info* info) {
  return guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(model, "model");
    const std::vector<m3vit::TaskInfo>& tasks = model->model.tasks();
    if (index >= tasks.size()) refuse("task index", "below " + std::to_string(tasks.size()), std::to_string(index));
    const m3vit::TaskInfo& task = tasks[index];
    m3vit::write_struct(info, "info", {0, task.name.c_str(), model->model.output_size(task.name), task.channels, 0});
  });
}

m3vit_status m3vit_model_output_floats(const m3vit_model* model, const char* task, size_t* floats) {
  return guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(model, "model");
    need(task, "task");
    need(floats, "floats");
    *floats = model->model.output_size(task);
  });
}

m3vit_status m3vit_session_create(const m3vit_model* model, const m3vit_session_options* options,
                                  m3vit_session** session) {
  const m3vit_status status = guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(session, "session");
    *session = nullptr;
    need(model, "model");
  });
  if (status != M3VIT_OK) return status;
  return guarded(
      M3VIT_ERROR_ARGUMENT,
      [&] {
        const m3vit::SessionOptions wanted = m3vit::options_of(options);
        *session =
            new m3vit_session(model->model, model->model.session(wanted), static_cast<std::size_t>(wanted.batch));
      },
      model->name);
}

void m3vit_session_destroy(m3vit_session* session) { delete session; }

m3vit_status m3vit_session_run(m3vit_session* session, const char* task, const m3vit_rgb* picture, float* out,
                               size_t out_floats) {
  return m3vit::run_one(session, task, out, out_floats, [&] { return m3vit::check_picture(session, picture); });
}

m3vit_status m3vit_session_run_planes(m3vit_session* session, const char* task, const float* planes,
                                      size_t plane_floats, float* out, size_t out_floats) {
  return m3vit::run_one(session, task, out, out_floats,
                        [&] { return m3vit::check_planes(session, planes, plane_floats); });
}

m3vit_status m3vit_session_run_classes(m3vit_session* session, const char* task, const m3vit_rgb* picture,
                                       uint8_t* classes, size_t bytes) {
  return m3vit::run_one(session, task, classes, bytes, [&] { return m3vit::check_picture(session, picture); });
}

m3vit_status m3vit_session_run_classes_planes(m3vit_session* session, const char* task, const float* planes,
                                              size_t plane_floats, uint8_t* classes, size_t bytes) {
  return m3vit::run_one(session, task, classes, bytes,
                        [&] { return m3vit::check_planes(session, planes, plane_floats); });
}

m3vit_status m3vit_session_run_batch(m3vit_session* session, const char* task, const m3vit_rgb* const* pictures,
                                     size_t count, float* const* outs, size_t out_floats) {
  return m3vit::run_several(session, task, pictures, count, outs, out_floats, &m3vit_session::outs);
}

m3vit_status m3vit_session_run_batch_classes(m3vit_session* session, const char* task, const m3vit_rgb* const* pictures,
                                             size_t count, uint8_t* const* classes, size_t bytes) {
  return m3vit::run_several(session, task, pictures, count, classes, bytes, &m3vit_session::classes);
}

m3vit_status m3vit_session_run_tasks(m3vit_session* session, const char* const* tasks, size_t count,
                                     const m3vit_rgb* picture, float* const* outs, const size_t* out_floats) {
  m3vit::RgbView view;
  return m3vit::checked_run(
      [&] {
        need(session, "session");
        need(tasks, "tasks");
        need(outs, "outs");
        need(out_floats, "out_floats");
        const size_t most = session->model.tasks().size();
        if (count == 0 || count > most) refuse("tasks", "1 … " + std::to_string(most), std::to_string(count));
        session->names.clear();
        session->outs.clear();
        for (size_t i = 0; i < count; ++i) {
          session->outs.push_back(m3vit::check_out(session, tasks[i], outs[i], out_floats[i]));
          session->names.emplace_back(tasks[i]);
        }
        view = m3vit::check_picture(session, picture);
      },
      [&] { session->session.run(session->names, view, session->outs); });
}

size_t m3vit_session_routing_count(const m3vit_session* session) {
  return session == nullptr ? 0 : session->session.routing().size();
}

m3vit_status m3vit_session_routing(const m3vit_session* session, size_t index, m3vit_routing* routing) {
  return guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(session, "session");
    const std::vector<m3vit::RoutingMap>& maps = session->session.routing();
    if (index >= maps.size())
      refuse("routing index", "below " + std::to_string(maps.size()) + " (keep_routing)", std::to_string(index));
    const m3vit::RoutingMap& map = maps[index];
    m3vit::write_struct(routing, "routing",
                        {0, map.experts.data(), map.weights.data(), map.block, map.tokens, map.top_k, 0});
  });
}

m3vit_status m3vit_session_times(const m3vit_session* session, m3vit_times* times) {
  return guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(session, "session");
    const m3vit::PhaseTimes& t = session->session.times();
    m3vit::write_struct(times, "times",
                        {0, t.input, t.embed, t.attention, t.dense_mlp, t.router, t.experts, t.head, t.total()});
  });
}

m3vit_status m3vit_session_memory(const m3vit_session* session, m3vit_memory* memory) {
  return guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(session, "session");
    const m3vit::MemoryPlan plan = session->session.memory();
    m3vit::write_struct(memory, "memory",
                        {0, plan.arena, plan.weights, plan.total(), plan.streamed, plan.stream_buffers, plan.smallest});
  });
}

m3vit_status m3vit_session_task_times(const m3vit_session* session, const double** seconds, size_t* count) {
  return guarded(M3VIT_ERROR_ARGUMENT, [&] {
    need(session, "session");
    need(seconds, "seconds");
    need(count, "count");
    const std::span<const double> times = session->session.task_times();
    *seconds = times.empty() ? nullptr : times.data();
    *count = times.size();
  });
}

const char* m3vit_session_io(const m3vit_session* session) { return session == nullptr ? "" : session->io.c_str(); }
uint64_t m3vit_session_bytes_read(const m3vit_session* session) {
  return session == nullptr ? 0 : session->session.bytes_read();
}
const char* m3vit_session_isa(const m3vit_session* session) { return session == nullptr ? "" : session->isa.c_str(); }
int32_t m3vit_session_threads(const m3vit_session* session) {
  return session == nullptr ? 0 : session->session.threads();
}

}  // extern "C"
