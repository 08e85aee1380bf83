#pragma once
/// Random models compiled for small random arrays, and the comparison of machine and golden model.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "accel/compiler/compile.h"
#include "accel/compiler/host_io.h"
#include "accel/machine/machine.h"
#include "accel/quantised_case.h"
#include "core/error.h"
#include "core/rng.h"

namespace m3vit::accel {

/// A small array on which the models of these tests need many passes, strips and reloads.
inline Array small_array(std::uint64_t seed) {
  Rng rng{seed, 0xA44A};
  Array a;
  a.width = 8 << rng.below(3);
  a.weight_words = 1 << (5 + rng.below(4));
  a.param_words = 8 << rng.below(3);
  a.act_words = 256 << rng.below(3);
  a.res_words = 128 << rng.below(3);
  a.norm_words = 4 << rng.below(3);
  a.max_top_k = 8;
  a.list_entries = 512;
  return a;
}

/// Compiles for `array`, doubling whatever memory the model is refused for.
inline Compiled compile_for(const QuantModel& model, Array& array, ExpertMode mode) {
  for (int tries = 0;; ++tries) {
    try {
      return compile(model, {array, mode});
    } catch (const Error& e) {
      if (tries > 40) throw;
      const std::string wanted = e.parts().wanted;
      const auto grow = [&](const char* memory, int& words) {
        if (wanted.find(memory) != std::string::npos) words *= 2;
      };
      grow("weight memory", array.weight_words);
      grow("parameter memory", array.param_words);
      grow("activation memory", array.act_words);
      grow("residual memory", array.res_words);
      grow("norm memory", array.norm_words);
      grow("list entries", array.list_entries);
    }
  }
}

struct Outcome {
  std::vector<std::int16_t> output;
  std::vector<Entries> routing;
  Counters counters;
};

inline Outcome run_machine(const Compiled& compiled, const TaskProgram& program, const std::vector<std::int8_t>& pixels,
                           std::optional<std::uint64_t> seed) {
  std::vector<std::byte> image = compiled.image;
  write_input(compiled, program, pixels, image);
  Machine machine(compiled.array, image);
  machine.run(program.program, seed);
  return {read_output(compiled, program, image), machine.routing(), machine.counters()};
}

inline void expect_equal(const QuantisedCase& c, const Compiled& compiled, const std::string& what,
                         std::uint64_t seed) {
  for (const TaskProgram& program : compiled.programs) {
    SCOPED_TRACE(what + ", task " + c.model.config.tasks[static_cast<std::size_t>(program.task)].name);
    const GoldenFrame want = golden_run(c.model, program.task, c.pixels);
    const Outcome got = run_machine(compiled, program, c.pixels, seed);
    ASSERT_EQ(got.output, want.output);
    ASSERT_EQ(got.counters.clamped, want.clamped);
    ASSERT_EQ(got.routing.size(), want.routing.size());
    std::size_t layer = 0;
    for (const QBlock& block : c.model.blocks) {
      if (block.routers.empty()) continue;
      Entries entries = got.routing[layer];
      for (Entry& e : entries) e.expert += block.routers.at(program.task).first;
      ASSERT_EQ(entries, want.routing[layer++]);
    }
  }
}

inline void expect_equal_on_random_configurations(std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t seed = first; seed < first + count && !::testing::Test::HasFatalFailure(); ++seed) {
    const Config config = naive::random_config(seed);
    const QuantisedCase c = quantised_case(config, seed);
    Array array = small_array(seed);
    const Compiled compiled = compile_for(c.model, array, ExpertMode::kExpert);
    expect_equal(c, compiled, "seed " + std::to_string(seed), seed);
  }
}

/// A model of two tasks, depth and normals, patch 4, whose only parameters are these.
inline Config two_task_config(const std::vector<int>& image_size, int embed_dim, int depth, int head_channels,
                              const MoeConfig& moe) {
  Config c = naive::random_config(3);
  ModelConfig& m = c.model;
  m.patch_size = 4;
  m.image_size = image_size;
  m.embed_dim = embed_dim;
  m.num_heads = 2;
  m.depth = depth;
  m.head.stages = 2;
  m.head.channels = head_channels;
  m.moe = moe;
  c.tasks = {{"depth", 1, 1.0}, {"normals", 3, 1.0}};
  return c;
}

/// Every token's first choice becomes `expert`; then the lowest of equals.
inline void prefer_for_all(FloatModel& model, std::size_t expert) {
  for (FBlock& b : model.blocks) {
    for (auto& [task, router] : b.routers) {
      std::fill(router.gate.weight.begin(), router.gate.weight.end(), 0.0F);
      std::fill(router.gate.bias.begin(), router.gate.bias.end(), 0.0F);
      router.gate.bias[expert] = 5.0F;
    }
  }
}

}  // namespace m3vit::accel
