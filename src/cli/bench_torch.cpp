#include "cli/bench_torch.h"

#include <utility>

#include "model/network.h"
#include "model/weights.h"
#include "train/threads.h"

namespace m3vit::cli {
namespace {

class Rival : public TorchRival {
 public:
  Rival(const Config& config, const TensorSource& source, int task, bool bf16, std::vector<float> planes)
      : task_(task), type_(bf16 ? torch::kBFloat16 : torch::kFloat), network_(make_network(inference(config))) {
    const torch::NoGradGuard no_grad;
    for (auto& [name, tensor] : named_tensors(*network_)) {
      std::vector<float> values = source(name);
      torch::Tensor to = tensor;
      to.copy_(torch::from_blob(values.data(), to.sizes()));
    }
    network_->eval();
    network_->to(type_);
    image_ = torch::from_blob(planes.data(), {1, 3, config.model.height(), config.model.width()}).to(type_).clone();
  }

  const std::vector<float>& run() override {
    const torch::NoGradGuard no_grad;
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
  torch::Dtype type_;
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
