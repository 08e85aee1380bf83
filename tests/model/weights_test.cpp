// Files: what is written comes back, and what does not fit is listed completely.
#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/safetensors.h"
#include "core/version.h"
#include "model/import.h"
#include "model/model_testing.h"

namespace m3vit {
namespace {

using testing::AllOf;
using testing::Contains;
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

TEST(ModelFile, ListsEveryTensorThatDoesNotFit) {
  const TemporaryFolder folder;
  const Config config = small_config();
  const auto edit = [](auto& tensors) {
    tensors.erase("backbone.cls_token");
    tensors.erase("decoders.depth.norm.bias");
    tensors["backbone.head.weight"] = torch::zeros({2});
    tensors["backbone.pos_embed"] = torch::zeros({1, 3, 16});
  };
  const auto path = write_as(folder / "bad.safetensors", *make_network(config), {{"config", to_json(config).dump()}},
                             torch::kFloat, Dtype::kF32, edit);
  EXPECT_THAT(message_of([&] { load_model(path); }),
              AllOf(HasSubstr("bad.safetensors"), HasSubstr("4 differences"), HasSubstr("missing backbone.cls_token"),
                    HasSubstr("missing decoders.depth.norm.bias"), HasSubstr("unexpected backbone.head.weight"),
                    HasSubstr("backbone.pos_embed has shape [1, 3, 16], want [1, 25, 16]")));
  const auto bare = write_as(folder / "bare.safetensors", *make_network(config), {}, torch::kFloat, Dtype::kF32);
  EXPECT_THAT(message_of([&] { load_model(bare); }), AllOf(HasSubstr("config"), HasSubstr("m3vit import")));
}

TEST(Start, FromTheSameModelTakesEveryTensor) {
  const TemporaryFolder folder;
  const Config config = small_config();
  torch::manual_seed(1);
  const auto source = make_network(config);
  save_model(folder / "m.safetensors", *source, config, {});
  const auto network = make_network(config);
  const StartReport report = start_from(*network, config, folder / "m.safetensors");
  EXPECT_TRUE(report.fresh.empty());
  const auto got = named_tensors(*network);
  EXPECT_EQ(report.loaded, static_cast<int>(got.size()));
  for (const auto& [name, tensor] : named_tensors(*source)) EXPECT_TRUE(got.at(name).equal(tensor)) << name;
}

TEST(Start, MatchesRoutersAndHeadsByTaskKeepsNewOnesAndResizesPositions) {
  const TemporaryFolder folder;
  Config old_config = small_config();
  old_config.tasks = {{.name = "semseg", .outputs = 7}, {.name = "depth", .outputs = 1}};
  torch::manual_seed(2);
  const auto source = make_network(old_config);
  save_model(folder / "m.safetensors", *source, old_config, {});

  Config config = old_config;
  config.tasks = {{.name = "normals", .outputs = 3},
                  {.name = "depth", .outputs = 1},
                  {.name = "semseg", .outputs = 5}};  // other classes
  config.model.image_size = {old_config.model.height() * 2, old_config.model.width()};
  const auto network = make_network(config);
  std::map<std::string, torch::Tensor> before;
  for (const auto& [name, tensor] : named_tensors(*network)) before[name] = tensor.clone();
  const StartReport report = start_from(*network, config, folder / "m.safetensors");

  const auto from = named_tensors(*source), got = named_tensors(*network);
  const std::string gate = "backbone.blocks.1.mlp.gate.";
  EXPECT_TRUE(got.at(gate + "1.w_gate").equal(from.at(gate + "1.w_gate")));  // depth
  EXPECT_TRUE(got.at(gate + "2.w_gate").equal(from.at(gate + "0.w_gate")));  // semseg
  EXPECT_TRUE(got.at(gate + "0.w_gate").equal(before.at(gate + "0.w_gate")));
  EXPECT_TRUE(got.at("decoders.depth.conv_0.weight").equal(from.at("decoders.depth.conv_0.weight")));
  EXPECT_TRUE(got.at("decoders.normals.conv_0.weight").equal(before.at("decoders.normals.conv_0.weight")));
  EXPECT_TRUE(got.at("decoders.semseg.conv_0.weight").equal(from.at("decoders.semseg.conv_0.weight")));
  const std::string last = "decoders.semseg.conv_" + std::to_string(config.model.head.stages) + ".weight";
  EXPECT_TRUE(got.at(last).equal(before.at(last)));
  EXPECT_THAT(report.fresh, Contains(last));
  EXPECT_THAT(report.fresh, Contains(gate + "0.w_gate"));
  EXPECT_THAT(report.fresh, Not(Contains(gate + "1.w_gate")));
  EXPECT_TRUE(
      got.at("backbone.pos_embed")
          .equal(resize_pos_embed(from.at("backbone.pos_embed"), config.model.grid_h(), config.model.grid_w(), false)));
}

TEST(Start, FromAnotherBackboneIsRefusedAndChangesNothing) {
  const TemporaryFolder folder;
  const Config config = small_config();
  const auto edit = [](auto& tensors) {
    tensors["backbone.blocks.0.attn.proj.weight"] = torch::zeros({3, 3});
    tensors["backbone.blocks.9.attn.proj.weight"] = torch::zeros({16, 16});
  };
  const auto path = write_as(folder / "other.safetensors", *make_network(config), {{"config", to_json(config).dump()}},
                             torch::kFloat, Dtype::kF32, edit);
  const auto network = make_network(config);
  std::map<std::string, torch::Tensor> before;
  for (const auto& [name, tensor] : named_tensors(*network)) before[name] = tensor.clone();
  EXPECT_THAT(message_of([&] { start_from(*network, config, path); }),
              AllOf(HasSubstr("2 differences"), HasSubstr("backbone.blocks.0.attn.proj.weight has shape [3, 3]"),
                    HasSubstr("no place for backbone.blocks.9.attn.proj.weight")));
  for (const auto& [name, tensor] : named_tensors(*network)) EXPECT_TRUE(tensor.equal(before.at(name))) << name;
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
