#include "cli/bench_torch.h"

#include <string>
#include <utility>

#include "model/network.h"
#include "model/weights.h"
#include "train/autocast.h"
#include "train/threads.h"

namespace m3vit::cli {
namespace {

/// Tensors of the layers that autocast runs in bf16; rounded once here, it has nothing to convert in a frame.
bool multiplies(const std::string& name) {
  for (const char* const other : {"norm", "syncbn", "w_gate", "cls_token", "pos_embed", "gate_task_represent"}) {
    if (name.find(other) != std::string::npos) return false;
  }
  return true;
}

class Rival : public TorchRival {
 public:
  Rival(const Config& config, const TensorSource& source, int task, bool bf16, std::vector<float> planes)
      : task_(task), bf16_(bf16), network_(make_network(inference(config))) {
    const torch::NoGradGuard no_grad;
    for (auto& [name, tensor] : named_tensors(*network_)) {
      std::vector<float> values = source(name);
      torch::Tensor to = tensor;
      to.copy_(torch::from_blob(values.data(), to.sizes()));
      if (bf16_ && multiplies(name)) to.set_data(to.to(torch::kBFloat16));
    }
    network_->eval();
    image_ = torch::from_blob(planes.data(), {1, 3, config.model.height(), config.model.width()}).clone();
  }

  const std::vector<float>& run() override {
    const torch::NoGradGuard no_grad;
    const Autocast autocast(bf16_, torch::kCPU);
    const torch::Tensor raw = network_->forward_task(image_, task_).raw.to(torch::kFloat).contiguous();
    raw_.assign(raw.data_ptr<float>(), raw.data_ptr<float>() + raw.numel());
    return raw_;
  }

 private:
  static Config inference(Config config) {
    config.model.tam = false;
    return config;
  }

  int task_;
  bool bf16_;
  std::shared_ptr<NetworkImpl> network_;
  torch::Tensor image_;
  std::vector<float> raw_;
};

}  // namespace

std::shared_ptr<TorchRival> torch_rival(const Config& config, const TensorSource& source, int task, bool bf16,
                                        int threads, std::vector<float> planes) {
  set_threads(threads);
  return std::make_shared<Rival>(config, source, task, bf16, std::move(planes));
}

}  // namespace m3vit::cli
