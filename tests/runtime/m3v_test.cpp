/// The packed file: what is written is read; what is altered is an error that names its place, or changes nothing.
#include "runtime/m3v.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/model_cost.h"
#include "core/rng.h"
#include "runtime/crc32c.h"
#include "runtime/kernels/kernels.h"
#include "runtime/layout.h"
#include "runtime/packed_case.h"
#include "runtime/small_config.h"

namespace m3vit {
namespace {

using nlohmann::json;
using testing::packed;

std::uint32_t crc_of(std::string_view text) { return crc32c(std::as_bytes(std::span(text))); }

TEST(Crc32c, KnownValuesAndContinuation) {
  EXPECT_EQ(crc_of(""), 0U);
  EXPECT_EQ(crc_of("123456789"), 0xE3069283U);            // the check value of every CRC catalogue
  EXPECT_EQ(crc_of(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
  const std::string text = "expert by expert, expert by expert";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const auto bytes = std::as_bytes(std::span(text));
    EXPECT_EQ(crc32c(bytes.subspan(cut), crc32c(bytes.first(cut))), crc_of(text));
  }
}

TEST(Crc32c, InstructionEqualsTable) {
  Rng rng(9);
  std::vector<std::byte> bytes(80000);
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng.below(256));
  for (const std::size_t n : {0, 1, 7, 8, 9, 4095, 12287, 12288, 12289, 24576, 50001, 80000 - 3}) {
    const std::span<const std::byte> part = std::span(bytes).subspan(3, n);
    EXPECT_EQ(crc32c(part, 77), crc32c_by_table(part, 77)) << n;
  }
}

/// A small model with everything in it: two tasks, dense and MoE blocks, a task vector.
struct Small {
  Config config = testing::small_config();
  naive::Weights weights;
  std::vector<std::byte> file;
  std::vector<float> image;

