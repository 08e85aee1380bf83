#include "core/tensor_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/config_yaml.h"
#include "core/model_cost.h"

namespace m3vit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A file of zeros with these tensors.
class FileOfZeros {
 public:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::size_t bytes = 4;
    for (const std::int64_t d : shape) bytes *= static_cast<std::size_t>(d);
    header_[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {size_, size_ + bytes}}};
    size_ += bytes;
  }
  SafetensorsFile parse() {
    const std::string text = header_.dump();
    const std::uint64_t length = text.size();
    bytes_.assign(sizeof length, '\0');
    std::memcpy(bytes_.data(), &length, sizeof length);
    bytes_ += text;
    bytes_.resize(bytes_.size() + size_);
    return SafetensorsFile::parse({reinterpret_cast<const std::byte*>(bytes_.data()), bytes_.size()}, "zeros");
  }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::size_t size_ = 0;
  std::string bytes_;
};

Config micro() { return parse_config("model: {preset: micro}\ntasks: [{name: depth}]\n", "test"); }

TEST(TensorProblems, NoneWhenTheFileHoldsWhatTheConfigDemands) {
  FileOfZeros file;
  for (const TensorSpec& t : expected_tensors(micro())) file.add(t.name, t.shape);
  file.add("tam.anything", {3});
  file.add("decoders.depth.syncbn_fc_0.num_batches_tracked", {});
  EXPECT_THAT(tensor_problems(file.parse(), micro()), IsEmpty());
}

TEST(TensorProblems, EachDifferenceHasItsLine) {
  FileOfZeros file;
  for (const TensorSpec& t : expected_tensors(micro())) {
    if (t.name == "backbone.cls_token") continue;
    file.add(t.name, t.name == "backbone.pos_embed" ? std::vector<std::int64_t>{1, 7, 96} : t.shape);
  }
  file.add("head.weight", {3});
  EXPECT_THAT(tensor_problems(file.parse(), micro()),
              ElementsAre("missing backbone.cls_token [1, 1, 96]",
                          "backbone.pos_embed: want [1, 193, 96], found [1, 7, 96]", "unexpected head.weight"));
}

}  // namespace
}  // namespace m3vit
