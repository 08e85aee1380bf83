#include "train/predictor.h"

#include "core/error.h"
#include "train/step.h"

namespace m3vit {

Predictor make_predictor(NetworkImpl& network, const Config& config, torch::Device device) {
  struct Cache {
    const Batch* batch = nullptr;
    std::vector<std::string> ids;
    torch::Tensor prefix;
  };
  return [&network, names = config.tasks, device, cache = std::make_shared<Cache>()](const Batch& batch,
                                                                                     const TaskConfig& task) {
    const torch::NoGradGuard no_grad;
    network.eval();
    int index = -1;
    for (std::size_t t = 0; t < names.size(); ++t) {
      if (names[t].name == task.name) index = static_cast<int>(t);
    }
    if (index < 0) {
      throw Error{{.where = "model", .field = "tasks", .wanted = "a task of this model", .found = task.name}};
    }
    if (cache->batch != &batch || cache->ids != batch.ids) {
      const torch::Tensor images =
          torch::from_blob(const_cast<float*>(batch.images.data()), {batch.size, 3, batch.height, batch.width})
              .to(device);
      *cache = {&batch, batch.ids, network.prefix(images)};
    }
    const torch::Tensor raw = network.task_pass(cache->prefix, index).raw.to(torch::kCPU, torch::kFloat).contiguous();
    return std::vector<float>(raw.data_ptr<float>(), raw.data_ptr<float>() + raw.numel());
  };
}

}  // namespace m3vit
