#pragma once
/// The smallest model with everything in it, for tests that are not about its sizes; they set what they are about.
#include "core/config.h"

namespace m3vit::testing {

/// Dense and MoE blocks in turn, three experts of which a token takes two, tasks depth and semseg (5 classes).
inline Config small_config(int height = 8, int width = 12, int patch_size = 4, int embed_dim = 6, int depth = 2) {
  Config config;
  ModelConfig& m = config.model;
  m.image_size = {height, width};
  m.patch_size = patch_size;
  m.embed_dim = embed_dim;
  m.depth = depth;
  m.num_heads = 2;
  m.mlp_ratio = 2;
  m.head = {.channels = 3, .stages = 2};
  m.moe = MoeConfig{};
  m.moe->num_experts = 3;
  m.moe->top_k = 2;
  config.tasks = {{"depth", 1, 1.0}, {"semseg", 5, 1.0}};
  return config;
}

}  // namespace m3vit::testing
