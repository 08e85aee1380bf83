// Foreign checkpoints: reading them, fitting them, upcycling them, refusing them.
#include "model/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "core/error.h"
#include "core/safetensors.h"
#include "model/model_testing.h"
#include "model/pickle.h"
#include "model/pickle_files.h"
#include "model/weights.h"

namespace m3vit {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing_model::NamedTensor;
using testing_model::pickle_of;
using testing_model::relative_error;
using testing_model::small_config;
using testing_model::TemporaryFolder;
using testing_model::TorchFile;
using testing_model::write_legacy;
using testing_model::write_zip;
using testing_model::write_zip_of_pickle;
using torch::Tensor;

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

TorchFile some_tensors() {
  torch::manual_seed(1);
  const Tensor shared = torch::randn({6, 4});
  return {.tensors = {{"a.weight", shared},
                      {"a.transposed", shared.t()},
                      {"a.part", shared.narrow(0, 2, 3).narrow(1, 1, 2)},
                      {"half", torch::randn({5}).to(torch::kHalf)},
                      {"bfloat", torch::randn({5}).to(torch::kBFloat16)},
                      {"double", torch::randn({2, 2}, torch::kDouble)},
                      {"counter", torch::tensor(42, torch::kLong)}},
          .under = "",
          .parameters = false};
}

void expect_same(const StateDict& got, const TorchFile& want) {
  ASSERT_EQ(got.tensors.size(), want.tensors.size());
  for (std::size_t i = 0; i < want.tensors.size(); ++i) {
    EXPECT_EQ(got.tensors[i].first, want.tensors[i].name);
    const Tensor& w = want.tensors[i].tensor;
    EXPECT_TRUE(got.tensors[i].second.equal(w.is_floating_point() ? w.to(torch::kFloat) : w)) << want.tensors[i].name;
  }
}

TEST(StateDict, ReadsWhatTorchSaveWrites) {
  const TemporaryFolder folder;
  for (const char* under : {"", "model", "state_dict"}) {
    for (const bool parameters : {false, true}) {
      TorchFile file = some_tensors();
      file.under = under;
      file.parameters = parameters;
      write_zip(folder / "w.pth", file);
      const StateDict zip = read_state_dict(folder / "w.pth");
      EXPECT_EQ(zip.format, "torch zip");
      expect_same(zip, file);
      write_legacy(folder / "old.pth", file);
      const StateDict legacy = read_state_dict(folder / "old.pth");
      EXPECT_EQ(legacy.format, "torch legacy");
      expect_same(legacy, file);
    }
  }
}

TEST(StateDict, ReadsWhatLibtorchItselfPickles) {
  const TemporaryFolder folder;
  c10::Dict<std::string, Tensor> dict;
  const Tensor w = torch::randn({3, 4}), b = torch::randn({3});
  dict.insert("w", w);
  dict.insert("b", b);
  const std::vector<char> data = torch::pickle_save(dict);
  std::ofstream(folder / "lib.pt", std::ios::binary).write(data.data(), static_cast<std::streamsize>(data.size()));
  expect_same(read_state_dict(folder / "lib.pt"), {.tensors = {{"w", w}, {"b", b}}, .under = "", .parameters = false});
}

TEST(StateDict, RefusesWhatItCannotRead) {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& content) {
    std::ofstream(folder / "x.pth", std::ios::binary) << content;
    return message_of([&] { read_state_dict(folder / "x.pth"); });
  };
  EXPECT_THAT(message("\x80\x04K\x01."), HasSubstr("another Python pickle"));
  EXPECT_THAT(message("PK\x03\x04 not a zip"), HasSubstr("zip archive"));
  // A tensor of 5 elements over a storage of 4.
  const std::string outside = pickle_of({.tensors = {{"a", torch::zeros({5})}}, .under = "", .parameters = false});
  write_zip_of_pickle(folder / "o.pth", outside);
  EXPECT_THAT(message_of([&] { read_state_dict(folder / "o.pth"); }),
              AllOf(HasSubstr("o.pth"), HasSubstr("inside its storage of 4 elements")));
  write_zip_of_pickle(folder / "e.pth", "\x80\x02}.");
  EXPECT_THAT(message_of([&] { read_state_dict(folder / "e.pth"); }), HasSubstr("no tensors there"));
}

