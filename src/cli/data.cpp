/// `m3vit data`: make rooms, and look at any data set.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "cli/commands.h"
#include "core/config_yaml.h"
#include "core/error.h"
#include "core/heap.h"
#include "core/image_io.h"
#include "core/progress.h"
#include "data/dataset.h"
#include "data/folder.h"
#include "data/frames.h"
#include "data/problems.h"
#include "data/rooms.h"
#include "data/statistics.h"
#include "eval/contact_sheet.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// As make_dataset's defaults, so that `data show rooms` shows what a recipe trains on.
constexpr std::uint64_t kTestSeedOffset = 1000002;

struct DataOptions {
  std::string source, out, tiles, size = "160x128", split, dataset;
  std::int64_t frames = -1, test_frames = -1;
  std::uint64_t seed = 1;
  int threads = 0, tile = 0;
  std::vector<std::string> sets, tasks;
};

int thread_count(const DataOptions& o) {
  return o.threads > 0 ? o.threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// "160x128": width × height.
std::array<int, 2> parse_size(const std::string& text) {
  const std::size_t x = text.find('x');
  const auto number = [](const std::string& s) -> std::optional<int> {
    if (s.empty() || s.size() > 5 || s.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    return std::stoi(s);
  };
  const auto width = number(text.substr(0, x));
  const auto height = x == std::string::npos ? std::nullopt : number(text.substr(x + 1));
  if (!width || !height) {
    throw Error{{.where = "--size", .field = "", .wanted = "WIDTHxHEIGHT, such as 160x128", .found = text}};
  }
  return {*height, *width};
}

Rooms open_rooms(const DataOptions& o, Split split, std::int64_t frames) {
  const auto [height, width] = parse_size(o.size);
  return Rooms({.height = height,
                .width = width,
                .frames = frames,
                .seed = split == Split::kTrain ? o.seed : o.seed + kTestSeedOffset});
}

/// What lies at a directory: --dataset, or what its contents say.
std::string kind_of(const DataOptions& o) { return o.dataset.empty() ? dataset_at(o.source) : o.dataset; }

std::vector<TaskId> chosen_tasks(const DataOptions& o) {
  std::vector<TaskId> tasks;
  for (const std::string& name : o.tasks) {
    const std::optional<TaskId> id = find_task(name);
    if (!id) throw Error{{.where = "--tasks", .field = "", .wanted = task_names(), .found = name}};
    tasks.push_back(*id);
  }
  return tasks;
}

/// One of a data set's lists or folders of frames, or all of them: train and test or val first.
std::vector<std::string> split_names(const DataOptions& o, const std::string& kind) {
  if (!o.split.empty()) return {o.split};
  if (kind == "nyud" || kind == "cityscapes") return {"train", "val"};
  const fs::path lists =
      kind == "pascal_context" ? fs::path(o.source) / "ImageSets" / "Context" : fs::path(o.source) / "splits";
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(lists, ignored)) {
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem().string());
  }
  const auto rank = [](const std::string& s) { return s == "train" ? 0 : s == "test" || s == "val" ? 1 : 2; };
  std::sort(names.begin(), names.end(),
            [&](const std::string& a, const std::string& b) { return std::pair(rank(a), a) < std::pair(rank(b), b); });
  if (names.empty()) names.emplace_back("train");  // its absence is then reported by name
  return names;
}

std::unique_ptr<Dataset> open_directory(const DataOptions& o, const std::string& kind, const std::string& split,
                                        bool deep) {
  const std::int64_t frames = std::max<std::int64_t>(o.frames, 0);
  if (kind == "folder") return std::make_unique<Folder>(o.source, split, frames, deep);
  return open_archive(kind, o.source, split, frames, chosen_tasks(o), deep);
}

struct NamedSet {
  std::string split;
  std::unique_ptr<Dataset> data;
};

