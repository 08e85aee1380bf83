#include "train/gradient_conflict.h"

#include <algorithm>
#include <cmath>

namespace m3vit {

std::string layer_of(const std::string& parameter) {
  static constexpr std::string_view kBlocks = ".blocks.";
  const std::size_t blocks = parameter.find(kBlocks);
  if (blocks != std::string::npos) {
    // "backbone.blocks.3.mlp.experts.htoh4.weight" → "backbone.blocks.3.mlp"
    const std::size_t part = parameter.find('.', blocks + kBlocks.size());
    return parameter.substr(0, part == std::string::npos ? part : parameter.find('.', part + 1));
  }
  const std::size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? parameter : parameter.substr(0, dot);
}

std::vector<bool> shared_parameters(const std::vector<TaskGradient>& gradients) {
  std::vector<bool> shared(gradients.empty() ? 0 : gradients.front().size());
  for (std::size_t p = 0; p < shared.size(); ++p) {
    shared[p] =
        std::count_if(gradients.begin(), gradients.end(), [&](const TaskGradient& g) { return g[p].defined(); }) >= 2;
  }
  return shared;
}

std::vector<LayerConflict> measure_conflict(const std::vector<std::string>& names,
                                            const std::vector<TaskGradient>& gradients) {
  const std::vector<bool> shared = shared_parameters(gradients);
  const auto tasks = static_cast<Eigen::Index>(gradients.size());
  std::vector<LayerConflict> layers;
  for (std::size_t p = 0; p < names.size(); ++p) {
    if (!shared[p]) continue;
    const std::string layer = layer_of(names[p]);
    auto found = std::find_if(layers.begin(), layers.end(), [&](const LayerConflict& l) { return l.layer == layer; });
    if (found == layers.end()) {
      found = layers.insert(layers.end(), {layer, 0, Eigen::MatrixXd::Zero(tasks, tasks)});
    }
    torch::Tensor any;
    for (const TaskGradient& g : gradients) any = g[p].defined() ? g[p] : any;
    found->params += any.numel();
    std::vector<torch::Tensor> rows;
    for (const TaskGradient& g : gradients) {
      rows.push_back((g[p].defined() ? g[p] : torch::zeros_like(any)).flatten().to(torch::kFloat));
    }
    const torch::Tensor flat = torch::stack(rows);
    const torch::Tensor products = flat.mm(flat.t()).to(torch::kCPU, torch::kDouble).contiguous();
    found->gram += Eigen::Map<const Eigen::MatrixXd>(products.data_ptr<double>(), tasks, tasks);  // symmetric
  }
  return layers;
}

double cosine(const Eigen::MatrixXd& gram, int s, int t) {
  const double lengths = std::sqrt(gram(s, s) * gram(t, t));
  return lengths > 0 ? gram(s, t) / lengths : 0.0;
}

}  // namespace m3vit