TEST(Pickle, TruncatedAnywhereIsAnErrorAndDamagedAnywhereIsNoCrash) {
  TorchFile file = some_tensors();
  file.under = "model";
  file.parameters = true;
  const std::string good = pickle_of(file);
  EXPECT_EQ(Pickle::parse(bytes_of(good), "p").consumed(), good.size());
  for (std::size_t n = 0; n < good.size(); ++n) {
    const std::string part = good.substr(0, n);
    EXPECT_THROW(Pickle::parse(bytes_of(part), "p"), Error) << n;
  }
  std::mt19937 random(5);
  for (int i = 0; i < 20000; ++i) {
    std::string bad = good;
    for (int flips = 0; flips < 3; ++flips) bad[random() % bad.size()] = static_cast<char>(random());
    try {
      Pickle::parse(bytes_of(bad), "p");
    } catch (const Error&) {
    }
  }
}

TEST(Pickle, BoundsWhatASmallFileMayAskFor) {
  // A list of two million entries put into an OrderedDict again and again.
  std::string bomb = "\x80\x02(";
  for (int i = 0; i < 1000; ++i) bomb += "N";
  bomb += "lq\x01";
  for (int i = 0; i < 20000; ++i)
    bomb +=
        "(h\x01h\x01h\x01h\x01tq\x02"
        "0ccollections\nOrderedDict\n((h\x01h\x01h\x01tttR0";
  EXPECT_THROW(Pickle::parse(bytes_of(bomb), "p"), Error);
  EXPECT_THAT(message_of([] {
                Pickle::parse(bytes_of("\x80\x02N"
                                       "r\xff\xff\xff\xff."),
                              "p");
              }),
              HasSubstr("memo key"));
}

/// A DeiT-like state dict for small_config's dimensions at `rows` position rows.
TorchFile deit(int64_t rows, bool distilled = false) {
  Config dense = small_config();
  dense.model.moe.reset();
  torch::manual_seed(21);
  const auto network = make_network(dense);
  TorchFile file;
  for (const auto& [name, tensor] : named_tensors(*network)) {
    if (!name.starts_with("backbone.")) continue;
    const Tensor value =
        name.ends_with("pos_embed") ? torch::randn({1, rows, 16}) : torch::randn_like(tensor).mul(0.3).detach();
    file.tensors.push_back({name.substr(9), value});
  }
  file.tensors.push_back({"norm.weight", torch::ones({16})});
  file.tensors.push_back({"head.weight", torch::zeros({10, 16})});
  file.tensors.push_back({"head.bias", torch::zeros({10})});
  if (distilled) {
    file.tensors.push_back({"dist_token", torch::zeros({1, 1, 16})});
    file.tensors.push_back({"head_dist.weight", torch::zeros({10, 16})});
  }
  return file;
}

StateDict state_dict_of(const TorchFile& file) {
  StateDict s;
  s.where = "deit.pth";
  s.format = "torch zip";
  for (const NamedTensor& t : file.tensors) s.tensors.emplace_back(t.name, t.tensor.contiguous());
  return s;
}

std::map<ImportStatus, int> counts(const ImportReport& report) {
  std::map<ImportStatus, int> n;
  for (const ImportRow& r : report.rows) ++n[r.status];
  return n;
}

TEST(Import, UpcyclesADenseViTSoThatTheFreshMoeComputesTheSame) {
  const StateDict file = state_dict_of(deit(/*rows=*/25));
  for (const Gate gate : {Gate::kMulti, Gate::kTaskConditioned, Gate::kShared}) {
    for (const int window : {0, 4}) {
      Config moe = small_config(), dense = small_config();
      moe.model.moe->gate = gate;
      moe.model.moe->experts_per_task = window;
      dense.model.moe.reset();
      torch::manual_seed(3);
      const auto a = make_network(dense), b = make_network(moe);
      import_weights(*a, dense, file, {});
      const ImportReport report = import_weights(*b, moe, file, {.noise = 0.0});
      const auto heads = named_tensors(*a);
      const torch::NoGradGuard no_grad;
      for (auto& [name, tensor] : named_tensors(*b)) {
        if (name.starts_with("decoders.")) tensor.detach().copy_(heads.at(name));
      }
      a->eval();
      b->eval();
      const Tensor images = torch::randn({1, 3, 32, 48});
      for (int t = 0; t < 2; ++t) {
        EXPECT_LE(relative_error(b->forward_task(images, t).raw, a->forward_task(images, t).raw), 1e-4);
      }
      EXPECT_EQ(counts(report).at(ImportStatus::kUpcycled), 8);  // four tensors of blocks 1 and 3
      const auto metadata = nlohmann::json::parse(report.upcycling);
      EXPECT_EQ(metadata.at("blocks"), (std::vector<std::string>{"backbone.blocks.1", "backbone.blocks.3"}));
      EXPECT_EQ(metadata.at("fc2_scale"), window == 0 ? 8.0 : 4.0);
    }
  }
}

