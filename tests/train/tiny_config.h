#pragma once
// A configuration that trains in seconds.
#include "core/config.h"

namespace m3vit {

inline Config tiny_config(std::vector<std::string> tasks = {"semseg", "depth", "normals", "edge", "sal",
                                                            "human_parts"}) {
  Config c;
  c.model.image_size = {32, 32};
  c.model.patch_size = 8;
  c.model.embed_dim = 16;
  c.model.depth = 2;
  c.model.num_heads = 2;
  c.model.mlp_ratio = 2;
  c.model.moe = MoeConfig{};
  c.model.moe->num_experts = 4;
  c.model.moe->top_k = 2;
  c.model.moe->expert_hidden = 16;
  c.model.head.channels = 8;
  c.model.head.stages = 3;
  for (std::string& name : tasks) c.tasks.push_back({std::move(name), 0, 1.0});
  for (TaskConfig& t : c.tasks) {
    if (t.name == "semseg") t.outputs = 18;  // rooms' classes
    if (t.outputs == 0) t.outputs = task_spec(t.id()).default_outputs;
  }
  c.data.train.frames = 12;
  c.data.test.frames = 4;
  c.data.workers = 1;
  c.train.batch_size = 4;
  c.train.epochs = 2;
  c.train.optimizer = Optimizer::kAdamw;
  c.train.lr = 1e-3;
  c.train.schedule = Schedule::kCosine;
  c.train.threads = 1;
  c.train.eval_every = 2;
  return c;
}

}  // namespace m3vit