  Small() {
    config.model.moe->gate = Gate::kTaskConditioned;
    config.model.moe->gate_task_dim = 4;
    weights = naive::random_weights(config, 1);
    file = packed(config, weights);
    image = testing::floats(naive::random_image(config, 1));
  }
};
const Small& small() {
  static const Small s;
  return s;
}

std::vector<float> run_all(const std::vector<std::byte>& file) {
  const Model model = Model::from_bytes(file, "test.m3v");
  Session session = model.session({.threads = 1});
  std::vector<float> all;
  for (const TaskInfo& task : model.tasks()) {
    const std::vector<float> out = testing::run(session, model, task.name, small().image);
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::string header_text(const std::vector<std::byte>& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data() + 8, 8);
  return {reinterpret_cast<const char*>(file.data()) + kM3vPrelude, length};
}

/// The file with another header (its checksum made right), sections moved to the next boundary.
std::vector<std::byte> with_header(const std::vector<std::byte>& file, const std::string& text) {
  const auto align = [](std::size_t n) { return (n + kM3vAlignment - 1) / kM3vAlignment * kM3vAlignment; };
  const std::size_t old_data = align(kM3vPrelude + header_text(file).size());
  std::vector<std::byte> out(align(kM3vPrelude + text.size()));
  std::memcpy(out.data(), "M3V1", 4);
  const std::uint32_t crc = crc_of(text);
  const std::uint64_t length = text.size();
  std::memcpy(out.data() + 4, &crc, 4);
  std::memcpy(out.data() + 8, &length, 8);
  std::memcpy(out.data() + kM3vPrelude, text.data(), text.size());
  out.insert(out.end(), file.begin() + static_cast<std::ptrdiff_t>(old_data), file.end());
  return out;
}

TEST(M3v, HoldsWhatWasPacked) {
  const M3vFile file = M3vFile::parse(small().file, "test.m3v");
  EXPECT_EQ(to_json(file.config()), to_json(small().config));
  EXPECT_EQ(file.dtype(), "f32");
  EXPECT_EQ(file.producer(), "test");
  EXPECT_THAT(file.tasks(), ::testing::ElementsAre(0, 1));
  EXPECT_NO_THROW(file.verify());

  const M3vSection* section = file.find("blocks.1.expert.2");
  ASSERT_NE(section, nullptr);
  const SectionLayout layout = expert_layout(file.config().model, file.packing(), 1, 2);
  const auto* fc1 = reinterpret_cast<const float*>(section->bytes.data() + layout.field("fc1").offset);
  const auto* bias = reinterpret_cast<const float*>(section->bytes.data() + layout.field("fc2_bias").offset);
  const std::vector<double>& want = small().weights.get("backbone.blocks.1.mlp.experts.htoh4.weight").data;
  const std::vector<double>& want_bias = small().weights.get("backbone.blocks.1.mlp.experts.h4toh.bias").data;
  for (std::size_t out = 0; out < 6; ++out) {
    for (std::size_t in = 0; in < 6; ++in) EXPECT_EQ(fc1[in * kPanel + out], float(want[(2 * 6 + out) * 6 + in]));
    EXPECT_EQ(bias[out], float(want_bias[2 * 6 + out]));
  }
  for (std::size_t pad = 6; pad < kPanel; ++pad) EXPECT_EQ(fc1[pad], 0.0F);
}

/// Element (k, n) of a matrix of `segments` runs of `run` in panels, as the kernels read it.
template <class T>
T element(const M3vSection& section, const Field& field, std::size_t run, std::size_t segments, std::size_t k,
          std::size_t n) {
  constexpr std::size_t kGroup = 4 / sizeof(T);
  const std::size_t run_groups = (run + kGroup - 1) / kGroup;
  const std::size_t line = k / run * run_groups + k % run / kGroup;
  const std::size_t at =
      ((n / kPanel * segments * run_groups + line) * kPanel + n % kPanel) * kGroup + k % run % kGroup;
  T value;
  std::memcpy(&value, section.bytes.data() + field.offset + at * sizeof(T), sizeof(T));
  return value;
}

TEST(M3v, Bf16FileHoldsRoundedMatricesAndExactVectors) {
  const std::vector<std::byte> bytes = packed(small().config, small().weights, {.dtype = Precision::kBf16});
  const M3vFile file = M3vFile::parse(bytes, "test.m3v");
  EXPECT_EQ(file.dtype(), "bf16");
  const M3vSection& section = *file.find("blocks.0.attn");
  const SectionLayout layout = attention_layout(file.config().model, file.packing(), 0);
  const std::vector<double>& want = small().weights.get("backbone.blocks.0.attn.qkv.weight").data;  // [18, 6]
  for (std::size_t n = 0; n < 18; ++n) {
    for (std::size_t k = 0; k < 6; ++k) {
      const auto got = element<std::uint16_t>(section, layout.field("qkv"), 6, 1, k, n);
      EXPECT_NEAR(from_bf16(got), want[n * 6 + k], std::abs(want[n * 6 + k]) * 0x1p-8);
    }
  }
  const auto* norm = reinterpret_cast<const float*>(section.bytes.data() + layout.field("norm_weight").offset);
  EXPECT_EQ(norm[2], static_cast<float>(small().weights.get("backbone.blocks.0.norm1.weight").data[2]));
}

TEST(M3v, Int8FileHoldsColumnsWithTheirScalesAndSums) {
  const std::vector<std::byte> bytes = packed(small().config, small().weights, {.dtype = Precision::kInt8});
  const M3vFile file = M3vFile::parse(bytes, "test.m3v");
  EXPECT_EQ(file.dtype(), "int8");
  EXPECT_EQ(file.packing().of("embed"), Precision::kBf16);
  const M3vSection& section = *file.find("blocks.1.expert.1");
  const SectionLayout layout = expert_layout(file.config().model, file.packing(), 1, 1);
  const auto* scale = reinterpret_cast<const float*>(section.bytes.data() + layout.field("fc2_scale").offset);
  const auto* sums = reinterpret_cast<const std::int32_t*>(section.bytes.data() + layout.field("fc2_sums").offset);
  const std::vector<double>& want =
      small().weights.get("backbone.blocks.1.mlp.experts.h4toh.weight").data;  // [E, 6, 6]
  for (std::size_t n = 0; n < 6; ++n) {
    double most = 0;
    int sum = 0;
    for (std::size_t k = 0; k < 8; ++k) {  // 6 and 7 fill the last group
      const int q = element<std::int8_t>(section, layout.field("fc2"), 8, 1, k, n);
      const double exact = k < 6 ? want[(6 + n) * 6 + k] : 0.0;
      EXPECT_NEAR(q * double{scale[n]}, exact, 0.501 * double{scale[n]}) << k << ' ' << n;
      most = std::max(most, std::abs(exact));
      sum += q;
    }
    EXPECT_NEAR(scale[n], most / 127.0, 1e-6 * most);
    EXPECT_EQ(sums[n], sum);
  }
  for (std::size_t n = 6; n < kPanel; ++n) EXPECT_EQ(element<std::int8_t>(section, layout.field("fc2"), 6, 1, 0, n), 0);
}

TEST(M3v, LayersMayHaveTheirOwnPrecision) {
  const std::vector<std::byte> bytes = packed(
      small().config, small().weights,
      {.dtype = Precision::kInt8, .layers = {{"blocks.1.experts", Precision::kBf16}, {"head.depth", Precision::kF32}}});
  const M3vFile file = M3vFile::parse(bytes, "test.m3v");
  EXPECT_EQ(file.packing().of("blocks.1.experts"), Precision::kBf16);
  EXPECT_EQ(file.packing().of("head.depth"), Precision::kF32);
  EXPECT_EQ(file.packing().of("head.semseg"), Precision::kInt8);
  EXPECT_EQ(file.packing().of("blocks.1.attn"), Precision::kInt8);
  EXPECT_THAT(error_of([] {
                packed(small().config, small().weights, {.layers = {{"blocks.1.mlp", Precision::kBf16}}});
              }),
              ::testing::HasSubstr("blocks.1.mlp"));
}

TEST(M3v, PrunedExpertsAreLeftOut) {
  const std::vector<std::byte> bytes = packed(small().config, small().weights, {.pruned = {{1, {1}}}});
  EXPECT_LT(bytes.size(), small().file.size());
  const M3vFile file = M3vFile::parse(bytes, "test.m3v");
  EXPECT_EQ(file.find("blocks.1.expert.1"), nullptr);
  EXPECT_NE(file.find("blocks.1.expert.2"), nullptr);
  EXPECT_EQ(section_count(small().config, file.packing()), file.sections().size());
  for (const std::map<int, std::vector<int>>& wrong :
       {std::map<int, std::vector<int>>{{0, {1}}}, {{2, {1}}}, {{1, {3}}}, {{1, {-1}}}, {{1, {1, 1}}}, {{1, {0, 1}}}}) {
    EXPECT_THAT(error_of([&] { packed(small().config, small().weights, {.pruned = wrong}); }),
                ::testing::HasSubstr("pruned"));
  }
}

TEST(M3v, SectionsAreAlignedNamedAndTileTheFile) {
  const M3vFile file = M3vFile::parse(small().file, "test.m3v");
  std::vector<std::string> names;
  for (const M3vSection& s : file.sections()) {
    names.push_back(s.name);
    EXPECT_EQ((s.bytes.data() - small().file.data()) % static_cast<std::ptrdiff_t>(kM3vAlignment), 0) << s.name;
  }
  EXPECT_THAT(names, ::testing::ElementsAre("embed", "blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.norm2",
                                            "blocks.1.router.depth", "blocks.1.router.semseg", "blocks.1.expert.0",
                                            "blocks.1.expert.1", "blocks.1.expert.2", "head.depth", "head.semseg"));
  const M3vSection& last = file.sections().back();
  EXPECT_EQ(last.bytes.data() + last.bytes.size(), small().file.data() + small().file.size());
  EXPECT_EQ(section_count(small().config, file.packing()), names.size());
}

TEST(M3v, PackingTwiceGivesTheSameBytes) { EXPECT_EQ(packed(small().config, small().weights), small().file); }

TEST(M3v, OpensFromDisk) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("m3v_test_" + std::to_string(::getpid()) + ".m3v");
  {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(small().file.data()), static_cast<std::streamsize>(small().file.size()));
  }
  const Model model = Model::open(path);
  EXPECT_EQ(model.height(), 8);
  EXPECT_EQ(model.width(), 12);
  Session session = model.session({.threads = 1});
  EXPECT_GT(session.memory().arena, 0U);
  EXPECT_GE(session.memory().weights, small().file.size() - kM3vAlignment);
  EXPECT_LE(session.memory().weights, small().file.size() + kM3vAlignment);
  std::filesystem::remove(path);
  EXPECT_THAT(error_of([&] { Model::open(path); }), ::testing::HasSubstr(path.string()));
}

TEST(M3v, EveryTruncationIsAnError) {
  const std::vector<std::byte>& file = small().file;
  Rng rng(1);
  std::vector<std::size_t> cuts{0, 1, 4, 15, 16, 17, 4095, 4096, file.size() - 1};
  for (int i = 0; i < 300; ++i) cuts.push_back(rng.below(file.size()));
  for (const std::size_t cut : cuts) {
    const std::vector<std::byte> part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(cut));
    EXPECT_THROW(Model::from_bytes(part, "cut.m3v"), Error) << cut;
  }
  std::vector<std::byte> longer = file;
  longer.push_back(std::byte{0});
  EXPECT_THROW(Model::from_bytes(longer, "long.m3v"), Error);
  const std::vector<std::byte> part(file.begin(), file.end() - 1);
  EXPECT_THAT(error_of([&] { Model::from_bytes(part, "cut.m3v"); }), ::testing::HasSubstr("section 'head.semseg'"));
}