TEST(Import, UpcyclingNoiseTellsCopiesApartAndFollowsItsSeed) {
  const StateDict file = state_dict_of(deit(25));
  const auto weight_of = [&](std::uint64_t seed) {
    const auto network = make_network(small_config());
    import_weights(*network, small_config(), file, {.noise = 0.01, .seed = seed});
    return named_tensors(*network).at("backbone.blocks.1.mlp.experts.htoh4.weight").clone();
  };
  const Tensor w = weight_of(1);
  EXPECT_TRUE(w.equal(weight_of(1)));
  EXPECT_FALSE(w.equal(weight_of(2)));
  EXPECT_FALSE(w[0].equal(w[2]));  // slices repeat after H/h = 2 experts
  EXPECT_NEAR(((w[0] - w[2]).std() / w.std()).item<double>(), 0.01 * std::sqrt(2.0), 2e-3);
}

TEST(Import, SaysOfEveryTensorWhatBecameOfIt) {
  const auto network = make_network(small_config());
  const ImportReport report = import_weights(*network, small_config(), state_dict_of(deit(18, /*distilled=*/true)), {});
  std::map<std::string, std::string> status;
  for (const ImportRow& r : report.rows) status[r.name] = import_status_name(r.status);
  EXPECT_EQ(status.at("backbone.pos_embed"), "resized");
  EXPECT_EQ(status.at("backbone.blocks.0.mlp.fc1.weight"), "loaded");
  EXPECT_EQ(status.at("backbone.blocks.1.mlp.experts.h4toh.bias"), "upcycled");
  EXPECT_EQ(status.at("backbone.blocks.3.mlp.gate.1.w_gate"), "initialised");
  EXPECT_EQ(status.at("decoders.depth.conv_3.bias"), "initialised");
  for (const char* name : {"norm.weight", "head.weight", "head.bias", "dist_token", "head_dist.weight"}) {
    EXPECT_EQ(status.at(name), "ignored") << name;
  }
  const auto tensors = named_tensors(*network);
  EXPECT_EQ(tensors.at("backbone.blocks.3.mlp.gate.1.w_gate").abs().max().item<double>(), 0.0);
  EXPECT_EQ(status.size(), report.rows.size());
  EXPECT_EQ(counts(report)[ImportStatus::kIgnored] + tensors.size(), report.rows.size());
}

TEST(Import, TakesTheAuthorsCheckpointWithDataParallelNames) {
  const TemporaryFolder folder;
  torch::manual_seed(4);
  const auto source = make_network(small_config());
  TorchFile file;
  for (const auto& [name, tensor] : named_tensors(*source)) {
    file.tensors.push_back({"module." + name, torch::randn_like(tensor).detach()});
  }
  file.tensors.push_back({"module.decoders.depth.syncbn_fc_0.num_batches_tracked", torch::tensor(9, torch::kLong)});
  file.tensors.push_back({"module.tam_model0.layers0.0.weight", torch::zeros({2})});
  file.under = "state_dict";
  write_zip(folder / "m3vit.pth", file);
  const auto network = make_network(small_config());
  const ImportReport report = import_weights(*network, small_config(), read_state_dict(folder / "m3vit.pth"), {});
  for (const auto& [name, tensor] : named_tensors(*network)) {
    const auto want = std::find_if(file.tensors.begin(), file.tensors.end(),
                                   [&n = name](const NamedTensor& t) { return t.name == "module." + n; });
    EXPECT_TRUE(tensor.equal(want->tensor)) << name;
  }
  EXPECT_EQ(counts(report)[ImportStatus::kIgnored], 2);
  EXPECT_EQ(counts(report)[ImportStatus::kInitialised], 0);
  EXPECT_TRUE(report.upcycling.empty());
}

