// make_m3v FILE: a small random model of two tasks, packed; for builds that lack `m3vit export`.
#include <fstream>
#include <vector>

#include "runtime/packed_case.h"
#include "runtime/small_config.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  m3vit::Config config = m3vit::testing::small_config(32, 48, 8, 24, 4);
  config.model.moe->num_experts = 6;
  config.tasks = {{"semseg", 5, 1.0}, {"depth", 1, 1.0}};
  const std::vector<std::byte> file = m3vit::testing::packed(config, m3vit::naive::random_weights(config, 11));
  std::ofstream out(argv[1], std::ios::binary);
  out.write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  return out.flush() ? 0 : 1;
}
