// Wrong files and arguments: exit code 2, nothing on stdout, a message with the file, what was wanted and what was
// found, and no half-written output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"
#include "core/image_io.h"
#include "core/npy.h"

namespace m3vit::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    write_model(file("model.safetensors"), tiny_config());
    write_png(file("photo.png"), ImageU8(32, 48, 3, 100));
  }
  std::string file(const std::string& name) const { return scratch_ / name; }
  void pack() const { ASSERT_EQ(run({"export", file("model.safetensors"), "-o", file("model.m3v")}).exit_code, 0); }

  /// The message of a command that must refuse.
  static std::string refusal(const std::vector<std::string>& arguments) {
    const Outcome o = run(arguments);
    EXPECT_EQ(o.exit_code, 2) << o.err;
    EXPECT_THAT(o.out, IsEmpty());
    EXPECT_THAT(o.err, HasSubstr("m3vit: "));
    return o.err;
  }

  const Scratch scratch_;
};

TEST_F(BadInput, SafetensorsCutShort) {
  const std::string whole = read_text(file("model.safetensors"));
  for (const std::size_t keep : {std::size_t{0}, std::size_t{5}, std::size_t{200}, whole.size() - 1}) {
    write_text(file("cut.safetensors"), whole.substr(0, keep));
    EXPECT_THAT(refusal({"inspect", file("cut.safetensors")}), HasSubstr("cut.safetensors")) << keep;
  }
}

TEST_F(BadInput, SafetensorsWithBytesBehindItsLastTensor) {
  write_text(file("long.safetensors"), read_text(file("model.safetensors")) + "!");
  EXPECT_THAT(refusal({"inspect", file("long.safetensors")}), HasSubstr("1 bytes more"));
}

TEST_F(BadInput, SafetensorsWithOverlappingTensors) {
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_text(file("overlap.safetensors"), bytes + header + std::string(12, '\0'));
  EXPECT_THAT(refusal({"inspect", file("overlap.safetensors")}), AllOf(HasSubstr("data_offsets"), HasSubstr("b")));
}

TEST_F(BadInput, TensorsThatAreNotTheConfigs) {
  Config other = tiny_config();
  other.model.depth = 4;
  write_model(file("other.safetensors"), other);
  // The same tensors under the shallower configuration (same length, so that offsets stay).
  std::string bytes = read_text(file("other.safetensors"));
  const std::size_t at = bytes.find("\\\"depth\\\":4");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 10] = '3';
  write_text(file("other.safetensors"), bytes);
  EXPECT_THAT(refusal({"export", file("other.safetensors"), "-o", file("x.m3v")}),
              HasSubstr("unexpected backbone.blocks.3.attn.qkv.weight"));
  EXPECT_FALSE(fs::exists(file("x.m3v")));
}

TEST_F(BadInput, ModelWithoutConfiguration) {
  write_text(file("bare.safetensors"), std::string("\2\0\0\0\0\0\0\0{}", 10));
  EXPECT_THAT(refusal({"export", file("bare.safetensors"), "-o", file("x.m3v")}),
              AllOf(HasSubstr("config"), HasSubstr("m3vit import")));
}

TEST_F(BadInput, ExportIntoNowhere) {
  EXPECT_THAT(refusal({"export", file("model.safetensors"), "-o", "/no/such/folder/x.m3v"}),
              HasSubstr("/no/such/folder"));
}

TEST_F(BadInput, ExportOfATaskTheModelLacks) {
  EXPECT_THAT(refusal({"export", file("model.safetensors"), "-o", file("x.m3v"), "--tasks", "depht"}),
              HasSubstr("depht"));
  EXPECT_FALSE(fs::exists(file("x.m3v")));
}

TEST_F(BadInput, PackedModelCutOrChanged) {
  pack();
  const std::string whole = read_text(file("model.m3v"));
  write_text(file("cut.m3v"), whole.substr(0, whole.size() - 4096));
  EXPECT_THAT(refusal({"run", file("cut.m3v"), "--task", "depth", file("photo.png"), "--raw", file("x.npy")}),
              HasSubstr("cut.m3v"));
  std::string changed = whole;
  changed[whole.size() - 4096] = static_cast<char>(changed[whole.size() - 4096] ^ 1);
  write_text(file("changed.m3v"), changed);
  EXPECT_THAT(refusal({"run", file("changed.m3v"), "--task", "depth", file("photo.png"), "--raw", file("x.npy")}),
              HasSubstr("changed.m3v"));
  EXPECT_FALSE(fs::exists(file("x.npy")));
}

