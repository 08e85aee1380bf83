#pragma once
/// An independent, deliberately naive M³ViT: double precision, plain loops, no library, one image at a time, written
/// from the paper (NeurIPS 2022) and docs/model.md and from no other file of this project. Tests hold the libtorch
/// model and the runtime against it. Speed is a non-goal; being readable next to the equations is the goal.
///
/// Settled here, for every implementation (source: the authors' published code):
///  - LayerNorm eps is 1e-6 everywhere: backbone, gate_task_represent.norm and the heads' own norm
///    (models/vit_up_head.py: `norm_layer=partial(nn.LayerNorm, eps=1e-6)`; models/custom_moe_layer.py `Mlp`).
///  - BatchNorm eps is 1e-5 (torch's default), running statistics.
///  - gate_task_represent: one-hot task [T] → fc1 [G, T] → GELU → fc2 [G, G] → LayerNorm(G); appended after the token.
///  - With experts_per_task = w > 0, router t is [D, w], its softmax runs over those w, and its column j is expert
///    t·w + j. The balance loss is over the w columns.
///  - cv² of a single value is 0. Pruning (prune_below) comes after the top-k and the balance loss; weights strictly
///    under the threshold become 0, the rest are not renormalised.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"

namespace m3vit::naive {

using Row = std::vector<double>;
using Matrix = std::vector<Row>;  ///< [rows][columns]

struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<double> data;  ///< row-major
};

struct Weights {
  std::map<std::string, Tensor> tensors;             ///< by published name (docs/formats.md)
  const Tensor& get(const std::string& name) const;  ///< throws std::out_of_range with the name
};

/// Channel-first picture [C][H][W].
struct Map {
  int channels = 0, height = 0, width = 0;
  std::vector<double> data;
  Map(int c, int h, int w);
  double& at(int c, int y, int x);
  double at(int c, int y, int x) const;
};

/// One MoE layer's routing of one image; tokens in order, CLS first.
struct Routing {
  int block = 0;
  std::vector<std::vector<int>> experts;     ///< [tokens][top_k], by descending probability, ties: lower index first
  std::vector<std::vector<double>> weights;  ///< [tokens][top_k], pruned ones are 0
  double balance_loss = 0.0;                 ///< cv²(importance) + cv²(load), no noise, unweighted
  /// The smallest gap between neighbours among the top_k + 1 largest probabilities of any token: how far this input is
  /// from a place where routing (set or order) jumps; also the distance of any chosen one to prune_below when that is
  /// on. Infinity when there is one expert.
  double margin = 0.0;
};

struct Result {
  int channels = 0, height = 0, width = 0;
  std::vector<double> raw;  ///< [C, H, W] at image size
  std::vector<Routing> routing;
  double balance_loss = 0.0;  ///< summed over layers
  double margin = 0.0;        ///< the smallest over layers; infinity without MoE
};

/// One task's pass over one image. `image` [3, H, W], normalised, at config.model.image_size; `task` indexes
/// config.tasks.
Result forward(const Config& config, const Weights& weights, const std::vector<double>& image, int task);

// The steps, exposed so that hand-computed cases can check each.
double gelu(double x);  ///< exact, with erf
Row softmax(const Row& x);
Row layer_norm(const Row& x, const Tensor& weight, const Tensor& bias, double eps = 1e-6);
Row linear(const Row& x, const Tensor& weight, const Tensor& bias);  ///< weight [out, in]
/// Multi-head self-attention without its output projection. `qkv` [tokens][3·D] as [q | k | v], each split by head.
Matrix attention(const Matrix& qkv, int num_heads);
/// Indices of the k largest, descending; equal values: the lower index first.
std::vector<int> top_k(const Row& values, int k);
double cv_squared(const Row& x);                                     ///< unbiased variance / (mean² + 1e-10)
Map conv2d(const Map& x, const Tensor& weight, const Tensor& bias);  ///< odd kernel, stride 1, zero padding k/2
Map resize_bilinear(const Map& x, int height, int width);            ///< align_corners=false, edge clamped

}  // namespace m3vit::naive
