#pragma once
/// Shared by the model's tests: small configurations, comparison, temporary folders.
#include <torch/torch.h>

#include <filesystem>
#include <random>
#include <string>

#include "core/config.h"
#include "model/network.h"

namespace m3vit::testing_model {

/// 4 × 6 patches, 4 blocks of 16, 8 experts of 32 with top_k 2 (so top_k · expert_hidden is the dense MLP's width).
inline Config small_config() {
  Config c;
  c.model.image_size = {32, 48};
  c.model.patch_size = 8;
  c.model.embed_dim = 16;
  c.model.depth = 4;
  c.model.num_heads = 2;
  c.model.moe->num_experts = 8;
  c.model.moe->top_k = 2;
  c.model.moe->expert_hidden = 32;
  c.model.moe->gate_task_dim = 6;
  c.model.head = {.channels = 8, .stages = 3};
  c.tasks = {{.name = "semseg", .outputs = 5, .loss_weight = 1.0}, {.name = "depth", .outputs = 1, .loss_weight = 1.0}};
  return c;
}

/// max|got − want| / max|want|; NaN anywhere gives NaN, which passes no EXPECT_LE.
inline double relative_error(const torch::Tensor& got, const torch::Tensor& want) {
  const torch::Tensor g = got.detach().to(torch::kDouble), w = want.detach().to(torch::kDouble);
  return ((g - w).abs().max() / w.abs().max().clamp_min(1e-30)).item<double>();
}

/// Exchanges zero-initialised and tiny values for values that make every path count.
inline void randomise(torch::nn::Module& module, double scale) {
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& p : module.parameters()) p.normal_(0.0, scale);
}

class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() / ("m3vit-model-" + std::to_string(std::random_device{}()))) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace m3vit::testing_model