TEST(M3v, EveryFlippedBitIsAnErrorOrWithoutEffect) {
  const std::vector<float> want = run_all(small().file);
  Rng rng(2);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::vector<std::byte> file = small().file;
    // Half of them in the header, where most of the meaning is.
    const std::size_t at = rng.below(i % 2 == 0 ? kM3vPrelude + header_text(file).size() : file.size());
    file[at] ^= std::byte{1} << static_cast<int>(rng.below(8));
    try {
      EXPECT_EQ(run_all(file), want) << "byte " << at;
    } catch (const Error& e) {
      ++refused;
      EXPECT_THAT(e.what(), ::testing::HasSubstr("test.m3v"));
    }
  }
  EXPECT_GT(refused, 200);
}

TEST(M3v, EveryFlippedHeaderBitFailsItsChecksum) {
  Rng rng(3);
  for (int i = 0; i < 100; ++i) {
    std::vector<std::byte> file = small().file;
    file[kM3vPrelude + rng.below(header_text(file).size())] ^= std::byte{1} << static_cast<int>(rng.below(8));
    EXPECT_THAT(error_of([&] { Model::from_bytes(file, "bad.m3v"); }), ::testing::HasSubstr("header crc32c"));
  }
}

TEST(M3v, AlteredSectionIsNamed) {
  const M3vFile whole = M3vFile::parse(small().file, "test.m3v");
  for (const M3vSection& s : whole.sections()) {
    std::vector<std::byte> file = small().file;
    file[static_cast<std::size_t>(s.bytes.data() - small().file.data()) + s.bytes.size() / 2] ^= std::byte{0x40};
    const Model model = Model::from_bytes(file, "bad.m3v");
    EXPECT_THAT(error_of([&] { model.session(); }),
                ::testing::AllOf(::testing::HasSubstr("bad.m3v"), ::testing::HasSubstr("section '" + s.name + "'")));
  }
}

