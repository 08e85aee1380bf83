/// Frames of the generated set a second, with all labels, shadows and noise.
/// Run: build/release/bin/rooms_bench. The goal: 200 frames/s at 128×160 on two cores. `items_per_second` counts wall
/// time; on a busy machine `CPU` time a frame, times threads, says what two free cores would do.
#include <benchmark/benchmark.h>

#include "core/heap.h"
#include "data/rooms.h"

namespace m3vit {
namespace {

void rooms_frame(benchmark::State& state) {
  const Rooms rooms(
      {.height = static_cast<int>(state.range(0)), .width = static_cast<int>(state.range(1)), .frames = 1, .seed = 1});
  std::int64_t index = state.thread_index() * 1000000;
  for ([[maybe_unused]] auto _ : state) {
    Sample sample = rooms.get(index++);
    benchmark::DoNotOptimize(sample.image.data.data());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(rooms_frame)
    ->ArgNames({"height", "width"})
    ->Args({96, 128})
    ->Args({128, 160})
    ->Args({480, 640})
    ->Threads(1)
    ->Threads(2)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) {
  m3vit::keep_freed_memory();  // as the program does
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
