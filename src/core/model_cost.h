#pragma once
/// Parameters and multiply-accumulates counted from shapes alone (model.md, "MACs"). FLOPs = 2·MACs. Normalisation,
/// activation, softmax and resampling are not counted, as in the published figures. Those also leave out the routers:
/// small at 512×512 with a 40-class head is 84.06 GMAC (the paper's 84 G) plus 0.04 of routers, 84.10 in `total`.
/// The published "linear 21.8" is linear + experts (+ router) here.
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/config.h"

namespace m3vit {

struct LayerCost {
  std::string name;  ///< tensor-name prefix, e.g. "backbone.blocks.3.mlp"
  std::string kind;  ///< patch_embed | attention | linear | router | experts | head
  std::int64_t macs = 0;
  std::int64_t params = 0;         ///< stored
  std::int64_t active_params = 0;  ///< used by one token (top_k experts) for this task
};

struct TaskCost {
  std::string task;
  std::int64_t total = 0, patch_embed = 0, attention = 0, linear = 0, router = 0, experts = 0, head = 0;
  std::int64_t active_params = 0;
  std::vector<LayerCost> layers;
};

struct ModelCost {
  std::int64_t params = 0;      ///< all tensors of the model (BN running statistics not counted)
  std::vector<TaskCost> tasks;  ///< config order; "attention" is q·kᵀ and p·v, the qkv and proj layers are "linear"
};

/// Also the expected tensors: every name and shape a file with this config must hold.
struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  bool buffer = false;  ///< BN running_mean, running_var: not a parameter
};

ModelCost model_cost(const Config& config);
std::vector<TensorSpec> expected_tensors(const Config& config);
/// {"params": {...}, "macs": {T: {...}}} of docs/formats.md.
nlohmann::json to_json(const ModelCost& cost);

}  // namespace m3vit