TEST(M3v, EveryHeaderFieldIsChecked) {
  const json whole = json::parse(header_text(small().file));
  struct Case {
    const char* name;
    std::function<void(json&)> change;
    const char* said;  ///< part of the message
  };
  const std::vector<Case> cases = {
      {"no version", [](json& h) { h.erase("m3vit_version"); }, "header.m3vit_version"},
      {"no producer", [](json& h) { h.erase("producer"); }, "header.producer"},
      {"producer a number", [](json& h) { h["producer"] = 3; }, "header.producer"},
      {"other dtype", [](json& h) { h["dtype"] = "f16"; }, "header.dtype"},
      {"dtype of other sizes", [](json& h) { h["dtype"] = "bf16"; }, "section 'embed'"},
      {"layers a list", [](json& h) { h["layers"] = json::array(); }, "header.layers"},
      {"unknown layer",
       [](json& h) {
         h["layers"] = {{"blocks.1.mlp", "bf16"}};
       },
       "blocks.1.mlp"},
      {"unknown precision",
       [](json& h) {
         h["layers"] = {{"embed", "f16"}};
       },
       "header.layers.embed"},
      {"layer of other size",
       [](json& h) {
         h["layers"] = {{"head.depth", "int8"}};
       },
       "section 'head.depth'"},
      {"pruned a number", [](json& h) { h["pruned"] = 1; }, "header.pruned"},
      {"pruned in a dense block",
       [](json& h) {
         h["pruned"] = {{"0", {1}}};
       },
       "pruned.0"},
      {"pruned block not a number",
       [](json& h) {
         h["pruned"] = {{"01", {1}}};
       },
       "header.pruned.01"},
      {"pruned expert not a number",
       [](json& h) {
         h["pruned"] = {{"1", {"a"}}};
       },
       "header.pruned.1"},
      {"pruned unknown expert",
       [](json& h) {
         h["pruned"] = {{"1", {7}}};
       },
       "pruned.1"},
      {"pruned but there",
       [](json& h) {
         h["pruned"] = {{"1", {2}}};
       },
       "header.sections"},
      {"other target", [](json& h) { h["target"] = "amx"; }, "header.target"},
      {"no config", [](json& h) { h.erase("config"); }, "header.config"},
      {"config a list", [](json& h) { h["config"] = json::array(); }, "test.m3v"},
      {"unknown config key", [](json& h) { h["config"]["model"]["depht"] = 2; }, "depth"},
      {"impossible config", [](json& h) { h["config"]["model"]["num_heads"] = 5; }, "num_heads"},
      {"more depth than sections", [](json& h) { h["config"]["model"]["depth"] = 1024; }, "header.sections"},
      {"more experts than sections", [](json& h) { h["config"]["model"]["moe"]["num_experts"] = 65536; }, "sections"},
      {"wider than its sections", [](json& h) { h["config"]["model"]["embed_dim"] = 16384; }, "section 'embed'"},
      {"larger image",
       [](json& h) {
         h["config"]["model"]["image_size"] = {16384, 16384};
       },
       "section 'embed'"},
      {"no tasks", [](json& h) { h["tasks"] = json::array(); }, "header.tasks"},
      {"tasks an object", [](json& h) { h["tasks"] = json::object(); }, "header.tasks"},
      {"unknown task", [](json& h) { h["tasks"][0]["name"] = "smell"; }, "header.tasks.0.name"},
      {"a task twice", [](json& h) { h["tasks"][1] = h["tasks"][0]; }, "header.tasks.1.name"},
      {"tasks swapped", [](json& h) { std::swap(h["tasks"][0], h["tasks"][1]); }, "header.tasks.1.name"},
      {"other router", [](json& h) { h["tasks"][1]["router"] = 0; }, "header.tasks.1.router"},
      {"other outputs", [](json& h) { h["tasks"][1]["outputs"] = 6; }, "header.tasks.1.outputs"},
      {"no sections", [](json& h) { h.erase("sections"); }, "header.sections"},
      {"a section less", [](json& h) { h["sections"].erase(3); }, "header.sections"},
      {"a section twice", [](json& h) { h["sections"][3] = h["sections"][2]; }, "header.sections.3.name"},
      {"section not an object", [](json& h) { h["sections"][3] = 1; }, "header.sections.3"},
      {"negative offset", [](json& h) { h["sections"][3]["offset"] = -4096; }, "section 'blocks.1.attn'.offset"},
      {"unaligned offset", [](json& h) { h["sections"][3]["offset"] = 12289; }, "section 'blocks.1.attn'.offset"},
      {"overlapping offset", [](json& h) { h["sections"][3]["offset"] = h["sections"][2]["offset"]; }, "offset"},
      {"huge offset", [](json& h) { h["sections"][3]["offset"] = ~std::uint64_t{0}; }, "offset"},
      {"float offset", [](json& h) { h["sections"][3]["offset"] = 1.5; }, "offset"},
      {"smaller bytes", [](json& h) { h["sections"][3]["bytes"] = 64; }, "section 'blocks.1.attn'.bytes"},
      {"huge bytes", [](json& h) { h["sections"][3]["bytes"] = ~std::uint64_t{0}; }, "bytes"},
      {"crc a number", [](json& h) { h["sections"][3]["crc32c"] = 7; }, "section 'blocks.1.attn'.crc32c"},
      {"crc short", [](json& h) { h["sections"][3]["crc32c"] = "1234567"; }, "crc32c"},
      {"crc not hex", [](json& h) { h["sections"][3]["crc32c"] = "1234567g"; }, "crc32c"},
      {"crc empty", [](json& h) { h["sections"][3]["crc32c"] = ""; }, "crc32c"},
      {"a list", [](json& h) { h = json::array(); }, "header"},
  };
  EXPECT_EQ(run_all(with_header(small().file, whole.dump())), run_all(small().file));
  for (const Case& c : cases) {
    json header = whole;
    c.change(header);
    const std::vector<std::byte> file = with_header(small().file, header.dump());
    EXPECT_THAT(error_of([&] { Model::from_bytes(file, "test.m3v"); }),
                ::testing::AllOf(::testing::HasSubstr("test.m3v"), ::testing::HasSubstr(c.said)))
        << c.name;
  }
  EXPECT_THAT(error_of([&] { Model::from_bytes(with_header(small().file, "{\"a\":"), "test.m3v"); }),
              ::testing::HasSubstr("JSON"));
}

