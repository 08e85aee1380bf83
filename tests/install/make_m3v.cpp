// make_m3v FILE: a small random model of two tasks, packed; for builds that lack `m3vit export`.
#include <fstream>
#include <vector>

#include "runtime/packed_case.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  m3vit::Config config;
  m3vit::ModelConfig& m = config.model;
  m.image_size = {32, 48};
  m.patch_size = 8;
  m.embed_dim = 24;
  m.depth = 4;
  m.num_heads = 3;
  m.head.channels = 12;
  m.head.stages = 3;
  m.moe = m3vit::MoeConfig{};
  m.moe->num_experts = 6;
  m.moe->top_k = 2;
  config.tasks = {{"semseg", 5, 1.0}, {"depth", 1, 1.0}};
  const std::vector<std::byte> file = m3vit::testing::packed(config, m3vit::naive::random_weights(config, 11));
  std::ofstream out(argv[1], std::ios::binary);
  out.write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  return out.flush() ? 0 : 1;
}
