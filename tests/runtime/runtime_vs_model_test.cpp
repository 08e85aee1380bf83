/// The contract between training and deployment (docs/architecture.md): the f32 runtime equals libtorch to 1e-4
/// relative on every task, from the same checkpoint, for random configurations.
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <filesystem>

#include "core/safetensors.h"
#include "model/weights.h"
#include "runtime/packed_case.h"

namespace m3vit {
namespace {

/// A checkpoint as training saves it, read by both sides.
class VersusModel : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("m3vit-versus-" + std::to_string(::getpid()) + "-" + std::to_string(GetParam()));
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_P(VersusModel, EveryTaskWithinOneTenThousandth) {
  const torch::NoGradGuard no_grad;
  for (std::uint64_t seed = 5000 + 10 * GetParam(); seed < 5010 + 10 * GetParam(); ++seed) {
    const naive::RandomCase c = naive::random_case(seed, 2e-5);
    const std::shared_ptr<NetworkImpl> network = make_network(c.config);
    for (auto& [name, tensor] : named_tensors(*network)) {
      const std::vector<float> values = testing::floats(c.weights.get(name).data);
      tensor.copy_(torch::from_blob(const_cast<float*>(values.data()), tensor.sizes(), torch::kFloat));
    }
    const std::filesystem::path path = folder_ / "model.safetensors";
    save_model(path, *network, c.config, {});

    const LoadedModel loaded = load_model(path);
    const SafetensorsFile file = SafetensorsFile::open(path);
    const TensorSource source = [&](const std::string& name) { return to_f32(file.get(name), file.where()); };
    const Model model = Model::from_bytes(pack_model(loaded.config, source, {}, "model.m3v"), "model.m3v");
    Session session = model.session({.threads = 2, .keep_routing = true});

    const std::vector<float> image = testing::floats(c.image);
    const torch::Tensor input =
        torch::from_blob(const_cast<float*>(image.data()), {1, 3, c.config.model.height(), c.config.model.width()});
    loaded.network->keep_routing(true);
    for (int t = 0; t < static_cast<int>(c.config.tasks.size()); ++t) {
      const std::string task = c.config.tasks[static_cast<std::size_t>(t)].name;
      const TaskOutput want = loaded.network->forward_task(input, t);
      const torch::Tensor raw = want.raw.contiguous();
      const std::vector<float> expected(raw.data_ptr<float>(), raw.data_ptr<float>() + raw.numel());
      EXPECT_LE(testing::relative_error(testing::run(session, model, task, image), expected), 1e-4)
          << "seed=" << seed << " task=" << task;
      ASSERT_EQ(session.routing().size(), want.indices.size());
      for (std::size_t l = 0; l < want.indices.size(); ++l) {
        const torch::Tensor indices = want.indices[l].to(torch::kInt).contiguous();
        const std::vector<std::int32_t> experts(indices.data_ptr<int>(), indices.data_ptr<int>() + indices.numel());
        EXPECT_EQ(session.routing()[l].experts, experts) << "seed=" << seed << " task=" << task;
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, VersusModel, ::testing::Range<std::uint64_t>(0, 10));

}  // namespace
}  // namespace m3vit
