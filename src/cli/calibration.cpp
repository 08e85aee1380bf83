#include "cli/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include "core/error.h"
#include "core/image_io.h"
#include "data/dataset.h"

namespace m3vit::cli {
namespace {

namespace fs = std::filesystem;

std::vector<float> planes(const ImageU8& image, const ModelConfig& m) {
  std::vector<float> out(static_cast<std::size_t>(3) * static_cast<std::size_t>(m.height()) *
                         static_cast<std::size_t>(m.width()));
  normalise_rgb(resize_rgb(image, m.height(), m.width()), out);
  return out;
}

Precision higher(Precision p) { return p == Precision::kInt8 ? Precision::kBf16 : Precision::kF32; }

}  // namespace

std::vector<std::vector<float>> calibration_frames(const Config& config, const std::string& source, int count) {
  std::vector<std::vector<float>> frames;
  if (source == "rooms") {
    Config rooms = config;
    rooms.data = DataConfig{};
    rooms.data.train.frames = count;
    const std::unique_ptr<Dataset> dataset = make_dataset(rooms, Split::kTrain);
    for (std::int64_t i = 0; i < count; ++i) frames.push_back(planes(dataset->get(i).image, config.model));
    return frames;
  }
  if (!fs::is_directory(source)) {
    throw Error{{.where = "--calibrate", .field = {}, .wanted = "rooms, or a folder of pictures", .found = source}};
  }
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(source)) {
    const fs::path extension = entry.path().extension();
    if (entry.is_regular_file() && (extension == ".jpg" || extension == ".jpeg" || extension == ".png")) {
      files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    throw Error{{.where = source, .field = {}, .wanted = "a folder with .jpg or .png files", .found = "none"}};
  }
  std::sort(files.begin(), files.end());
  files.resize(std::min(files.size(), static_cast<std::size_t>(count)));
  for (const fs::path& file : files) frames.push_back(planes(read_rgb(file), config.model));
  return frames;
}

Calibration::Calibration(const Config& config, TensorSource source, PackOptions options,
                         std::vector<std::vector<float>> frames, int threads)
    : config_(config),
      source_(std::move(source)),
      options_(std::move(options)),
      frames_(std::move(frames)),
      threads_(threads) {
  PackOptions exact = options_;
  exact.dtype = Precision::kF32;
  exact.layers.clear();
  const Model model = Model::from_bytes(pack_model(config_, source_, exact, "f32"), "f32");
  Session session = model.session({.threads = threads_});
  for (const TaskInfo& task : model.tasks()) tasks_.push_back(task.name);
  for (const std::vector<float>& frame : frames_) {
    std::vector<std::vector<float>>& outputs = want_.emplace_back();
    for (const std::string& task : tasks_) {
      outputs.emplace_back(model.output_size(task));
      session.run(task, frame, outputs.back());
    }
  }
}

Loss Calibration::measure(const std::map<std::string, Precision>& layers) { return measure(options_.dtype, layers); }

Loss Calibration::measure(Precision dtype, const std::map<std::string, Precision>& layers) {
  PackOptions options = options_;
  options.dtype = dtype;
  options.layers = layers;
  const Model model = Model::from_bytes(pack_model(config_, source_, options, "calibration"), "calibration");
  Session session = model.session({.threads = threads_});
  Loss loss;
  for (std::size_t t = 0; t < tasks_.size(); ++t) {
    double difference = 0.0;
    double scale = 0.0;
    std::vector<float> got(model.output_size(tasks_[t]));
    for (std::size_t f = 0; f < frames_.size(); ++f) {
      session.run(tasks_[t], frames_[f], got);
      const std::vector<float>& want = want_[f][t];
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double d = double{got[i]} - double{want[i]};
        difference += d * d;
        scale += double{want[i]} * double{want[i]};
      }
    }
    loss[tasks_[t]] = difference == 0.0 ? 0.0 : std::sqrt(difference / scale);
  }
  return loss;
}

const std::map<std::string, Loss>& Calibration::by_layer(const std::function<void(const std::string&)>& done) {
  if (!by_layer_.empty()) return by_layer_;
  std::vector<int> tasks;
  for (const std::string& task : tasks_) tasks.push_back(*config_.task_index(task));
  for (const std::string& layer : layer_names(config_, tasks)) {
    const auto set = options_.layers.find(layer);
    const Precision precision = set != options_.layers.end()                             ? set->second
                                : layer == "embed" && options_.dtype == Precision::kInt8 ? Precision::kBf16
                                                                                         : options_.dtype;
    by_layer_[layer] = measure(Precision::kF32, {{layer, precision}});
    done(layer);
  }
  return by_layer_;
}

std::map<std::string, Precision> Calibration::fallback(double most) {
  const auto& costs = by_layer([](const std::string&) {});
  std::map<std::string, Precision> layers = options_.layers;
  Loss now = measure(layers);
  const auto within = [&] {
    return std::all_of(now.begin(), now.end(), [&](const auto& task) { return task.second <= most; });
  };
  std::map<std::string, double> squares;  // estimated, by task
  while (!within()) {
    for (const auto& [task, loss] : now) squares[task] = loss * loss;
    bool moved = false;
    do {
      // The layer that costs the tasks above the bound most.
      std::string worst;
      double worst_cost = 0.0;
      for (const auto& [layer, cost] : costs) {
        if (layers.contains(layer) || layer == "embed") continue;
        double sum = 0.0;
        for (const auto& [task, square] : squares) {
          if (square > most * most) sum += cost.at(task) * cost.at(task) / square;
        }
        if (sum > worst_cost) {
          worst_cost = sum;
          worst = layer;
        }
      }
      if (worst.empty()) break;
      layers[worst] = higher(options_.dtype);
      for (auto& [task, square] : squares) square -= costs.at(worst).at(task) * costs.at(worst).at(task);
      moved = true;
    } while (std::any_of(squares.begin(), squares.end(), [&](const auto& s) { return s.second > most * most; }));
    if (!moved) {
      const auto largest =
          std::max_element(now.begin(), now.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
      throw Error{{.where = "--max-loss",
                   .field = {},
                   .wanted = fmt::format("at least {:.3g}, what {} loses with every layer in {}", largest->second,
                                         largest->first, precision_name(higher(options_.dtype))),
                   .found = fmt::format("{:.3g}", most)}};
    }
    now = measure(layers);
  }
  return layers;
}

}  // namespace m3vit::cli
