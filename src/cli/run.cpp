/// `m3vit run`: one task, or several, of a model on pictures or a stream of raw frames.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/frame_sink.h"
#include "cli/frame_source.h"
#include "cli/memory_report.h"
#include "cli/process_memory.h"
#include "cli/run_pipeline.h"
#include "cli/runtime_model.h"
#include "core/config.h"
#include "core/error.h"
#include "data/rooms.h"

namespace m3vit::cli {
namespace {

using nlohmann::json;

const std::map<std::string, StreamFormat> kFormats{
    {"rgb24", StreamFormat::kRgb24}, {"classes", StreamFormat::kClasses}, {"f32", StreamFormat::kF32}};
// As core/image_io.h's largest picture.
constexpr std::int64_t kMostPixels = std::int64_t{1} << 28;

const std::map<std::string, WeightIo> kWeightIo{
    {"auto", WeightIo::kAuto}, {"uring", WeightIo::kUring}, {"pread", WeightIo::kPread}, {"mmap", WeightIo::kMmap}};

struct RunOptions {
  std::string model, out, raw, routing, isa;
  std::vector<std::string> inputs, tasks, task_schedule;
  std::string size, output_size = "original";
  std::string format;
  std::string schedule = "expert_order";
  int threads = 0;
  std::string io = "auto";
  std::size_t memory = 0;
  int batch = 1;
  bool routing_png = false;

