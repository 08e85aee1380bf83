/// Speed of everything between a data set and a batch: the loader with augmentation, its single steps, and the check
/// of a folder at start.
/// Run: build/release/bin/loader_bench
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/image_io.h"
#include "core/rng.h"
#include "data/folder.h"
#include "data/loader.h"
#include "data/transforms.h"

namespace m3vit {
namespace {

constexpr int kHeight = 480;
constexpr int kWidth = 640;

/// One NYUD-sized frame in memory with labels of all tasks, copied at each `get`: the loader's own cost alone.
class InMemory final : public Dataset {
 public:
  InMemory() {
    info_.name = "memory";
    Rng rng(1);
    sample_.image = ImageU8(kHeight, kWidth, 3);
    for (auto& v : sample_.image.data) v = static_cast<std::uint8_t>(rng.below(256));
    for (const TaskSpec& t : kTasks) {
      info_.tasks.push_back(t.id);
      sample_.label(t.id) = ImageF32(kHeight, kWidth, t.label_channels);
      for (float& v : sample_.label(t.id).data) v = static_cast<float>(rng.below(2));
    }
  }
  const DatasetInfo& info() const override { return info_; }
  std::int64_t size() const override { return 64; }
  Sample get(std::int64_t) const override { return sample_; }

 private:
  DatasetInfo info_;
  Sample sample_;
};

const AugmentConfig kAuthors{.flip = 0.5, .rotate = 20, .scale = {0.75, 1.25}};

void loader_epoch(benchmark::State& state) {
  const InMemory data;
  LoaderOptions options;
  options.height = kHeight;
  options.width = kWidth;
  options.workers = static_cast<int>(state.range(0));
  options.augment = state.range(1) != 0 ? &kAuthors : nullptr;
  for (auto _ : state) {
    Loader loader(data, options);
    while (auto batch = loader.next()) benchmark::DoNotOptimize(batch->images.data());
  }
  state.SetItemsProcessed(state.iterations() * data.size());
}
BENCHMARK(loader_epoch)
    ->ArgNames({"workers", "augment"})
    ->ArgsProduct({{1, 2, 4}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void rotate_and_scale(benchmark::State& state) {
  const InMemory data;
  for (auto _ : state) {
    Sample s = data.get(0);
    rotate_scale(s, 10, 1.1, true);
    benchmark::DoNotOptimize(s.image.data.data());
  }
}
BENCHMARK(rotate_and_scale)->Unit(benchmark::kMillisecond);

void shrink(benchmark::State& state) {
  const InMemory data;
  for (auto _ : state) {
    Sample s = data.get(0);
    resize(s, 128, 160, true);
    benchmark::DoNotOptimize(s.image.data.data());
  }
}
BENCHMARK(shrink)->Unit(benchmark::kMillisecond);

/// 5000 images with two labels each, all links to the same three files, so that what is measured is look-ups and
/// headers, not the disk.
void folder_check(benchmark::State& state) {
  namespace fs = std::filesystem;
  const fs::path root = fs::temp_directory_path() / ("m3vit-loader-bench-" + std::to_string(::getpid()));
  for (const char* folder : {"images", "semseg", "depth", "splits"}) fs::create_directories(root / folder);
  write_png(root / "image", ImageU8(kHeight, kWidth, 3));
  write_png(root / "class", ImageU8(kHeight, kWidth, 1));
  write_png(root / "metres", ImageU16(kHeight, kWidth, 1, 1000));
  std::ofstream(root / "dataset.yaml") << "tasks: [semseg, depth]\nsemseg: {classes: [a, b]}\n";
  std::ofstream split(root / "splits" / "train.txt");
  constexpr int kFrames = 5000;
  for (int i = 0; i < kFrames; ++i) {
    const std::string id = std::to_string(100000 + i);
    split << id << "\n";
    fs::create_hard_link(root / "image", root / "images" / (id + ".png"));
    fs::create_hard_link(root / "class", root / "semseg" / (id + ".png"));
    fs::create_hard_link(root / "metres", root / "depth" / (id + ".png"));
  }
  split.close();
  for (auto _ : state) {
    const Folder folder(root, "train", 0);
    benchmark::DoNotOptimize(folder.size());
  }
  state.SetItemsProcessed(state.iterations() * kFrames);
  fs::remove_all(root);
}
BENCHMARK(folder_check)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace m3vit