/// `rooms`, a data set's directory, or a recipe: all of its splits, or the one asked for.
std::vector<NamedSet> open_source(const DataOptions& o) {
  std::vector<NamedSet> sets;
  const std::int64_t frames = std::max<std::int64_t>(o.frames, 0);
  if (fs::is_directory(o.source)) {
    const std::string kind = kind_of(o);
    for (const std::string& name : split_names(o, kind)) sets.push_back({name, open_directory(o, kind, name, false)});
    return sets;
  }
  if (!o.split.empty() && o.split != "train" && o.split != "test") {
    throw Error{{.where = "--split", .field = "", .wanted = "train or test", .found = o.split}};
  }
  std::optional<Config> config;
  if (o.source != "rooms") config = load_config(o.source, o.sets);
  for (const Split split : {Split::kTrain, Split::kTest}) {
    const std::string name = split == Split::kTrain ? "train" : "test";
    if (!o.split.empty() && o.split != name) continue;
    if (config) {
      SplitConfig& chosen = split == Split::kTrain ? config->data.train : config->data.test;
      if (frames > 0) chosen.frames = frames;
      sets.push_back({name, make_dataset(*config, split)});
    } else {
      sets.push_back({name, std::make_unique<Rooms>(open_rooms(o, split, frames > 0 ? frames : 200))});
    }
  }
  return sets;
}

// ---------------------------------------------------------------------------------------------------------- make

