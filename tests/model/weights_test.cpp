// Files: what is written comes back, and what does not fit is listed completely.
#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/version.h"
#include "model/model_testing.h"

namespace m3vit {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing_model::small_config;
using testing_model::TemporaryFolder;

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(ModelFile, ComesBackBitForBitWithItsConfigAndMetadata) {
  const TemporaryFolder folder;
  Config config = small_config();
  config.model.tam = true;
  torch::manual_seed(6);
  const auto network = make_network(config);
  network->forward_task(torch::randn({2, 3, 32, 48}), 0);  // moves the BN statistics
  save_model(folder / "m.safetensors", *network, config, {{"step", "12"}});

  const LoadedModel loaded = load_model(folder / "m.safetensors");
  const auto want = named_tensors(*network), got = named_tensors(*loaded.network);
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want) EXPECT_TRUE(got.at(name).equal(tensor)) << name;
  EXPECT_FALSE(loaded.network->is_training());
  EXPECT_TRUE(loaded.network->auxiliary({}).empty());
  EXPECT_EQ(to_json(loaded.config), to_json(config));
  EXPECT_EQ(loaded.metadata.at("step"), "12");
  EXPECT_EQ(loaded.metadata.at("format"), "pt");
  EXPECT_EQ(loaded.metadata.at("m3vit_version"), kVersion);
}

/// The network's tensors as a file of `dtype` (F16, BF16), changed by `edit` first.
std::filesystem::path write_as(const std::filesystem::path& path, const NetworkImpl& network,
                               const std::map<std::string, std::string>& metadata, torch::ScalarType type, Dtype dtype,
                               const std::function<void(std::map<std::string, torch::Tensor>&)>& edit = {}) {
  auto tensors = named_tensors(network);
  if (edit) edit(tensors);
  std::vector<TensorView> views;
  for (auto& [name, tensor] : tensors) {
    tensor = tensor.detach().to(type).contiguous();
    views.push_back({.name = name,
                     .dtype = dtype,
                     .shape = tensor.sizes().vec(),
                     .bytes = {static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes()}});
  }
  write_safetensors(path, views, metadata);
  return path;
}

TEST(ModelFile, OfSixteenBitFloatsIsConverted) {
  const TemporaryFolder folder;
  const Config config = small_config();
  const auto network = make_network(config);
  const std::map<std::string, std::string> metadata{{"config", to_json(config).dump()}};
  for (const auto& [type, dtype] : {std::pair(torch::kHalf, Dtype::kF16), std::pair(torch::kBFloat16, Dtype::kBF16)}) {
    const LoadedModel m = load_model(write_as(folder / "16.safetensors", *network, metadata, type, dtype));
    for (const auto& [name, tensor] : named_tensors(*network)) {
      EXPECT_TRUE(named_tensors(*m.network).at(name).equal(tensor.to(type).to(torch::kFloat))) << name;
    }
  }
}

TEST(ModelFile, ListsEveryTensorThatDoesNotFitAndChangesNothing) {
  const TemporaryFolder folder;
  const auto network = make_network(small_config());
  const auto path = write_as(folder / "bad.safetensors", *make_network(small_config()), {}, torch::kFloat, Dtype::kF32,
                             [](auto& tensors) {
                               tensors.erase("backbone.cls_token");
                               tensors.erase("decoders.depth.norm.bias");
                               tensors["backbone.head.weight"] = torch::zeros({2});
                               tensors["backbone.pos_embed"] = torch::zeros({1, 3, 16});
                             });
  const torch::Tensor before = named_tensors(*network).at("decoders.semseg.conv_0.weight").clone();
  EXPECT_THAT(message_of([&] { load_weights(*network, path); }),
              AllOf(HasSubstr("bad.safetensors"), HasSubstr("4 differences"), HasSubstr("missing backbone.cls_token"),
                    HasSubstr("missing decoders.depth.norm.bias"), HasSubstr("unexpected backbone.head.weight"),
                    HasSubstr("backbone.pos_embed has shape [1, 3, 16], want [1, 25, 16]")));
  EXPECT_TRUE(named_tensors(*network).at("decoders.semseg.conv_0.weight").equal(before));
  EXPECT_THAT(message_of([&] { load_model(path); }), AllOf(HasSubstr("config"), HasSubstr("m3vit import")));
}

TEST(NamedTensors, AreParametersAndStatisticsWithoutCounters) {
  const auto network = make_network(small_config());
  const auto tensors = named_tensors(*network);
  EXPECT_TRUE(tensors.contains("backbone.blocks.1.mlp.gate.1.w_gate"));
  EXPECT_TRUE(tensors.contains("decoders.semseg.syncbn_fc_0.running_var"));
  for (const auto& [name, tensor] : tensors) EXPECT_THAT(name, Not(HasSubstr("num_batches_tracked")));
}

}  // namespace
}  // namespace m3vit