TEST(Import, ListsAllThatIsMissingOrUnexpectedAndLeavesTheNetworkAlone) {
  TorchFile file = deit(25);
  std::erase_if(file.tensors, [](const NamedTensor& t) {
    return t.name == "blocks.2.attn.qkv.bias" || t.name == "blocks.3.mlp.fc2.weight";
  });
  file.tensors.push_back({"blocks.4.norm1.weight", torch::ones({16})});
  for (NamedTensor& t : file.tensors) {
    if (t.name == "blocks.0.norm1.bias") t.tensor = torch::ones({17});
  }
  const auto network = make_network(small_config());
  const Tensor before = named_tensors(*network).at("backbone.cls_token").clone();
  const StateDict state = state_dict_of(file);
  const std::string message = message_of([&] { import_weights(*network, small_config(), state, {}); });
  EXPECT_THAT(message,
              AllOf(HasSubstr("deit.pth"), HasSubstr("missing backbone.blocks.2.attn.qkv.bias [48]"),
                    HasSubstr("missing backbone.blocks.3.mlp.experts.h4toh.weight"),
                    HasSubstr("unexpected blocks.4.norm1.weight [16]"), HasSubstr("unexpected blocks.3.mlp.fc1.weight"),
                    HasSubstr("blocks.0.norm1.bias has shape [17], want [16]")));
  EXPECT_TRUE(named_tensors(*network).at("backbone.cls_token").equal(before));
  EXPECT_THAT(message_of([&] { import_weights(*network, small_config(), state, {.allow_missing = true}); }),
              AllOf(HasSubstr("unexpected"), Not(HasSubstr("missing backbone"))));
  import_weights(*network, small_config(), state, {.allow_missing = true, .allow_unexpected = true});
  EXPECT_FALSE(named_tensors(*network).at("backbone.cls_token").equal(before));
}

TEST(Import, WantsAHeadWholeOrNotAtAll) {
  TorchFile file = deit(25);
  for (NamedTensor& t : file.tensors) t.name = "backbone." + t.name;
  file.tensors.push_back({"decoders.depth.norm.weight", torch::ones({16})});
  const auto network = make_network(small_config());
  EXPECT_THAT(message_of([&] { import_weights(*network, small_config(), state_dict_of(file), {}); }),
              AllOf(HasSubstr("missing decoders.depth.norm.bias"), Not(HasSubstr("decoders.semseg"))));
}

TEST(PositionEmbedding, ResizesBilinearlyAndKeepsCls) {
  // A plane y + 10·x on a 4 × 4 grid with a CLS row of 99.
  std::vector<float> plane{99.0F};
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 4; ++x) plane.push_back(static_cast<float>(y + 10 * x));
  }
  const Tensor source = torch::tensor(plane).view({1, 17, 1});
  EXPECT_TRUE(resize_pos_embed(source, 4, 4, false).equal(source));
  const Tensor larger = resize_pos_embed(source, 8, 8, false);
  EXPECT_EQ(larger[0][0][0].item<float>(), 99.0F);
  for (int y = 1; y < 7; ++y) {  // inside, align_corners=false maps i to (i + ½)/2 − ½ exactly
    for (int x = 1; x < 7; ++x) {
      EXPECT_NEAR(larger[0][1 + 8 * y + x][0].item<double>(), (y + 0.5) / 2 - 0.5 + 10 * ((x + 0.5) / 2 - 0.5), 1e-4);
    }
  }
  const Tensor distilled =
      torch::cat({source.narrow(1, 0, 1), torch::full({1, 1, 1}, -5.0F), source.narrow(1, 1, 16)}, 1);
  EXPECT_TRUE(resize_pos_embed(distilled, 8, 8, true).equal(larger));
  const Tensor without = resize_pos_embed(source.narrow(1, 1, 16), 8, 8, false);
  EXPECT_EQ(without[0][0][0].item<float>(), 0.0F);
  EXPECT_TRUE(without.narrow(1, 1, 64).equal(larger.narrow(1, 1, 64)));
  // 3 × 4 → 6 × 8: no square, but the target's aspect ratio.
  EXPECT_EQ(resize_pos_embed(torch::zeros({1, 13, 2}), 6, 8, false).size(1), 49);
  EXPECT_THAT(message_of([] { resize_pos_embed(torch::zeros({1, 8, 2}), 4, 4, false); }), HasSubstr("8 rows"));
}

}  // namespace
}  // namespace m3vit