TEST(M3v, WrongMagicAndLengthAreRefused) {
  std::vector<std::byte> file = small().file;
  file[3] = std::byte{'2'};
  EXPECT_THAT(error_of([&] { Model::from_bytes(file, "v2.m3v"); }), ::testing::HasSubstr("v2.m3v: magic"));
  file = small().file;
  std::memset(file.data() + 8, 0xFF, 8);
  EXPECT_THAT(error_of([&] { Model::from_bytes(file, "l.m3v"); }), ::testing::HasSubstr("header length"));
}

TEST(Pack, RefusesWrongTensorsAndTasks) {
  const TensorSource good = testing::source_of(small().weights);
  const TensorSource shorter = [&](const std::string& name) {
    std::vector<float> v = good(name);
    if (name == "backbone.blocks.0.attn.qkv.weight") v.pop_back();
    return v;
  };
  EXPECT_THAT(error_of([&] { pack_model(small().config, shorter, {}, "out.m3v"); }),
              ::testing::HasSubstr("backbone.blocks.0.attn.qkv.weight"));
  EXPECT_THAT(error_of([&] { pack_model(small().config, good, {.tasks = {"edge"}}, "out.m3v"); }),
              ::testing::HasSubstr("depth, semseg"));
  Config open = small().config;
  open.tasks[1].outputs = 0;
  EXPECT_THROW(pack_model(open, good, {}, "out.m3v"), Error);
}

/// Every tensor of the configuration must reach the file: asked for once at least.
TEST(Pack, AsksForEveryExpectedTensor) {
  std::vector<std::string> asked;
  const TensorSource good = testing::source_of(small().weights);
  pack_model(
      small().config, [&](const std::string& name) { return asked.push_back(name), good(name); }, {}, "out.m3v");
  for (const TensorSpec& spec : expected_tensors(small().config)) {
    EXPECT_THAT(asked, ::testing::Contains(spec.name));
  }
}

}  // namespace
}  // namespace m3vit
