/// One training step of a recipe over all its tasks, `joint` against `one_by_one`: milliseconds (A B B A order, medians
/// and the ratio of paired runs) and the peak resident memory of a process that makes such steps. JSON on stdout. The
/// loader is left out: it has its own bench.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/config_yaml.h"
#include "core/error.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "timing.h"
#include "train/optimizer.h"
#include "train/step.h"
#include "train/threads.h"

namespace m3vit {
namespace {

using timing::median;

/// Network, optimizer and one batch of a recipe.
class Stepper {
 public:
  explicit Stepper(Config config) : config_(std::move(config)) {
    const std::unique_ptr<Dataset> data = make_dataset(config_, Split::kTrain);
    resolve_outputs(config_, data->info(), "step_bench");
    torch::manual_seed(1);
    network_ = make_network(config_);
    network_->train();
    optimizer_ = make_optimizer(*network_, config_.train);
    LoaderOptions loading;
    loading.height = config_.model.height();
    loading.width = config_.model.width();
    loading.batch_size = config_.train.batch_size;
    loading.prefetch = 1;
    Loader loader(*data, loading);
    batch_ = *loader.next();
  }
  double seconds(TaskMode mode) {
    config_.train.mode = mode;
    const auto start = std::chrono::steady_clock::now();
    optimizer_->zero_grad();
    forward_backward(*network_, config_, to_tensors(batch_, torch::kCPU), {});
    optimizer_->step();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  Config config_;
  std::shared_ptr<NetworkImpl> network_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  Batch batch_;
};

/// Peak resident bytes of a child that makes three steps.
std::int64_t peak_bytes(const Config& config, TaskMode mode) {
  const pid_t child = fork();
  if (child == 0) {
    set_threads(config.train.threads);
    Stepper stepper(config);
    for (int i = 0; i < 3; ++i) stepper.seconds(mode);
    _exit(0);
  }
  int status = 0;
  struct rusage usage {};
  if (wait4(child, &status, 0, &usage) != child || status != 0) return -1;
  return usage.ru_maxrss * std::int64_t{1024};
}

int run(int argc, char** argv) {
  CLI::App app{"training step, joint against one_by_one"};
  std::string recipe = M3VIT_SOURCE_DIR "/configs/rooms/micro_m3vit.yaml";
  std::vector<std::string> overrides;
  int pairs = 7;
  app.add_option("CONFIG", recipe)->capture_default_str();
  app.add_option("--set", overrides);
  app.add_option("--pairs", pairs)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const Config config = load_config(recipe, overrides);
  // Children first: a process with OpenMP threads must not fork.
  const std::int64_t joint_bytes = peak_bytes(config, TaskMode::kJoint);
  const std::int64_t one_bytes = peak_bytes(config, TaskMode::kOneByOne);
  const int threads = set_threads(config.train.threads);
  Stepper stepper(config);
  stepper.seconds(TaskMode::kJoint);
  stepper.seconds(TaskMode::kOneByOne);
  std::vector<double> joint, one, ratio;
  for (int i = 0; i < pairs; ++i) {
    const bool first = i % 2 == 0;
    const double a = stepper.seconds(first ? TaskMode::kJoint : TaskMode::kOneByOne);
    const double b = stepper.seconds(first ? TaskMode::kOneByOne : TaskMode::kJoint);
    joint.push_back(first ? a : b);
    one.push_back(first ? b : a);
    ratio.push_back(one.back() / joint.back());
  }
  fmt::print(stderr, "joint {:.0f} ms, one_by_one {:.0f} ms (ratio {:.3f}); peak {:.0f} and {:.0f} MiB; {}\n",
             1e3 * median(joint), 1e3 * median(one), median(ratio), static_cast<double>(joint_bytes) / 1048576.0,
             static_cast<double>(one_bytes) / 1048576.0, describe_threads(threads));
  std::cout << nlohmann::json{{"recipe", recipe},
                              {"batch_size", config.train.batch_size},
                              {"threads", threads},
                              {"joint_ms", 1e3 * median(joint)},
                              {"one_by_one_ms", 1e3 * median(one)},
                              {"ratio", median(ratio)},
                              {"joint_peak_bytes", joint_bytes},
                              {"one_by_one_peak_bytes", one_bytes},
                              {"frames_per_s", config.train.batch_size / median(joint)}}
                   .dump(1)
            << '\n';
  return 0;
}

}  // namespace
}  // namespace m3vit

int main(int argc, char** argv) {
  try {
    m3vit::wait_passively();
    return m3vit::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "step_bench: " << e.what() << '\n';
    return 1;
  }
}