TEST_F(BadInput, TaskTheModelLacks) {
  pack();
  EXPECT_THAT(refusal({"run", file("model.m3v"), "--task", "depht", file("photo.png"), "--raw", file("x.npy")}),
              AllOf(HasSubstr("depht"), HasSubstr("semseg, depth, normals")));
}

TEST_F(BadInput, PictureThatIsNone) {
  pack();
  write_text(file("text.png"), "hello");
  EXPECT_THAT(refusal({"run", file("model.m3v"), "--task", "depth", file("text.png"), file("gone.png"), "--out",
                       file("pictures")}),
              AllOf(HasSubstr("text.png"), HasSubstr("gone.png")));
  EXPECT_FALSE(fs::exists(file("pictures")));
}

TEST_F(BadInput, PlanesOfAnotherSize) {
  pack();
  write_npy(file("in.npy"), std::vector<std::int64_t>{3, 16, 16}, std::vector<float>(768));
  EXPECT_THAT(refusal({"run", file("model.m3v"), "--task", "depth", file("in.npy"), "--raw", file("x.npy")}),
              AllOf(HasSubstr("[3, 32, 48]"), HasSubstr("[3, 16, 16]")));
  write_text(file("in.npy"), "\x93NUMPY\1");
  EXPECT_THAT(refusal({"run", file("model.m3v"), "--task", "depth", file("in.npy"), "--raw", file("x.npy")}),
              HasSubstr("in.npy"));
}

TEST_F(BadInput, InstructionSetThatIsNotHere) {
  pack();
  EXPECT_THAT(refusal({"run", file("model.m3v"), "--task", "depth", file("photo.png"), "--raw", file("x.npy"), "--isa",
                       "abacus"}),
              AllOf(HasSubstr("abacus"), HasSubstr("scalar")));
}

TEST_F(BadInput, NothingToWrite) {
  pack();
  EXPECT_THAT(refusal({"run", file("model.m3v"), "--task", "depth", file("photo.png")}), HasSubstr("--out"));
}

TEST_F(BadInput, DataFolderWithMistakesListsAllOfThem) {
  ASSERT_EQ(
      run({"data", "make", "--out", file("set"), "--frames", "2", "--test-frames", "0", "--size", "32x32"}).exit_code,
      0);
  std::string first, second;
  std::istringstream(read_text(file("set/splits/train.txt"))) >> first >> second;
  fs::remove(file("set/images/" + first + ".png"));
  write_png(file("set/depth/" + second + ".png"), ImageU16(7, 9, 1, 1000));
  const std::string text = refusal({"data", "show", file("set"), "--split", "train", "--out", file("sheet.png")});
  EXPECT_THAT(text, AllOf(HasSubstr("2 problems"), HasSubstr(first), HasSubstr("depth/" + second + ".png")));
  EXPECT_FALSE(fs::exists(file("sheet.png")));
  const Outcome check = run({"data", "check", file("set")});
  EXPECT_EQ(check.exit_code, 2);
  EXPECT_THAT(check.out, HasSubstr("depth/" + second + ".png"));
}

TEST_F(BadInput, DataMakeLeavesAFullFolderAlone) {
  EXPECT_THAT(refusal({"data", "make", "--out", scratch_.path().string(), "--frames", "1"}),
              HasSubstr("a new or empty directory"));
  EXPECT_TRUE(fs::exists(file("model.safetensors")));
}

TEST_F(BadInput, DataMakeOfAStrangeSize) {
  EXPECT_THAT(refusal({"data", "make", "--out", file("set"), "--size", "big"}), HasSubstr("WIDTHxHEIGHT"));
  EXPECT_FALSE(fs::exists(file("set")));
}

TEST_F(BadInput, CompareWithAFileThatIsNoResult) {
  write_text(file("a.json"), "{\"x\": 1}");
  EXPECT_THAT(refusal({"compare", file("a.json")}), HasSubstr("a.json"));
}

}  // namespace
}  // namespace m3vit::cli_test