  bool from_pipe() const { return inputs.size() == 1 && inputs[0] == "-"; }
  bool to_pipe() const { return out == "-"; }
};

/// "640x480" → {480, 640}.
std::pair<int, int> parse_frame_size(const std::string& text) {
  int width = 0;
  int height = 0;
  const char* const end = text.data() + text.size();
  const auto [x, problem] = std::from_chars(text.data(), end, width);
  const bool good = problem == std::errc{} && x != end && *x == 'x' && width > 0;
  const auto rest = good ? std::from_chars(x + 1, end, height) : std::from_chars_result{end, std::errc{}};
  if (!good || rest.ec != std::errc{} || rest.ptr != end || height <= 0 || std::int64_t{width} * height > kMostPixels) {
    throw Error{{.where = "--size",
                 .wanted = "WIDTHxHEIGHT of the raw frames, as 640x480",
                 .found = text.empty() ? "none" : "\"" + text + "\""}};
  }
  return {height, width};
}

/// What does not depend on the model's content.
void check_usage(const RunOptions& options, const Globals& globals) {
  const auto need = [](bool good, std::string where, std::string wanted, std::string found) {
    if (!good) throw Error{{.where = std::move(where), .wanted = std::move(wanted), .found = std::move(found)}};
  };
  need(!options.out.empty() || !options.raw.empty() || !options.routing.empty(), "m3vit run",
       "--out DIR, --raw FILE or --routing FILE", "none of them");
  need(options.tasks.empty() != options.task_schedule.empty(), "m3vit run",
       "--task (all of them for each frame) or --task-schedule (one a frame, in turn)",
       options.tasks.empty() ? "neither" : "both");
  need(!options.routing_png || (!options.out.empty() && !options.to_pipe()), "--routing-png", "--out DIR beside it",
       options.to_pipe() ? "--out -" : "none");
  need(options.batch == 1 || options.task_schedule.empty(), "--batch", "--task: frames together have the same tasks",
       "--task-schedule");
  need(options.batch == 1 || (!options.routing_png && options.routing.empty()), "--batch",
       "one frame at a time for routing maps", options.routing_png ? "--routing-png" : "--routing");
  const bool dash = std::find(options.inputs.begin(), options.inputs.end(), "-") != options.inputs.end();
  need(!dash || options.from_pipe(), "INPUT", "- (raw frames from standard input) alone, or files", "both");
  need(options.to_pipe() || options.format.empty(), "--format", "--out - beside it",
       options.out.empty() ? "none" : "--out " + options.out);
  if (options.from_pipe()) {
    parse_frame_size(options.size);
  } else {
    need(options.size.empty() || options.size == "original" || options.size == "network", "--size",
         "original or network (WIDTHxHEIGHT is for raw frames: INPUT -)", options.size);
  }
  if (options.to_pipe()) {
    need(options.raw.empty() && options.routing.empty(), "--out -", "frames on standard output only",
         options.raw.empty() ? "--routing" : "--raw");
    need(!globals.json, "--json", "standard output for the document", "--out -");
  }
}

std::vector<TaskInfo> choose_tasks(const Model& model, const RunOptions& options) {
  std::vector<TaskInfo> chosen;
  const bool turns = options.tasks.empty();
  for (const std::string& name : turns ? options.task_schedule : options.tasks) {
    for (const TaskInfo& task : model.tasks()) {
      const bool already =
          !turns && std::any_of(chosen.begin(), chosen.end(), [&](const TaskInfo& c) { return c.name == task.name; });
      if ((name == task.name || name == "all") && !already) chosen.push_back(task);
    }
    if (name != "all") model.output_size(name);  // throws for an unknown one, listing the model's
  }
  return chosen;
}

void report_json(const RunOptions& options, const RunReport& report, const Model& model, const Session& session,
                 const std::vector<TaskInfo>& tasks, json frames, std::size_t measured) {
  json document{{"frames", std::move(frames)},
                {"latency_ms", report.latencies.to_json()},
                {"fps", report.seconds > 0 ? static_cast<double>(report.frames) / report.seconds : 0.0},
                {"peak_bytes", {{"planned", session.memory().total()}, {"measured", measured}}},
                {"memory", memory_json(session.memory(), session.io())},
                {"bytes_read", session.bytes_read()},
                {"isa", session.isa()},
                {"dtype", model.dtype()},
                {"threads", session.threads()},
                {"schedule", options.schedule},
                {"batch", options.batch}};
  if (!options.task_schedule.empty()) document["task_schedule"] = options.task_schedule;
  if (tasks.size() == 1) {
    document["task"] = tasks[0].name;
  } else {
    for (const TaskInfo& task : tasks) document["tasks"].push_back(task.name);
  }
  std::cout << document.dump() << '\n';
}

void run(const RunOptions& options, Globals& globals) {
  check_usage(options, globals);
  const PeakMemory peak;
  std::vector<std::string> wanted = options.tasks.empty() ? options.task_schedule : options.tasks;
  if (std::find(wanted.begin(), wanted.end(), "all") != wanted.end()) wanted.clear();
  const Model model = open_runtime_model(options.model, wanted);
  RunPlan plan{.tasks = choose_tasks(model, options),
               .schedule = !options.task_schedule.empty(),
               .routing = options.routing_png || !options.routing.empty(),
               .batch = options.batch};
  std::unique_ptr<FrameSource> source;
  if (options.from_pipe()) {
    const auto [height, width] = parse_frame_size(options.size);
    source = open_raw(STDIN_FILENO, height, width, model);
  } else {
    source = open_files(options.inputs, model);
  }
  const bool several = !plan.schedule && plan.tasks.size() > 1;
  Session session = model.session({.threads = options.threads,
                                   .schedule = kMoeSchedules.at(options.schedule),
                                   .isa = options.isa,
                                   .keep_routing = plan.routing,
                                   .share_prefix = several && !plan.routing,
                                   .keep_times = true,
                                   .memory_budget = options.memory,
                                   .io = kWeightIo.at(options.io),
                                   .batch = options.batch});
  if (!globals.json && !globals.quiet) std::cerr << memory_text(session.memory(), session.io()) << '\n';
  // The classes of rooms have their own colours; a folder's are not in the model.
  std::vector<std::array<std::uint8_t, 3>> palette;
  if (config_from_text(std::string(model.config()), "model").data.dataset == "rooms") {
    palette = Rooms({}).info().semseg_colors;
  }
  const bool network_size = options.output_size == "network" || options.size == "network";
  std::unique_ptr<FrameSink> sink;
  if (options.to_pipe()) {
    const StreamFormat format = options.format.empty() ? StreamFormat::kRgb24 : kFormats.at(options.format);
    sink = stream_sink(STDOUT_FILENO, format, network_size, model, plan.tasks, palette);
  } else {
    sink = file_sink({.out = options.out,
                      .raw = options.raw,
                      .routing = options.routing,
                      .routing_png = options.routing_png,
                      .network_size = network_size,
                      .keep_frames = globals.json,
                      .many_inputs = source->total() != 1,
                      .many_tasks = plan.tasks.size() > 1,
                      .durable = !options.from_pipe()},
                     model, palette);
  }

  const RunReport report = run_frames(*source, session, model, plan, *sink);
  if (report.interrupted) {
    const std::int64_t total = source->total();
    std::cerr << fmt::format("m3vit: interrupted after {} {}frames\n", report.frames,
                             total > 0 ? fmt::format("of {} ", total) : std::string());
    if (total > 0 && report.frames < total) globals.exit_code = 1;  // a stream has no end to miss
  }
  if (globals.json) {
    report_json(options, report, model, session, plan.tasks, sink->frames(), peak.bytes());
  } else if (!globals.quiet) {
    constexpr double kMiB = 1024.0 * 1024.0;
    std::cerr << report.latencies.table()
              << fmt::format("{} frames in {:.2f} s: {:.2f} frames/s, {} on {} threads; memory {:.1f} MiB planned\n",
                             report.frames, report.seconds, static_cast<double>(report.frames) / report.seconds,
                             session.isa(), session.threads(), static_cast<double>(session.memory().total()) / kMiB);
  }
}

}  // namespace

void add_run(CLI::App& app, Globals& globals) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "run one task (or several) of a model on pictures or raw video");
  command->add_option("MODEL", options->model, "a .m3v, or a .safetensors (packed on the fly)")->required();
  command
      ->add_option("INPUT", options->inputs,
                   "pictures, folders of them, .npy planes [3, H, W], or - for raw RGB frames from standard input")
      ->required();
  command->add_option("-t,--task", options->tasks, "a task of the model, several (a,b) for each frame, or all")
      ->allow_extra_args(false)
      ->delimiter(',');
  command
      ->add_option("--task-schedule", options->task_schedule,
                   "one task a frame, in turn: semseg,depth,depth and from the start again")
      ->allow_extra_args(false)
      ->delimiter(',');
  command->add_option("-o,--out", options->out,
                      "folder for INPUT_TASK.png (coloured) and INPUT_TASK_map.png (values), or - for raw frames on "
                      "standard output");
  command->add_option("--raw", options->raw,
                      "the head's output [C, H, W] as .npy; with several frames _INPUT and _TASK join the name");
  command->add_option("--routing", options->routing, "which experts each token went to, as JSON (names as --raw)");
  command->add_flag("--routing-png", options->routing_png, "the same as a picture: INPUT_TASK_routing.png");
  command->add_option("--size", options->size, "with INPUT -: WIDTHxHEIGHT of the raw frames; else as --output-size");
  command->add_option("--output-size", options->output_size, "of the pictures: the input's, or the network's")
      ->check(CLI::IsMember({"original", "network"}))
      ->capture_default_str();
  command
      ->add_option("--format", options->format,
                   "with --out -: rgb24 (coloured), classes (one byte a pixel) or f32 (the head's [C, H, W])")
      ->check(CLI::IsMember({"rgb24", "classes", "f32"}));
  command->add_option("--threads", options->threads, "0: all cores")->check(CLI::Range(0, 1024))->capture_default_str();
  add_memory_option(*command, options->memory);
  command
      ->add_option("--batch", options->batch,
                   "frames that go through the network together: weights are read once for all of them, each waits for "
                   "the last")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--io", options->io, "how weights come from the file")
      ->check(CLI::IsMember(kWeightIo))
      ->capture_default_str();
  command->add_option("--schedule", options->schedule, "how MoE layers walk their work; results are the same")
      ->check(CLI::IsMember(kMoeSchedules))
      ->capture_default_str();
  std::string names;
  for (const std::string_view isa : isas()) names += (names.empty() ? "" : ", ") + std::string(isa);
  command->add_option("--isa", options->isa, "instruction set (here: " + names + "); default: the first")
      ->envname("M3VIT_ISA");
  command->footer(
      "Examples:\n"
      "  m3vit run model.m3v --task depth photo.jpg --out pictures\n"
      "  m3vit run model.safetensors --task all photos/ --out pictures --routing-png\n"
      "  m3vit run model.m3v --task semseg photo.png --raw logits.npy --json\n"
      "  m3vit run model.m3v --task depth photos/ --out pictures --memory 16MiB --batch 4\n"
      "  ffmpeg -i film.mp4 -f rawvideo -pix_fmt rgb24 - | m3vit run model.m3v - --size 1280x720 \\\n"
      "      --task depth --out - | ffplay -f rawvideo -pixel_format rgb24 -video_size 1280x720 -\n");
  command->callback([options, &globals] { run(*options, globals); });
}

}  // namespace m3vit::cli