/// Removes what an unfinished `make` has written, unless told that it is finished.
class PartialFolder {
 public:
  explicit PartialFolder(fs::path root) : root_(std::move(root)) {
    std::error_code ignored;
    if (fs::exists(root_) && (!fs::is_directory(root_) || !fs::is_empty(root_))) {
      throw Error{{.where = root_.string(),
                   .field = "--out",
                   .wanted = "a new or empty directory",
                   .found = fs::is_directory(root_) ? "a directory with files in it" : "a file",
                   .hint = "nothing was changed"}};
    }
    existed_ = fs::exists(root_, ignored);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;
  ~PartialFolder() {
    if (complete_) return;
    std::error_code ignored;
    if (!existed_) {
      fs::remove_all(root_, ignored);
      return;
    }
    for (const auto& entry : fs::directory_iterator(root_, ignored)) fs::remove_all(entry.path(), ignored);
  }
  void keep() { complete_ = true; }

 private:
  fs::path root_;
  bool existed_ = false, complete_ = false;
};

void run_make(const DataOptions& o, Globals& globals) {
  const std::int64_t counts[2] = {o.frames < 0 ? 1000 : o.frames, o.test_frames < 0 ? 200 : o.test_frames};
  if (counts[0] + counts[1] < 1) {
    throw Error{{.where = "--frames", .field = "", .wanted = "at least one frame in all", .found = "0"}};
  }
  const Rooms train = open_rooms(o, Split::kTrain, std::max<std::int64_t>(counts[0], 1));
  const Rooms test = open_rooms(o, Split::kTest, std::max<std::int64_t>(counts[1], 1));
  PartialFolder partial(o.out);
  FolderWriter writer(o.out, train.info());
  const auto start = std::chrono::steady_clock::now();
  {
    Progress progress("rooms", counts[0] + counts[1], "frames");
    std::int64_t done = 0;
    const auto write = [&](const Rooms& rooms, std::int64_t count, Split split) {
      for_each_frame(rooms, count, thread_count(o), [&](std::int64_t, const Sample& sample) {
        writer.add(sample, split);
        progress.update(++done);
        return !interrupted();
      });
    };
    write(train, counts[0], Split::kTrain);
    if (!interrupted()) write(test, counts[1], Split::kTest);
  }
  if (interrupted()) {
    std::cerr << "m3vit: stopped; the unfinished " << o.out << " is removed\n";
    globals.exit_code = 1;
    return;
  }
  writer.finish();
  partial.keep();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (globals.json) {
    std::cout << json{{"root", o.out}, {"train", counts[0]}, {"test", counts[1]}, {"seconds", seconds}}.dump(2) << '\n';
  } else if (!globals.quiet) {
    std::cerr << fmt::format("{}: {} training and {} test frames of {} in {:.1f} s\n", o.out, counts[0], counts[1],
                             o.size, seconds);
  }
}

// --------------------------------------------------------------------------------------------------------- stats

std::string percent(std::int64_t part, std::int64_t whole) {
  return fmt::format("{:.1f} %", whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
}

void print_classes(const TaskStatistics& t, const std::vector<std::string>& names, std::int64_t frames) {
  std::size_t width = 0;
  for (const std::string& n : names) width = std::max(width, n.size());
  std::int64_t most = 1;
  for (const ClassCount& c : t.classes) most = std::max(most, c.pixels);
  for (std::size_t c = 0; c < t.classes.size(); ++c) {
    const auto bar =
        static_cast<std::size_t>(30.0 * static_cast<double>(t.classes[c].pixels) / static_cast<double>(most) + 0.5);
    std::cout << fmt::format("    {:>3} {:<{}} {:>8} of pixels {:>8} of frames  {}\n", c,
                             c < names.size() ? names[c] : "", width, percent(t.classes[c].pixels, t.labelled),
                             percent(t.classes[c].frames, frames), std::string(bar, '#'));
  }
}

void print_statistics(const std::string& split, const DatasetInfo& info, const Statistics& s) {
  std::cout << fmt::format("{} / {}: {} frames", info.name, split, s.frames());
  if (s.frames() == 0) {
    std::cout << '\n';
    return;
  }
  std::cout << fmt::format(", {}x{}", s.smallest()[1], s.smallest()[0]);
  if (s.largest() != s.smallest()) std::cout << fmt::format(" to {}x{}", s.largest()[1], s.largest()[0]);
  std::cout << fmt::format("\n  colour mean {:.3f} {:.3f} {:.3f}, std {:.3f} {:.3f} {:.3f}\n", s.mean(0), s.mean(1),
                           s.mean(2), s.deviation(0), s.deviation(1), s.deviation(2));
  for (const TaskSpec& spec : kTasks) {
    const TaskStatistics& t = s.task(spec.id);
    if (t.frames == 0) continue;
    std::cout << fmt::format("  {:<12} in {} of frames, {} of their pixels labelled", spec.name,
                             percent(t.frames, s.frames()), percent(t.labelled, t.pixels));
    if (spec.label == LabelKind::kBinary) std::cout << fmt::format(", {} positive", percent(t.positive, t.labelled));
    if (spec.label == LabelKind::kDepth) {
      std::cout << fmt::format("\n    metres: min {:.2f}, 5 % {:.2f}, median {:.2f}, 95 % {:.2f}, max {:.2f}",
                               s.depth_min(), s.depth_quantile(0.05), s.depth_quantile(0.5), s.depth_quantile(0.95),
                               s.depth_max());
    }
    std::cout << '\n';
    if (spec.label == LabelKind::kClassIndex) {
      print_classes(t, info.classes[static_cast<std::size_t>(spec.id)], t.frames);
    }
  }
}

void run_stats(const DataOptions& o, Globals& globals) {
  json out = json::object();
  for (const NamedSet& set : open_source(o)) {
    Statistics statistics(set.data->info());
    {
      Progress progress(set.split, set.data->size(), "frames");
      for_each_frame(*set.data, set.data->size(), thread_count(o), [&](std::int64_t i, const Sample& sample) {
        statistics.add(sample);
        progress.update(i + 1);
        return !interrupted();
      });
    }
    if (interrupted()) {
      globals.exit_code = 1;
      return;
    }
    out["name"] = set.data->info().name;
    out["splits"][set.split] = statistics.to_json();
    if (!globals.json) print_statistics(set.split, set.data->info(), statistics);
  }
  if (globals.json) std::cout << out.dump(2) << '\n';
}

// ---------------------------------------------------------------------------------------------------------- show

void run_show(DataOptions o, Globals& globals) {
  if (o.split.empty()) {
    const bool archive = fs::is_directory(o.source) && kind_of(o) != "folder";
    o.split = archive ? "val" : "test";
  }
  if (o.frames < 1) o.frames = 8;
  const std::vector<NamedSet> sets = open_source(o);
  const Dataset& data = *sets.front().data;
  const DatasetInfo& info = data.info();
  std::error_code ignored;  // write_png names a folder that is not there
  if (!o.tiles.empty()) fs::create_directories(o.tiles, ignored);
  std::vector<std::vector<Tile>> rows;
  const std::int64_t count = std::min(o.frames, data.size());
  for_each_frame(data, count, thread_count(o), [&](std::int64_t, const Sample& sample) {
    std::vector<Tile> row{{sample.image, sample.id}};
    for (const TaskId t : info.tasks) {
      ColorOptions colors;
      if (t == TaskId::kSemseg) colors.palette = info.semseg_colors;
      const ImageF32& label = sample.label(t);
      row.push_back({label.empty() ? ImageU8{} : color_label(t, label, colors), std::string(task_spec(t).name)});
    }
    if (!o.tiles.empty()) {
      for (std::size_t i = 1; i < row.size(); ++i) {
        if (row[i].image.empty()) continue;
        write_png(fs::path(o.tiles) / (sample.id + "_" + row[i].caption + ".png"), row[i].image);
      }
    }
    rows.push_back(std::move(row));
    return !interrupted();
  });
  if (interrupted()) {
    globals.exit_code = 1;
    return;
  }
  const int tile = o.tile > 0 ? o.tile : std::clamp(rows.front().front().image.width, 160, 320);
  write_png(o.out, contact_sheet(rows, tile));
  if (globals.json) {
    std::cout << json{{"file", o.out}, {"frames", count}, {"split", o.split}}.dump(2) << '\n';
  } else if (!globals.quiet) {
    std::cerr << fmt::format("{}: {} frames of {} / {}\n", o.out, count, info.name, o.split);
  }
}

// --------------------------------------------------------------------------------------------------------- check

/// Frames that the authors of multi-task work report, for the splits of the whole archives.
std::optional<std::int64_t> published_frames(const std::string& kind, const std::string& split) {
  struct Known {
    const char *kind, *split;
    std::int64_t frames;
  };
  constexpr Known kKnown[] = {
      {"nyud", "train", 795}, {"nyud", "val", 654}, {"pascal_context", "train", 4998}, {"pascal_context", "val", 5105}};
  for (const Known& k : kKnown) {
    if (k.kind == kind && k.split == split) return k.frames;
  }
  return std::nullopt;
}

json problem_json(const std::string& split, const Error& error) {
  const Error::Parts& p = error.parts();
  return {{"split", split},     {"file", p.where},  {"field", p.field},
          {"wanted", p.wanted}, {"found", p.found}, {"text", error.what()}};
}

void run_check(const DataOptions& o, Globals& globals) {
  if (!fs::is_directory(o.source)) {
    throw Error{{.where = o.source,
                 .field = "",
                 .wanted = "the root directory of a data set",
                 .found = fs::exists(o.source) ? "a file" : "nothing",
                 .hint = "docs/own-data.md and docs/datasets.md show the trees"}};
  }
  const std::string kind = kind_of(o);
  json splits = json::object();
  json problems = json::array();
  for (const std::string& name : split_names(o, kind)) {
    try {
      const auto set = open_directory(o, kind, name, /*deep=*/true);
      splits[name] = set->size();
      if (globals.json || globals.quiet) continue;
      std::cout << fmt::format("{}: {} frames, no problem", name, set->size());
      const auto published = published_frames(kind, name);
      if (published && *published != set->size()) std::cout << fmt::format(" (the whole archive has {})", *published);
      std::cout << '\n';
    } catch (const ProblemsError& e) {
      splits[name] = nullptr;
      for (const Error::Parts& parts : e.problems.list()) problems.push_back(problem_json(name, Error(parts)));
      if (globals.json) continue;
      std::cout << fmt::format("{}: {} problem{}\n", name, e.problems.count(), e.problems.count() == 1 ? "" : "s");
      for (const Error::Parts& parts : e.problems.list()) std::cout << "  " << Error(parts).what() << '\n';
    } catch (const Error& e) {
      splits[name] = nullptr;
      problems.push_back(problem_json(name, e));
      if (!globals.json) std::cout << name << ": " << e.what() << '\n';
    }
    if (interrupted()) break;
  }
  if (globals.json) {
    std::cout << json{{"ok", problems.empty()}, {"dataset", kind}, {"splits", splits}, {"problems", problems}}.dump(2)
              << '\n';
  }
  if (!problems.empty()) globals.exit_code = 2;
  if (interrupted()) globals.exit_code = 1;
}

}  // namespace

void add_data(CLI::App& app, Globals& globals) {
  CLI::App* data = app.add_subcommand("data", "make rooms; look at any data set");
  data->require_subcommand(1);
  data->fallthrough();
  data->footer(
      "Examples:\n"
      "  m3vit data make --out rooms --frames 2000 --test-frames 200 --size 160x128\n"
      "  m3vit data show rooms --out sheet.png          (the generated set itself)\n"
      "  m3vit data show my_data --out sheet.png --split train --frames 12\n"
      "  m3vit data stats configs/rooms/micro_m3vit.yaml\n"
      "  m3vit data check my_data\n"
      "  m3vit data check NYUD_MT --dataset nyud");
  const auto options = std::make_shared<DataOptions>();
  DataOptions& o = *options;
  const auto common = [&](CLI::App* sub) {
    sub->fallthrough();
    sub->add_option("--threads", o.threads, "threads that make or read frames (default: all cores)")
        ->check(CLI::Range(1, 1024));
  };
  const auto directory = [&](CLI::App* sub) {
    sub->add_option("--dataset", o.dataset, "what the directory holds (default: told by its contents)")
        ->check(CLI::IsMember({"folder", "nyud", "pascal_context", "cityscapes"}));
    sub->add_option("--tasks", o.tasks, "published archives: only these labels, comma-separated")->delimiter(',');
  };
  const auto source = [&](CLI::App* sub) {
    sub->add_option("SOURCE", o.source, "directory of a data set, a recipe (.yaml), or the word rooms")->required();
    directory(sub);
    sub->add_option("--split", o.split, "train, test (val in published archives), or a data set's own split");
    sub->add_option("--frames", o.frames, "only the first so many")->check(CLI::PositiveNumber);
    sub->add_option("--size", o.size, "rooms: WIDTHxHEIGHT")->capture_default_str();
    sub->add_option("--seed", o.seed, "rooms: seed of the training scenes")->capture_default_str();
    sub->add_option("--set", o.sets, "recipe: override a value, KEY=VALUE");
  };

  CLI::App* make = data->add_subcommand("make", "write generated rooms as a `folder` data set");
  make->add_option("--out", o.out, "directory to create; must be new or empty")->required();
  make->add_option("--frames", o.frames, "training frames (default 1000)")->check(CLI::NonNegativeNumber);
  make->add_option("--test-frames", o.test_frames, "test frames, of other scenes (default 200)")
      ->check(CLI::NonNegativeNumber);
  make->add_option("--size", o.size, "WIDTHxHEIGHT in pixels, 16 to 4096 a side")->capture_default_str();
  make->add_option("--seed", o.seed, "same seed, same frames")->capture_default_str();
  common(make);
  make->footer(
      "Examples:\n"
      "  m3vit data make --out rooms\n"
      "  m3vit data make --out big --frames 500 --test-frames 50 --size 640x480 --seed 7");
  make->callback([options, &globals] {
    keep_freed_memory();
    run_make(*options, globals);
  });

  CLI::App* stats = data->add_subcommand("stats", "counts, label coverage, class histogram, depth range");
  source(stats);
  common(stats);
  stats->footer(
      "Examples:\n"
      "  m3vit data stats my_data\n"
      "  m3vit data stats rooms --frames 100 --json");
  stats->callback([options, &globals] {
    keep_freed_memory();
    run_stats(*options, globals);
  });

  CLI::App* show = data->add_subcommand("show", "contact sheet (PNG) of images and every label");
  source(show);
  common(show);
  show->add_option("--out", o.out, "PNG to write")->required();
  show->add_option("--tiles", o.tiles, "folder for each coloured label alone, ID_TASK.png")->type_name("DIR");
  show->add_option("--tile", o.tile, "width of a picture in the sheet, pixels")->check(CLI::Range(16, 2048));
  show->footer(
      "Examples:\n"
      "  m3vit data show rooms --out sheet.png --frames 8\n"
      "  m3vit data show configs/rooms/micro_m3vit.yaml --out sheet.png --split train");
  show->callback([options, &globals] { run_show(*options, globals); });

  CLI::App* check = data->add_subcommand("check", "read every file of a data set and list all problems");
  check->add_option("ROOT", o.source, "root of the data set")->required();
  directory(check);
  check->add_option("--split", o.split, "only this split");
  check->fallthrough();
  check->footer(
      "Examples:\n"
      "  m3vit data check my_data\n"
      "  m3vit data check NYUD_MT --dataset nyud --tasks semseg,depth\n"
      "  m3vit data check PASCAL_MT --dataset pascal_context --json");
  check->callback([options, &globals] { run_check(*options, globals); });
}

}  // namespace m3vit::cli
