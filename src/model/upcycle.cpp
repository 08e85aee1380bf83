#include <cmath>

#include "core/error.h"
#include "model/import.h"
#include "model/moe.h"

namespace m3vit {

ExpertTensors upcycle_mlp(const torch::Tensor& fc1_weight, const torch::Tensor& fc1_bias,
                          const torch::Tensor& fc2_weight, const torch::Tensor& fc2_bias, const ModelConfig& config) {
  const int64_t units = fc1_weight.size(0), hidden = config.expert_hidden(), width = router_width(*config.moe);
  const double top_k = config.moe->top_k;
  const double scale = static_cast<double>(width * units) / (top_k * static_cast<double>(hidden));
  const double bias_scale = static_cast<double>(width) / top_k;
  std::vector<torch::Tensor> w1, b1, w2, b2;
  for (int64_t e = 0; e < config.moe->num_experts; ++e) {
    const torch::Tensor slice = torch::arange(hidden).add((e % width) * hidden).remainder(units);
    w1.push_back(fc1_weight.index_select(0, slice));
    b1.push_back(fc1_bias.index_select(0, slice));
    w2.push_back(fc2_weight.index_select(1, slice) * scale);
    b2.push_back(fc2_bias * bias_scale);
  }
  return {.htoh4_weight = torch::stack(w1),
          .htoh4_bias = torch::stack(b1),
          .h4toh_weight = torch::stack(w2),
          .h4toh_bias = torch::stack(b2)};
}

torch::Tensor resize_pos_embed(const torch::Tensor& pos_embed, int grid_h, int grid_w, bool distilled) {
  const int64_t rows = pos_embed.size(1), wanted = static_cast<int64_t>(grid_h) * grid_w;
  // The source's grid: the target's own, a square, or another size of the target's aspect ratio.
  const auto grid_of = [&](int64_t n) -> std::pair<int64_t, int64_t> {
    if (n == wanted) return {grid_h, grid_w};
    for (const double aspect : {1.0, static_cast<double>(grid_h) / grid_w}) {
      const auto h = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(n) * aspect)));
      if (h > 0 && n % h == 0 && std::lround(static_cast<double>(h) / aspect) == n / h) return {h, n / h};
    }
    return {0, 0};
  };
  const std::vector<int64_t> extras = distilled ? std::vector<int64_t>{2} : std::vector<int64_t>{1, 0, 2};
  for (const int64_t extra : extras) {
    const auto [h, w] = grid_of(rows - extra);
    if (rows <= extra || h == 0) continue;
    const int64_t dim = pos_embed.size(2);
    const torch::Tensor cls = extra > 0 ? pos_embed.narrow(1, 0, 1) : torch::zeros({1, 1, dim});
    const torch::Tensor grid = pos_embed.narrow(1, extra, h * w).view({1, h, w, dim}).permute({0, 3, 1, 2});
    const torch::Tensor resized =
        torch::nn::functional::interpolate(grid, torch::nn::functional::InterpolateFuncOptions()
                                                     .size(std::vector<int64_t>{grid_h, grid_w})
                                                     .mode(torch::kBilinear)
                                                     .align_corners(false));
    return torch::cat({cls, resized.flatten(2).transpose(1, 2)}, 1);
  }
  throw Error{{.field = "pos_embed",
               .wanted = "rows for a square grid, or one of the target's aspect ratio, with or without CLS",
               .found = std::to_string(rows) + " rows"}};
}

}  // namespace m3vit
